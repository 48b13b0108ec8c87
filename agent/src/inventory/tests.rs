use std::collections::HashMap;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use kantaloupe_gpu::inventory::{Kind, Record};
use kantaloupe_proto::pb::{WatchInventoryRequest, inventory_service_client::InventoryServiceClient};
use kantaloupe_tunnel::session::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::testing::{
    handler, json as answer,
    kubernetes::{Kubernetes, status_object},
    soon,
};

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";

/// Lists and watches of an API server.
#[derive(Default)]
struct Lists {
    objects: HashMap<String, Vec<Value>>,
    /// Answers to requests for one object.
    single: HashMap<String, Value>,
    watchers: Vec<(String, mpsc::Sender<Bytes>)>,
    /// Status of answers to requests for a path.
    refused: HashMap<String, u16>,
    /// Lists cannot be streamed.
    pages_only: bool,
    requests: Vec<String>,
}

impl Lists {
    fn respond(&mut self, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        self.requests.push(format!("{path}?{query}"));
        if let Some(status) = self.refused.get(&path) {
            return status_object(*status);
        }
        if path == "/apis" {
            return answer(
                200,
                &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
            );
        }
        if let Some(object) = self.single.get(&path) {
            return answer(200, object);
        }
        let objects = self.objects.entry(path.clone()).or_default();
        if !query.contains("watch=true") {
            return answer(
                200,
                &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "5"}, "items": objects}),
            );
        }
        let initial = query.contains("sendInitialEvents=true");
        if initial && self.pages_only {
            return status_object(422);
        }
        let (sender, receiver) = mpsc::channel(1000);
        if initial {
            for object in objects {
                sender.try_send(line("ADDED", object)).unwrap();
            }
            let end = json!({"kind": "Node", "apiVersion": "v1", "metadata": {
                "resourceVersion": "5", "annotations": {"k8s.io/initial-events-end": "true"}}});
            sender.try_send(line("BOOKMARK", &end)).unwrap();
        }
        self.watchers.push((path, sender));
        let lines = stream::unfold(receiver, |mut receiver| async {
            let line = receiver.recv().await?;
            Some((Ok(Frame::data(line)), receiver))
        });
        Response::new(StreamBody::new(lines).boxed_unsync())
    }

    fn send(&mut self, path: &str, what: &str, object: &Value) {
        self.watchers.retain(|(_, sender)| !sender.is_closed());
        for (_, sender) in self.watchers.iter().filter(|(of, _)| of == path) {
            sender.try_send(line(what, object)).unwrap();
        }
    }
}

fn line(what: &str, object: &Value) -> Bytes {
    // The type first, as API servers write it.
    format!("{{\"type\":\"{what}\",\"object\":{object}}}\n").into()
}

struct Fake {
    lists: Arc<Mutex<Lists>>,
    inventory: Inventory,
    _kubernetes: Kubernetes,
    _run: AbortOnDropHandle<()>,
}

impl Fake {
    async fn start(lists: Lists) -> Self {
        let lists = Arc::new(Mutex::new(lists));
        let shared = Arc::clone(&lists);
        let kubernetes = Kubernetes::start_with(handler(move |request| {
            let response = shared.lock().respond(&request);
            async move { response }
        }))
        .await;
        let inventory = Inventory::new(
            kubernetes.client(),
            kubernetes.client(),
            InventoryMetrics::default(),
        );
        let run = AbortOnDropHandle::new(tokio::spawn(inventory.clone().run()));
        Self {
            lists,
            inventory,
            _kubernetes: kubernetes,
            _run: run,
        }
    }
}

fn node(name: &str) -> Value {
    json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "5"},
           "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

fn pod(name: &str, phase: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "resourceVersion": "6"},
           "spec": {"nodeName": "a", "containers": []}, "status": {"phase": phase}})
}

/// A reader that applies what it gets.
struct Reader {
    subscription: Subscription,
    records: HashMap<(Kind, String), Record>,
    epoch: String,
    revision: u64,
}

