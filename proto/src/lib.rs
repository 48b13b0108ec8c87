//! What agent and gateway agree on: gRPC messages, tokens, the connect assertion, enrolment messages,
//! header names, and the parser that turns a Kubernetes path into what it asks for.
//!
//! Nothing here does I/O or reads a clock: the callers pass in what they read.

pub mod agent_api;
pub mod agent_log;
pub mod assertion;
pub mod headers;
mod random;
pub mod request;
pub mod token;

/// Version of the protocol between agent and gateway, as both announce it in `Hello` and in the challenge.
///
/// It grows when a change is not understood by the other end's older releases.
pub const PROTOCOL_VERSION: u32 = 1;

/// The gRPC messages and services, generated from `proto/kantaloupe/agent/v1/agent.proto`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::default_trait_access,
    clippy::struct_excessive_bools,
    reason = "generated; the .proto file holds the comments"
)]
pub mod pb {
    tonic::include_proto!("kantaloupe.agent.v1");
}
