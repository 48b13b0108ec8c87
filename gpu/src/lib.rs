//! What is in a GPU cluster, read from Kubernetes objects and metrics. Objects in, facts out: no I/O, no clock.

pub mod allocation;
pub mod assembly;
pub mod claim;
pub mod dra;
pub mod dump;
mod findings;
pub mod fit;
pub mod index;
pub mod inventory;
pub mod lifecycle;
pub mod metrics;
pub mod node;
pub mod object;
pub mod platform;
pub mod pod;
pub mod quantity;
pub mod register;
mod report;
pub mod vendor;
pub mod version;