impl Reader {
    fn new(inventory: &Inventory) -> Self {
        Self {
            subscription: inventory.subscribe("", 0),
            records: HashMap::new(),
            epoch: String::new(),
            revision: 0,
        }
    }

    /// Reads until a state is complete; what was changed or removed.
    async fn read(&mut self) -> Vec<String> {
        let mut named = Vec::new();
        loop {
            let (epoch, batch) = soon(self.subscription.next(3, Duration::from_millis(1))).await;
            if batch.snapshot {
                self.records.clear();
            }
            for (kind, id) in batch.removals {
                named.push(format!("-{id}"));
                self.records.remove(&(kind, id));
            }
            for record in batch.upserts {
                named.push(format!("+{}", record.id()));
                self.records
                    .insert((record.kind(), record.id().into_owned()), record);
            }
            if batch.complete {
                self.epoch = epoch;
                self.revision = batch.revision;
                return named;
            }
        }
    }

    /// Reads until a condition holds.
    async fn until(&mut self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            self.read().await;
        }
    }

    fn cluster(&self) -> &kantaloupe_gpu::inventory::Cluster {
        match self.records.get(&(Kind::Cluster, "cluster".to_owned())) {
            Some(Record::Cluster(cluster)) => cluster,
            other => panic!("the cluster is {other:?}"),
        }
    }

    fn source(&self, name: &str) -> &Source {
        self.cluster()
            .sources
            .iter()
            .find(|source| source.name == name)
            .unwrap()
    }

    fn has(&self, kind: Kind, id: &str) -> bool {
        self.records.contains_key(&(kind, id.to_owned()))
    }
}

fn two_nodes() -> Lists {
    let objects = HashMap::from([
        (NODES.to_owned(), vec![node("a"), node("b")]),
        (PODS.to_owned(), vec![pod("one", "Running")]),
    ]);
    Lists {
        objects,
        ..Lists::default()
    }
}

#[tokio::test]
async fn nothing_is_read_before_somebody_asks_and_then_once() {
    let fake = Fake::start(two_nodes()).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.lists.lock().requests, [""; 0]);
    let (mut first, mut second) = (Reader::new(&fake.inventory), Reader::new(&fake.inventory));
    first.read().await;
    second.read().await;
    assert_eq!(first.records, second.records);
    assert!(first.has(Kind::Node, "a") && first.has(Kind::Node, "b"));
    let counts = &first.cluster().counts;
    assert_eq!((counts.nodes, counts.nodes_ready, counts.pods_running), (2, 2, 1));
    assert_eq!(first.cluster().kubernetes_version.as_deref(), Some("v1.34.4"));
    let requests = fake.lists.lock().requests.clone();
    let of_nodes = requests.iter().filter(|request| request.starts_with(NODES));
    assert_eq!(of_nodes.count(), 1, "{requests:?}");
}

#[tokio::test]
async fn changes_come_as_they_happen() {
    let fake = Fake::start(two_nodes()).await;
    let mut reader = Reader::new(&fake.inventory);
    reader.read().await;
    fake.lists.lock().send(PODS, "ADDED", &pod("two", "Pending"));
    let named = reader.read().await;
    assert_eq!(named, ["+a", "+cluster"]);
    assert_eq!(
        (reader.cluster().counts.pods, reader.cluster().counts.pods_running),
        (2, 1)
    );
    fake.lists.lock().send(NODES, "DELETED", &node("b"));
    assert_eq!(reader.read().await, ["-b", "+cluster"]);
    // Another tunnel: it goes on where the gateway is.
    let mut again = Reader {
        subscription: fake.inventory.subscribe(&reader.epoch, reader.revision),
        ..reader
    };
    assert_eq!(
        again.read().await,
        [""; 0],
        "nothing has changed meanwhile, and that is told"
    );
    fake.lists.lock().send(PODS, "MODIFIED", &pod("two", "Running"));
    assert_eq!(again.read().await, ["+cluster"]);
    // Of another process it knows nothing.
    let mut other = Reader {
        subscription: fake.inventory.subscribe("another", again.revision),
        ..again
    };
    let named = other.read().await;
    assert_eq!(named.len(), 2, "{named:?}");
}

