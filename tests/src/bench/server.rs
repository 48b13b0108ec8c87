//! The server behind everything that is measured: `tests/apiserver`, Go's net/http as in every API server.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;
use tokio::process::Command;

use super::load::Target;
use crate::{
    cluster::testbed,
    processes::{Process, free_port},
    tunnel::Tls,
};

/// A running one; it ends with its handle.
pub struct Server {
    pub addr: SocketAddr,
    _process: Process,
}

impl Server {
    /// HTTP/1.1 over TLS on loopback; its certificate is written into `dir`.
    pub async fn start(dir: &Path, tls: &Tls) -> anyhow::Result<Self> {
        let addr = free_port()?;
        let (cert, key) = (dir.join("server.crt"), dir.join("server.key"));
        std::fs::write(&cert, &tls.cert_pem)?;
        std::fs::write(&key, &tls.key_pem)?;
        let mut command = Command::new(testbed().join("bin/bench-apiserver"));
        command.arg(addr.to_string()).args([cert, key]);
        let process = Process::start(&mut command, dir.join("server.log"))
            .context("not built: tests/testbed/prepare.sh bench-apiserver")?;
        wait(&Target::direct(addr, tls), &process).await?;
        Ok(Self {
            addr,
            _process: process,
        })
    }
}

/// Until a fresh process takes connections.
pub(super) async fn wait(target: &Target, process: &Process) -> anyhow::Result<()> {
    for _ in 0..250 {
        if target.connect().await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("{} does not answer: {}", target.addr, process.said())
}
