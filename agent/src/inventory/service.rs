//! `InventoryService` on the control session.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use kantaloupe_gpu::{index::Batch, inventory::Kind};
use kantaloupe_proto::pb::{
    InventoryKey, InventoryKind, InventoryRecord, InventoryUpdate, WatchInventoryRequest,
    inventory_service_server::{InventoryService, InventoryServiceServer},
};
use tonic::{Request, Response, Status, codec::CompressionEncoding};

use super::{Inventory, InventoryMetrics, Subscription};

/// Content of a message. Small enough that a long snapshot holds up nothing else on the control session for long.
const CHUNK: usize = 256 * 1024;
/// Records that are made at a time, for which the index is locked for a few milliseconds.
const BATCH: usize = 512;
/// Changes are gathered for so long, so that many of them make few messages. Part of the second within which they are to be seen.
const COALESCE: Duration = Duration::from_millis(50);
/// A request is two short fields.
const MAX_REQUEST: usize = 4 * 1024;

/// The service for the routes of a control session.
pub(crate) fn server(inventory: Inventory) -> InventoryServiceServer<impl InventoryService> {
    InventoryServiceServer::new(Service(inventory))
        .max_decoding_message_size(MAX_REQUEST)
        // Records repeat their field names; on the wire they take a tenth.
        .send_compressed(CompressionEncoding::Gzip)
}

struct Service(Inventory);

#[tonic::async_trait]
impl InventoryService for Service {
    type WatchStream = BoxStream<'static, Result<InventoryUpdate, Status>>;

    async fn watch(
        &self,
        request: Request<WatchInventoryRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let WatchInventoryRequest { epoch, revision } = request.into_inner();
        let sender = Sender {
            subscription: self.0.subscribe(&epoch, revision),
            metrics: self.0.0.metrics.clone(),
            ready: VecDeque::new(),
        };
        let updates = stream::unfold(sender, |mut sender| async move {
            let update = sender.next().await;
            Some((Ok(update), sender))
        });
        Ok(Response::new(updates.boxed()))
    }
}

struct Sender {
    subscription: Subscription,
    metrics: InventoryMetrics,
    ready: VecDeque<InventoryUpdate>,
}

impl Sender {
    async fn next(&mut self) -> InventoryUpdate {
        loop {
            if let Some(update) = self.ready.pop_front() {
                self.metrics.messages.inc();
                return update;
            }
            let (epoch, batch) = self.subscription.next(BATCH, COALESCE).await;
            self.ready = updates(&epoch, batch, &self.metrics);
        }
    }
}

/// A batch in messages of at most [`CHUNK`] bytes, unless one record alone is larger.
fn updates(epoch: &str, batch: Batch, metrics: &InventoryMetrics) -> VecDeque<InventoryUpdate> {
    let empty = || InventoryUpdate {
        epoch: epoch.to_owned(),
        revision: batch.revision,
        ..InventoryUpdate::default()
    };
    let mut updates = VecDeque::from([empty()]);
    let mut size = 0;
    let mut next = |added: usize, updates: &mut VecDeque<InventoryUpdate>| {
        size += added;
        metrics.bytes.inc_by(added as u64);
        if size > CHUNK && size > added {
            size = added;
            updates.push_back(empty());
        }
    };
    for (kind, id) in batch.removals {
        next(id.len(), &mut updates);
        let last = updates.back_mut().expect("there is one from the beginning");
        let kind = wire(kind).into();
        last.removals.push(InventoryKey { kind, id });
    }
    for record in batch.upserts {
        let (kind, id) = (wire(record.kind()).into(), record.id().into_owned());
        let value = Bytes::from(serde_json::to_vec(&record).expect("records are JSON"));
        next(id.len() + value.len(), &mut updates);
        let last = updates.back_mut().expect("there is one from the beginning");
        last.upserts.push(InventoryRecord { kind, id, value });
    }
    if let Some(first) = updates.front_mut() {
        first.snapshot = batch.snapshot;
    }
    if let Some(last) = updates.back_mut() {
        last.complete = batch.complete;
    }
    updates
}

const fn wire(kind: Kind) -> InventoryKind {
    match kind {
        Kind::Cluster => InventoryKind::Cluster,
        Kind::Node => InventoryKind::Node,
        Kind::Gpu => InventoryKind::Gpu,
        Kind::Allocation => InventoryKind::Allocation,
        Kind::Workload => InventoryKind::Workload,
        Kind::Finding => InventoryKind::Finding,
        Kind::GpuUsage => InventoryKind::GpuUsage,
        Kind::ContainerUsage => InventoryKind::ContainerUsage,
        Kind::Check => InventoryKind::Check,
    }
}

#[cfg(test)]
mod tests {
    use kantaloupe_gpu::inventory::{Node, Record};

    use super::*;

    fn node(name: &str, padding: usize) -> Record {
        Record::Node(Box::new(Node {
            name: name.to_owned(),
            os_image: Some("x".repeat(padding)),
            ..Node::default()
        }))
    }

    #[test]
    fn batches_are_cut_into_messages() {
        let batch = Batch {
            revision: 9,
            snapshot: true,
            complete: true,
            upserts: vec![
                node("a", 100_000),
                node("b", 100_000),
                node("c", 100_000),
                node("d", 400_000),
                node("e", 1),
            ],
            removals: vec![(Kind::Gpu, "n/g".to_owned())],
        };
        let updates = updates("epoch", batch, &InventoryMetrics::default());
        let names: Vec<Vec<&str>> = updates
            .iter()
            .map(|u| u.upserts.iter().map(|r| &*r.id).collect())
            .collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c"], vec!["d"], vec!["e"]]);
        let flags: Vec<_> = updates
            .iter()
            .map(|u| (u.snapshot, u.complete, u.removals.len()))
            .collect();
        assert_eq!(
            flags,
            [
                (true, false, 1),
                (false, false, 0),
                (false, false, 0),
                (false, true, 0)
            ]
        );
        assert!(updates.iter().all(|u| u.epoch == "epoch" && u.revision == 9));
        let value: serde_json::Value = serde_json::from_slice(&updates[3].upserts[0].value).unwrap();
        assert_eq!((&value["name"], value.get("kind")), (&"e".into(), None));
    }

    #[test]
    fn nothing_but_completeness_is_a_message() {
        let batch = Batch {
            complete: true,
            ..Batch::default()
        };
        let updates = updates("epoch", batch, &InventoryMetrics::default());
        assert_eq!(updates.len(), 1);
        assert!(updates[0].complete);
    }
}
