//! HTTP/2 on a tunnel, settings and all: the gateway's end against any agent, the agent's end against any gateway.

use std::{convert::Infallible, io::Cursor};

use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kantaloupe_tunnel::session::{self, Body, Kind, ORIGIN};
use tokio::runtime::{Builder, Runtime};

/// Bytes of a body that are read.
const MOST: usize = 1 << 20;

std::thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime without I/O");
}

/// The first byte picks the end, the rest is what the other one sends before it hangs up. Whatever it is, the session ends.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let io = TokioIo::new(tokio::io::join(Cursor::new(rest.to_vec()), tokio::io::sink()));
    let kind = if first & 2 == 0 { Kind::Data } else { Kind::Control };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            if first & 1 == 0 {
                let Ok((mut sender, connection)) = session::http2_client(kind).handshake::<_, Body>(io).await
                else {
                    return;
                };
                let request = Request::get(format!("{ORIGIN}/kubernetes/api"))
                    .body(empty())
                    .expect("a valid request");
                let ask = async {
                    if let Ok(response) = sender.send_request(request).await {
                        let _broken = Limited::new(response.into_body(), MOST).collect().await;
                    }
                    drop(sender);
                };
                let _ended = tokio::join!(connection, ask);
            } else {
                let service = service_fn(|request: Request<Incoming>| async {
                    let _broken = Limited::new(request.into_body(), MOST).collect().await;
                    Ok::<_, Infallible>(Response::new(empty()))
                });
                let _ended = session::http2_server(kind).serve_connection(io, service).await;
            }
        });
    });
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
