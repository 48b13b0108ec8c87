//! Changes as they come: server-sent events.
//!
//! A stream that is read too slowly loses events and is told so by `resync`; it never holds up anything and never holds more than one
//! batch. It ends when its token or cluster is revoked, and when the gateway drains.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use kantaloupe_checks::Code;
use kantaloupe_gpu::inventory::Kind;
use kantaloupe_policy::Namespaces;
use serde::Serialize;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        broadcast::{self, error::RecvError},
    },
    time::{Instant, sleep, sleep_until},
};

use tokio_util::sync::CancellationToken;

use super::{
    params::Params,
    render::{ClusterRef, Freshness},
};
use crate::{
    api::{
        extract::{Caller, Named},
        visible::shows,
    },
    app::App,
    auth::Identity,
    authorize::Reading,
    directory::Cluster,
    inventory::events::Batch,
    metrics::InFlight,
    people::Rights,
    problem::ApiError,
    store::inventory::KINDS,
    streams::{Entry, Origin},
};

/// A comment goes out after this long without an event: below the idle timeouts of proxies, which begin at 30 seconds.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// All kinds but live use, which changes with every sample.
fn default_kinds() -> Vec<Kind> {
    let live = [Kind::GpuUsage, Kind::ContainerUsage];
    KINDS.into_iter().filter(|kind| !live.contains(kind)).collect()
}

/// One reader.
struct Listener {
    app: Arc<App>,
    caller: Arc<Identity>,
    /// The only cluster, if it is one, and what of it is read.
    cluster: Option<(Arc<Cluster>, Arc<Reading>)>,
    /// The right to what is read was taken away, or is another one now.
    ended: CancellationToken,
    kinds: Vec<Kind>,
    events: broadcast::Receiver<Arc<Batch>>,
    /// When the token's time is over.
    expires: Option<Instant>,
    _permit: OwnedSemaphorePermit,
    _entry: Entry,
    _counted: InFlight,
}

/// Of all clusters.
pub(super) async fn fleet(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Extension(origin): Extension<Origin>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let kinds = kinds(query.as_deref())?;
    let permit = permit(&app.inventory.listeners)?;
    let events = app.inventory.events.subscribe();
    let listener = Listener::new(app, caller, None, kinds, events, permit, &origin);
    Ok(answer(event("ready", "{}"), listener))
}

/// Of one cluster.
pub(super) async fn of_cluster(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Named(cluster, access): Named,
    Extension(origin): Extension<Origin>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let kinds = kinds(query.as_deref())?;
    let permit = permit(&cluster.streams)?;
    let events = cluster.inventory.listen();
    // After subscribing: a change in between comes as an event.
    let first = state(&cluster);
    let listener = Listener::new(
        app,
        caller,
        Some((cluster, Arc::clone(&access.reading))),
        kinds,
        events,
        permit,
        &origin,
    );
    Ok(answer(first, listener))
}

fn kinds(query: Option<&str>) -> Result<Vec<Kind>, ApiError> {
    let mut params = Params::read(query)?;
    let names = params.take_list("kinds")?;
    params.finish("kinds")?;
    if names.is_empty() {
        return Ok(default_kinds());
    }
    let known = |name: &String| {
        let kind = KINDS.into_iter().find(|kind| kind.to_string() == *name);
        kind.ok_or_else(|| {
            let all: Vec<_> = KINDS.iter().map(ToString::to_string).collect();
            ApiError::invalid(format!("There is no kind {name:?}, but {}", all.join(", ")))
        })
    };
    names.iter().map(known).collect()
}

fn permit(streams: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ApiError> {
    Arc::clone(streams).try_acquire_owned().map_err(|_| {
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            Code::SRV_003,
            "Too many streams are open already",
        )
    })
}

