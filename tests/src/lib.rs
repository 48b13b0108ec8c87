//! What the end-to-end tests and the benchmarks share.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr
)]

pub mod apiserver;
pub mod bare;
pub mod bench;
pub mod browser;
pub mod canary;
pub mod client;
pub mod cluster;
pub mod e2e;
pub mod fixtures;
pub mod hostile_gateway;
pub mod kubeconfig;
pub mod kubectl;
pub mod kubelet;
pub mod oidc;
pub mod people;
pub mod processes;
pub mod prometheus;
pub mod raw;
pub mod raw2;
pub mod relay;
pub mod service;
pub mod streams;
pub mod tunnel;
pub mod upstream;
pub mod usage;