#[tokio::test]
async fn what_may_not_be_read_is_told_and_holds_up_nothing() {
    let mut lists = two_nodes();
    lists.refused.insert(PODS.to_owned(), 403);
    lists.refused.insert("/apis/apps/v1/replicasets".to_owned(), 404);
    let fake = Fake::start(lists).await;
    let mut reader = Reader::new(&fake.inventory);
    reader.read().await;
    let pods = reader.source("pods");
    assert_eq!(
        (pods.state, pods.code.as_deref()),
        (SourceState::Forbidden, Some("KTA-K8S-004"))
    );
    assert_eq!(reader.source("replicasets").state, SourceState::Absent);
    assert_eq!(reader.source("nodes").state, SourceState::Ok);
    assert!(reader.has(Kind::Node, "a"));
}

const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
const DEVICE_CONFIG: &str = "/api/v1/namespaces/gpu/configmaps/vgpu-hami-scheduler-device";

/// A cluster whose HAMi calls devices otherwise, and a pod that asks for one.
fn named_otherwise() -> Lists {
    let mut lists = two_nodes();
    let mut pod = pod("asks", "Pending");
    pod["spec"]["containers"] = json!([{"name": "main", "resources": {"limits": {"example.com/card": "1"}}}]);
    lists.objects.insert(PODS.to_owned(), vec![pod]);
    let scheduler = json!({"metadata": {"name": "vgpu-hami-scheduler", "namespace": "gpu", "uid": "u", "resourceVersion": "5",
        "labels": {"app.kubernetes.io/component": "hami-scheduler"}}});
    lists.objects.insert(DEPLOYMENTS.to_owned(), vec![scheduler]);
    let config = json!({"metadata": {"name": "vgpu-hami-scheduler-device", "namespace": "gpu"},
        "data": {"device-config.yaml": "nvidia:\n  resourceCountName: example.com/card\n"}});
    lists.single.insert(DEVICE_CONFIG.to_owned(), config);
    lists
}

#[tokio::test]
async fn hami_s_configuration_is_read_by_its_name() {
    let fake = Fake::start(named_otherwise()).await;
    let mut reader = Reader::new(&fake.inventory);
    reader.read().await;
    assert_eq!(reader.source("hami-device-config").state, SourceState::Ok);
    let asks = |reader: &Reader| {
        let mut records = reader.records.values();
        records.any(|record| matches!(record, Record::Allocation(allocation) if allocation.pod == "asks"))
    };
    assert!(asks(&reader));
    let requests = fake.lists.lock().requests.clone();
    assert!(
        !requests
            .iter()
            .any(|request| request.starts_with("/api/v1/configmaps"))
    );

    let mut lists = named_otherwise();
    lists.single.clear();
    lists.refused.insert(DEVICE_CONFIG.to_owned(), 403);
    let fake = Fake::start(lists).await;
    let mut reader = Reader::new(&fake.inventory);
    reader.read().await;
    let source = reader.source("hami-device-config");
    assert_eq!(
        (source.state, source.code.as_deref()),
        (SourceState::Forbidden, Some("KTA-K8S-004"))
    );
    assert!(!asks(&reader));

    let fake = Fake::start(two_nodes()).await;
    let mut reader = Reader::new(&fake.inventory);
    reader.read().await;
    assert_eq!(reader.source("hami-device-config").state, SourceState::Absent);
}

#[tokio::test]
async fn an_expired_watch_is_begun_anew_without_flicker() {
    let fake = Fake::start(two_nodes()).await;
    let mut reader = Reader::new(&fake.inventory);
    reader.read().await;
    fake.lists
        .lock()
        .objects
        .insert(NODES.to_owned(), vec![node("a"), node("c")]);
    let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
    fake.lists.lock().send(NODES, "ERROR", &gone);
    let named = reader.read().await;
    assert_eq!(named, ["-b", "+c"]);
    assert_eq!(reader.source("nodes").state, SourceState::Ok);
}