fn answer(first: String, listener: Listener) -> Response {
    let events = stream::unfold(listener, async |mut listener| {
        let text = listener.next().await?;
        Some((text, listener))
    });
    let events = futures::StreamExt::chain(stream::iter([first]), events);
    let body = Body::from_stream(futures::StreamExt::map(events, Ok::<_, std::convert::Infallible>));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would keep events until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Listener {
    fn new(
        app: Arc<App>,
        caller: Arc<Identity>,
        cluster: Option<(Arc<Cluster>, Arc<Reading>)>,
        kinds: Vec<Kind>,
        events: broadcast::Receiver<Arc<Batch>>,
        permit: OwnedSemaphorePermit,
        origin: &Origin,
    ) -> Self {
        let left = caller.expires_at.map(|at| at.saturating_sub(App::now()).max(0));
        let expires = left.and_then(|seconds| {
            Instant::now().checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
        });
        let ended = cluster
            .as_ref()
            .map_or_else(|| caller.changed(), |(_, reading)| reading.ended.clone());
        Self {
            _entry: origin
                .streams
                .add(cluster.as_ref().map(|(cluster, _)| cluster), &ended),
            ended,
            _counted: InFlight::new(&app.inventory.metrics.listeners),
            app,
            caller,
            cluster,
            kinds,
            events,
            expires,
            _permit: permit,
        }
    }

    /// The next text to send; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let cut = self.cluster.as_ref().map(|(cluster, _)| cluster.cut.clone());
        loop {
            let batch = tokio::select! {
                biased;
                () = self.ended.cancelled() => return None,
                () = cancelled(cut.as_ref()) => return None,
                () = self.app.stop.drain.cancelled() => return None,
                () = sleep_until(self.expires.unwrap_or_else(Instant::now)), if self.expires.is_some() => return None,
                batch = self.events.recv() => batch,
                () = sleep(HEARTBEAT) => return Some(":\n\n".to_owned()),
            };
            match batch {
                Ok(batch) => {
                    let text = self.render(&batch);
                    if !text.is_empty() {
                        return Some(text);
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    self.app.inventory.metrics.resyncs.inc();
                    return Some(event("resync", "{\"reason\":\"slow\"}"));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// What the caller reads of the cluster of a batch; `None` if nothing.
    fn reads(&self, batch: &Batch) -> Option<Namespaces> {
        if *batch.organization_id != *self.caller.organization_id {
            return None;
        }
        let people = self.app.people.current();
        let user = people.user(&self.caller.user_id)?;
        let rights = Rights::of(&people, user, self.caller.scope.as_ref());
        Some(rights.on_cluster(&batch.cluster_id)?.reads)
    }

    fn render(&self, batch: &Batch) -> String {
        let mut text = String::new();
        let (cluster, reads) = if let Some((cluster, reading)) = &self.cluster {
            (Arc::clone(cluster), reading.namespaces.clone())
        } else {
            let Some(reads) = self.reads(batch) else {
                return text;
            };
            if batch.deleted {
                let data = format!("{{\"cluster\":{{\"id\":\"{}\"}}}}", batch.cluster_id);
                return event("deleted", &data);
            }
            let Some(cluster) = self.app.directory.find_by_id(&batch.cluster_id) else {
                return text;
            };
            (cluster, reads)
        };
        let name = serde_json::to_string(&ClusterRef::of(&cluster)).expect("texts always serialize");
        for change in &batch.changes {
            if !self.kinds.contains(&change.kind) || !shows(&reads, change.kind, change.namespace.as_deref())
            {
                continue;
            }
            let (kind, id) = (change.kind, serde_json::Value::from(change.id.as_str()));
            match &change.value {
                Some(value) => push(
                    &mut text,
                    "upsert",
                    format_args!("{{\"cluster\":{name},\"kind\":\"{kind}\",\"id\":{id},\"record\":{value}}}"),
                ),
                None => push(
                    &mut text,
                    "remove",
                    format_args!("{{\"cluster\":{name},\"kind\":\"{kind}\",\"id\":{id}}}"),
                ),
            }
        }
        if batch.state {
            text.push_str(&state(&cluster));
        }
        text
    }
}

async fn cancelled(cut: Option<&CancellationToken>) {
    match cut {
        Some(cut) => cut.cancelled().await,
        None => std::future::pending().await,
    }
}

/// How far and how old a cluster's inventory is, as an event.
fn state(cluster: &Cluster) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct StateJson<'a> {
        cluster: ClusterRef<'a>,
        #[serde(flatten)]
        freshness: Freshness,
        epoch: Option<String>,
        revision: Option<i64>,
    }
    let now = App::now();
    let view = cluster.inventory.view(now);
    let state = StateJson {
        cluster: ClusterRef::of(cluster),
        freshness: Freshness::of(&view, now),
        revision: view.as_of.map(|_| view.revision),
        epoch: view.as_of.map(|_| view.epoch),
    };
    event(
        "state",
        &serde_json::to_string(&state).expect("texts and numbers always serialize"),
    )
}

fn event(name: &str, data: &str) -> String {
    let mut text = String::new();
    push(&mut text, name, format_args!("{data}"));
    text
}

/// `data` is one line: JSON that this gateway wrote.
fn push(text: &mut String, name: &str, data: std::fmt::Arguments<'_>) {
    write!(text, "event: {name}\ndata: {data}\n\n").expect("writing to a String");
}
