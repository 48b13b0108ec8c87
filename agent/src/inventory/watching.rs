//! One watch: list, follow, and begin again as often as it takes.

use std::{fmt::Debug, pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use kantaloupe_checks::Code;
use kantaloupe_gpu::{
    index::{Change, Watched},
    inventory::SourceState,
};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Config, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{Shared, guarded::Guarded};

/// After this the API server ends a watch, and it goes on with the next one. A connection that died silently is noticed this late.
const WATCH_SECONDS: u32 = 120;
/// Objects of a page where lists cannot be streamed.
const PAGE: u32 = 500;
/// A right that is missing, or a group that is not installed, comes when somebody does something about it.
const SLOW_RETRY: Duration = Duration::from_mins(1);
/// Errors in a row after which a source is called failing. One is common: a connection that ends, a resource version that expired.
const FAILING_AFTER: u32 = 3;

/// What is made of the objects of one watch.
pub(super) trait Follow: Send {
    type Object: Resource + Clone + Debug + DeserializeOwned + Send + 'static;

    /// A list begins, completely anew.
    fn begin(&mut self) {}
    /// An object is there, or has changed.
    fn put(&mut self, object: Self::Object) -> Vec<Change>;
    /// An object went.
    fn remove(&mut self, object: Self::Object) -> Vec<Change>;
    /// A list is complete.
    fn complete(&mut self) -> Vec<Change> {
        Vec::new()
    }
}

/// How a watch ended.
enum End {
    /// To be begun again at once, in this way.
    Again { streaming: bool },
    /// To be tried again later.
    Later,
}

/// Follows one kind of objects for ever.
pub(super) async fn follow<F: Follow>(
    shared: Arc<Shared>,
    kind: Watched,
    api: Api<Guarded<F::Object>>,
    mut streaming: bool,
    mut follow: F,
) where
    Guarded<F::Object>: Resource,
{
    loop {
        match run(&shared, kind, api.clone(), streaming, &mut follow).await {
            End::Again { streaming: how } => streaming = how,
            End::Later => sleep(SLOW_RETRY).await,
        }
        shared.metrics.restarted(kind.plural());
    }
}

async fn run<F: Follow>(
    shared: &Shared,
    kind: Watched,
    api: Api<Guarded<F::Object>>,
    streaming: bool,
    follow: &mut F,
) -> End
where
    Guarded<F::Object>: Resource,
{
    let name = kind.plural();
    let config = Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    let config = if streaming {
        config.streaming_lists()
    } else {
        config
    };
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut listing = true;
    let mut errors = 0;
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                errors += 1;
                match classify(&error) {
                    Problem::Forbidden(detail) => {
                        warn!(source = name, detail, "the API server refuses a list");
                        shared.source(name, SourceState::Forbidden, Some(Code::K8S_004), Some(detail));
                        return End::Later;
                    }
                    Problem::Absent => {
                        debug!(source = name, "not served by this API server");
                        empty(shared, kind, follow);
                        shared.source(name, SourceState::Absent, None, None);
                        return End::Later;
                    }
                    Problem::Invalid if streaming && listing => {
                        info!(source = name, "lists cannot be streamed; they are read in pages");
                        return End::Again { streaming: false };
                    }
                    Problem::Expired => debug!(source = name, "the resource version expired: listed again"),
                    Problem::Invalid | Problem::Other => {
                        debug!(source = name, %error, "watch failed");
                        if errors < FAILING_AFTER {
                            continue;
                        }
                        let detail = crate::fault::chain(&error);
                        shared.source(name, SourceState::Failing, Some(Code::K8S_001), Some(detail));
                        if !listing {
                            // What is followed may say nothing for hours; a new list says when all is well.
                            return End::Again { streaming };
                        }
                    }
                }
                continue;
            }
        };
        errors = 0;
        match event {
            Event::Init => {
                listing = true;
                follow.begin();
                shared.apply(Change::Restart(kind));
            }
            Event::InitApply(object) | Event::Apply(object) => put(shared, name, follow, object),
            Event::Delete(object) => {
                if let Ok(object) = object.0 {
                    follow
                        .remove(object)
                        .into_iter()
                        .for_each(|change| shared.apply(change));
                }
            }
            Event::InitDone => {
                listing = false;
                follow
                    .complete()
                    .into_iter()
                    .for_each(|change| shared.apply(change));
                shared.apply(Change::Synced(kind));
                shared.source(name, SourceState::Ok, None, None);
            }
        }
    }
    End::Again { streaming }
}

fn put<F: Follow>(shared: &Shared, name: &'static str, follow: &mut F, object: Guarded<F::Object>) {
    match object.0 {
        Ok(object) => follow
            .put(object)
            .into_iter()
            .for_each(|change| shared.apply(change)),
        Err(odd) => {
            shared.metrics.odd(name);
            let object = odd.metadata.name.unwrap_or_default();
            let namespace = odd.metadata.namespace.unwrap_or_default();
            warn!(
                source = name,
                namespace,
                object,
                error = odd.error,
                "an object cannot be read"
            );
        }
    }
}

/// A kind that is not served has no objects.
fn empty<F: Follow>(shared: &Shared, kind: Watched, follow: &mut F) {
    follow.begin();
    shared.apply(Change::Restart(kind));
    follow
        .complete()
        .into_iter()
        .for_each(|change| shared.apply(change));
    shared.apply(Change::Synced(kind));
}

enum Problem {
    Forbidden(String),
    Absent,
    Expired,
    Invalid,
    Other,
}

fn classify(error: &watcher::Error) -> Problem {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    let status = match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status))
        | WatchError(status) => status,
        InitialListFailed(_) | WatchStartFailed(_) | WatchFailed(_) | NoResourceVersion => {
            return Problem::Other;
        }
    };
    match status.code {
        403 => Problem::Forbidden(status.message.clone()),
        404 => Problem::Absent,
        410 => Problem::Expired,
        400 | 422 => Problem::Invalid,
        _ => Problem::Other,
    }
}
