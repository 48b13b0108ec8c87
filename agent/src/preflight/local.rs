//! What can be seen from inside the pod without asking the cluster.

use std::{fs, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::fault;

/// The agent answers its own pod from memory.
const HEALTH: Duration = Duration::from_secs(2);
/// An answer of the health port is a sentence.
const MAX_ANSWER: usize = 16 * 1024;
/// Limits at and above this are the kernel's way to say that there is none (cgroup v1).
const NO_LIMIT: u64 = 1 << 60;

/// Memory in use and the limit, from the files of either version of control groups.
pub(super) fn memory() -> Option<(u64, u64)> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let both = |used: &str, limit: &str| Some((number(used)?, number(limit)?));
    both("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.max")
        .or_else(|| {
            both(
                "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            )
        })
        .filter(|&(_, limit)| limit < NO_LIMIT)
}

/// Whether the agent that runs beside us has a tunnel, or why not; `None` if none answers.
pub(super) async fn tunnel(port: Option<u16>) -> Option<Result<(), String>> {
    timeout(HEALTH, ask(port?)).await.ok()?
}

async fn ask(port: u16) -> Option<Result<(), String>> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.ok()?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(async move {
        // Its end is seen by the sender.
        let _ended = connection.await;
    }));
    let request = Request::get("/readyz")
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .expect("constants are a request");
    let response = sender.send_request(request).await.ok()?;
    if response.status().is_success() {
        return Some(Ok(()));
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .ok()?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Some(Err(fault::printable(text.trim())))
}

/// Whether this runs in a pod.
pub(crate) fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}
