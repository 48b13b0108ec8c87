//! Inventory messages as the gateway takes them from an agent: protobuf, and JSON in it.

use kantaloupe_proto::pb::InventoryUpdate;
use prost::Message;

/// Each key counts once, and what is kept is the record of its id.
pub fn run(data: &[u8]) {
    if let Ok(update) = InventoryUpdate::decode(data) {
        assert_eq!(kantaloupe_gateway::fuzzing::probe(update), Ok(()));
    }
}