#[tokio::test]
async fn lists_are_read_in_pages_where_they_cannot_be_streamed() {
    let mut lists = two_nodes();
    lists.pages_only = true;
    let fake = Fake::start(lists).await;
    let mut reader = Reader::new(&fake.inventory);
    reader.read().await;
    assert!(reader.has(Kind::Node, "a") && reader.has(Kind::Node, "b"));
    let listed = |request: &String| request.starts_with(NODES) && request.contains("limit=500");
    assert!(fake.lists.lock().requests.iter().any(listed));
}

#[tokio::test]
async fn an_odd_object_hides_no_other() {
    let mut lists = two_nodes();
    let mut odd = node("odd");
    odd["status"]["conditions"] = json!("none");
    lists.objects.get_mut(NODES).unwrap().insert(0, odd.clone());
    let fake = Fake::start(lists).await;
    let mut reader = Reader::new(&fake.inventory);
    reader.read().await;
    assert!(reader.has(Kind::Node, "a") && !reader.has(Kind::Node, "odd"));
    fake.lists.lock().send(NODES, "MODIFIED", &odd);
    fake.lists.lock().send(NODES, "ADDED", &node("later"));
    reader.until(|reader| reader.has(Kind::Node, "later")).await;
}

#[tokio::test]
async fn a_server_that_fails_is_told_and_comes_back() {
    let mut lists = two_nodes();
    lists.refused.insert(NODES.to_owned(), 500);
    let fake = Fake::start(lists).await;
    let subscription = fake.inventory.subscribe("", 0);
    crate::testing::eventually("three attempts", || {
        let lists = fake.lists.lock();
        lists
            .requests
            .iter()
            .filter(|request| request.starts_with(NODES))
            .count()
            >= 3
    })
    .await;
    fake.lists.lock().refused.clear();
    drop(subscription);
    let mut reader = Reader::new(&fake.inventory);
    reader.until(|reader| reader.has(Kind::Node, "a")).await;
    assert_eq!(reader.source("nodes").state, SourceState::Ok);
}

#[tokio::test]
async fn a_gateway_gets_messages() {
    let fake = Fake::start(two_nodes()).await;
    let mut client = InventoryServiceClient::new(server(fake.inventory.clone()))
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    let request = WatchInventoryRequest {
        epoch: String::new(),
        revision: 0,
    };
    let mut updates = client.watch(request).await.unwrap().into_inner();
    let first = soon(updates.message()).await.unwrap().unwrap();
    assert!(first.snapshot && first.complete && !first.epoch.is_empty() && first.revision > 0);
    let ids: Vec<&str> = first.upserts.iter().map(|record| &*record.id).collect();
    assert!(ids.contains(&"a") && ids.contains(&"cluster"), "{ids:?}");
    fake.lists.lock().send(NODES, "ADDED", &node("c"));
    let second = soon(updates.message()).await.unwrap().unwrap();
    assert!(
        !second.snapshot
            && second.complete
            && second.epoch == first.epoch
            && second.revision > first.revision
    );
    drop(updates);
    let mut subscribers = fake.inventory.0.subscribers.subscribe();
    soon(subscribers.wait_for(|count| *count == 0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn watches_outlive_a_short_absence() {
    let sender = watch::Sender::new(1_usize);
    let mut subscribers = sender.subscribe();
    let begun = Instant::now();
    let script = async {
        sleep(Duration::from_secs(10)).await;
        sender.send_replace(0);
        sleep(Duration::from_mins(4)).await;
        sender.send_replace(1);
        sleep(Duration::from_secs(10)).await;
        sender.send_replace(0);
    };
    tokio::join!(script, unwanted(&mut subscribers));
    assert_eq!(begun.elapsed(), Duration::from_secs(260) + LINGER);
}
