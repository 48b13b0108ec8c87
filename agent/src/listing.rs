//! Reads whole lists of the API server, page by page and each only once, into what the checks and the search judge.

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use http::Request;
use kantaloupe_gpu::{
    platform::{CONFIG_MAPS, HAMI_SCHEDULER, KINDS, Kind, Objects, Read},
    vendor::ResourceNames,
};
use kube::Client;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::fault;

/// One answer of the API server. Lists of the largest clusters take two seconds.
const ANSWER: Duration = Duration::from_secs(4);
/// Lists asked for at once: enough to hide round trips, few enough for the fairness of the API server.
const AT_ONCE: usize = 6;
/// Objects of a page.
const PAGE: usize = 500;
/// Deployments of HAMi's scheduler that are asked for their configuration; a cluster has one.
const SCHEDULERS: usize = 4;
/// Pages of one list: 20,000 objects of one kind are more than any cluster has nodes.
const PAGES: usize = 40;

/// Why there was no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The API server refuses: status and message.
    Status(u16, String),
    /// Everything else.
    Failed(String),
}

impl Unanswered {
    /// For people.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Status(status, message) => {
                format!("it answered HTTP {status}: {}", fault::printable(&message))
            }
            Self::Failed(why) => why,
        }
    }

    fn read(self) -> Read {
        match self {
            Self::Status(404, _) => Read::Absent,
            Self::Status(401 | 403, _) => Read::Forbidden,
            other => Read::Failing(other.text()),
        }
    }
}

/// One call, which ends in [`ANSWER`] and not after `deadline`.
pub(crate) async fn within<T>(
    deadline: Instant,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Unanswered> {
    match timeout_at(deadline.min(Instant::now() + ANSWER), call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(Unanswered::Status(status.code, status.message.clone())),
        Ok(Err(error)) => Err(Unanswered::Failed(fault::chain(&error))),
        Err(_elapsed) => Err(Unanswered::Failed("no answer in time".to_owned())),
    }
}

/// Lists these kinds. What cannot be read is said in [`Objects::read`].
pub(crate) async fn objects(
    client: &Client,
    kinds: impl IntoIterator<Item = &'static Kind>,
    deadline: Instant,
) -> Objects {
    let objects = Mutex::new(Objects::default());
    let (by_name, kinds): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|kind| kind.name == CONFIG_MAPS);
    // Boxed, or the compiler cannot see that the whole may go to another thread.
    let lists: Vec<_> = kinds
        .into_iter()
        .map(|kind| list(client, kind, deadline, &objects).boxed())
        .collect();
    stream::iter(lists)
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
    let mut objects = objects.into_inner();
    if !by_name.is_empty() {
        device_configs(client, deadline, &mut objects).await;
    }
    objects
}

/// The configuration of HAMi's resources, and the names that it gives them: its own where it cannot be read.
pub(crate) async fn resource_names(client: &Client, deadline: Instant) -> (Read, ResourceNames) {
    let mut schedulers = Objects::default();
    let kind = KINDS.iter().find(|kind| kind.name == "deployments");
    let of_hami = kind.map(|kind| Kind {
        selector: Some(HAMI_SCHEDULER),
        ..*kind
    });
    if let Some(kind) = of_hami {
        let objects = Mutex::new(schedulers);
        if let Err(read) = pages(client, &kind, deadline, &objects).await {
            return (read, ResourceNames::default());
        }
        schedulers = objects.into_inner();
    }
    device_configs(client, deadline, &mut schedulers).await;
    let read = match schedulers.read.remove(CONFIG_MAPS) {
        Some(Read::Ok) if schedulers.config_maps.is_empty() => Read::Absent,
        read => read.unwrap_or(Read::Absent),
    };
    match schedulers.resource_names() {
        Ok(names) => (read, names),
        Err(error) => (Read::Failing(error.to_string()), ResourceNames::default()),
    }
}

/// Reads the ConfigMaps that the Deployments among the objects lead to, each by its name.
async fn device_configs(client: &Client, deadline: Instant, objects: &mut Objects) {
    let mut read = Read::Ok;
    for (namespace, name) in objects.device_configs().take(SCHEDULERS).collect::<Vec<_>>() {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let Ok(request) = Request::get(path).body(Vec::new()) else {
            continue;
        };
        match within(deadline, client.request_text(request)).await {
            Ok(text) => {
                objects.add("", "ConfigMap", &text);
            }
            Err(Unanswered::Status(404, _)) => {}
            Err(error) => read = error.read(),
        }
    }
    objects.read.insert(CONFIG_MAPS, read);
}

async fn list(client: &Client, kind: &'static Kind, deadline: Instant, objects: &Mutex<Objects>) {
    if let Err(read) = pages(client, kind, deadline, objects).await {
        objects.lock().read.insert(kind.name, read);
    }
}

async fn pages(
    client: &Client,
    kind: &Kind,
    deadline: Instant,
    objects: &Mutex<Objects>,
) -> Result<(), Read> {
    let mut next: Option<String> = None;
    for _ in 0..PAGES {
        let page = within(deadline, client.request_text(page(kind, next.as_deref())))
            .await
            .map_err(Unanswered::read)?;
        next = objects
            .lock()
            .add_page(kind, &page)
            .map_err(|error| Read::Failing(error.to_string()))?;
        if next.is_none() {
            return Ok(());
        }
    }
    Err(Read::Failing(format!("there are more than {}", PAGE * PAGES)))
}

fn page(kind: &Kind, next: Option<&str>) -> Request<Vec<u8>> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &PAGE.to_string());
    if let Some(selector) = kind.selector {
        query.append_pair("labelSelector", selector);
    }
    if let Some(next) = next {
        query.append_pair("continue", next);
    }
    Request::get(format!("{}?{}", kind.path(), query.finish()))
        .body(Vec::new())
        .expect("a path of constants and an encoded query are a URI")
}
