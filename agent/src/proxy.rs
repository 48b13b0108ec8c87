//! `/kubernetes/...` on the data session: requests of people and programs, passed to the API server as them.
//!
//! ```text
//! gateway ── request ──> rewrite (parse, drop forged identities, impersonate) ──> pooled connection ──> API server
//!         ── CONNECT ──> rewrite ──> connection of its own ── 101 ──> bytes both ways, opaque
//! ```

pub(crate) mod request;
mod status;
pub(crate) mod upstream;

#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Body as HttpBody, Incoming, SizeHint},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use kantaloupe_proto::headers::strip_hop_by_hop;
use kantaloupe_tunnel::{
    fair::Fair,
    link::Handle,
    session::{Body, BoxError},
    upgrade,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{Instrument, debug, debug_span, trace, warn};

use crate::fault::chain;
use request::Asked;
use status::Refusal;
use upstream::{Driven, Upstream};

/// Labels of [`ProxyMetrics::requests`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    verb: &'static str,
    code: &'static str,
}

/// What the proxy counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyMetrics {
    requests: Family<RequestLabels, Counter>,
    in_flight: Gauge,
    upgrades: Gauge,
    received: Counter,
    sent: Counter,
}

impl ProxyMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let proxy = registry.sub_registry_with_prefix("proxy");
        proxy.register(
            "requests",
            "Requests by verb and class of status",
            metrics.requests.clone(),
        );
        proxy.register(
            "requests_in_flight",
            "Requests whose answer has not ended",
            metrics.in_flight.clone(),
        );
        proxy.register(
            "upgrades_open",
            "Open upgraded streams (exec, attach, port-forward)",
            metrics.upgrades.clone(),
        );
        proxy.register_with_unit(
            "received",
            "Bytes of bodies and streams from users",
            Unit::Bytes,
            metrics.received.clone(),
        );
        proxy.register_with_unit(
            "sent",
            "Bytes of bodies and streams to users",
            Unit::Bytes,
            metrics.sent.clone(),
        );
        metrics
    }

    fn count(&self, verb: &'static str, status: StatusCode) {
        let code = match status.as_u16() {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&RequestLabels { verb, code }).inc();
    }
}

/// Serves one data session. Clones share everything.
#[derive(Clone)]
pub(crate) struct Proxy {
    upstream: Upstream,
    metrics: ProxyMetrics,
    /// The link that answers leave on.
    link: Handle,
    /// Upgraded streams, which outlive the request that opened them.
    streams: TaskTracker,
}

impl Proxy {
    pub(crate) fn new(upstream: Upstream, metrics: ProxyMetrics, link: Handle, streams: TaskTracker) -> Self {
        Self {
            upstream,
            metrics,
            link,
            streams,
        }
    }

    /// Answers one request of the gateway.
    pub(crate) async fn handle(&self, mut request: Request<Incoming>) -> Response<Body> {
        let answer = if upgrade::is_connect(&request) {
            let tunnel = hyper::upgrade::on(&mut request);
            self.handle_upgrade(request, tunnel).await
        } else {
            self.handle_plain(request).await
        };
        answer.unwrap_or_else(|refusal| {
            self.metrics.count("refused", refusal.status);
            debug!(status = refusal.status.as_u16(), reason = %refusal, "request refused");
            refusal.response()
        })
    }

    async fn handle_plain(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let (mut parts, body) = request.into_parts();
        let asked = request::rewrite(&mut parts)?;
        let in_flight = InFlight::start(&self.metrics.in_flight);
        let body = Counted::new(body, self.metrics.received.clone(), None).boxed_unsync();
        let response = self.upstream.send(Request::from_parts(parts, body)).await;
        let response = response.map_err(|error| failed(&asked, &error))?;
        self.metrics.count(asked.verb.as_str(), response.status());
        trace!(request_id = %asked.request_id, status = response.status().as_u16(), "the API server answers");
        let (mut parts, body) = response.into_parts();
        strip_hop_by_hop(&mut parts.headers);
        parts.extensions.clear();
        let body = Counted::new(body, self.metrics.sent.clone(), Some(in_flight));
        let body = Fair::new(body, self.link.clone()).boxed_unsync();
        Ok(Response::from_parts(parts, body))
    }

    async fn handle_upgrade(
        &self,
        mut request: Request<Incoming>,
        tunnel: OnUpgrade,
    ) -> Result<Response<Body>, Refusal> {
        let (method, headers) = upgrade::upstream_request(&mut request)
            .map_err(|error| Refusal::bad_request(format!("the agent refuses this upgrade: {error}")))?;
        let (mut parts, _tunnel_body) = request.into_parts();
        (parts.method, parts.headers) = (method, headers);
        let protocol = parts.headers.get(header::UPGRADE).cloned();
        let protocol =
            protocol.ok_or_else(|| Refusal::bad_request("the agent refuses an upgrade to nothing"))?;
        let asked = request::rewrite(&mut parts)?;
        request::set_upgrade(&mut parts.headers, protocol);
        let response = self
            .upstream
            .send_upgrade(Request::from_parts(parts, empty()))
            .await
            .map_err(|error| failed(&asked, &error))?;
        self.metrics.count(asked.verb.as_str(), response.status());
        trace!(request_id = %asked.request_id, status = response.status().as_u16(), "the API server answers an upgrade");
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            Ok(self.open_stream(&asked, response, tunnel))
        } else {
            Ok(self.plain_answer(response))
        }
    }

    /// Joins the two upgraded connections once this answer has left.
    fn open_stream(
        &self,
        asked: &Asked,
        mut response: Response<Driven>,
        tunnel: OnUpgrade,
    ) -> Response<Body> {
        let upstream = hyper::upgrade::on(&mut response);
        let (mut head, Driven { driver, .. }) = response.into_parts();
        head.extensions.clear();
        let open = InFlight::start(&self.metrics.upgrades);
        let metrics = self.metrics.clone();
        let span = debug_span!("stream", request_id = %asked.request_id);
        let stream = async move {
            // The driver hands the connection over to `upstream`; it must live until then.
            let (upstream, tunnel) = match tokio::try_join!(upstream, tunnel) {
                Ok(both) => both,
                Err(error) => return debug!(%error, "the stream was given up before it began"),
            };
            drop(driver);
            match upgrade::splice(TokioIo::new(tunnel), TokioIo::new(upstream)).await {
                Ok((received, sent)) => {
                    metrics.received.inc_by(received);
                    metrics.sent.inc_by(sent);
                    debug!(received, sent, "stream ended");
                }
                Err(error) => debug!(%error, "stream broke"),
            }
            drop(open);
        };
        self.streams.spawn(stream.instrument(span));
        Response::from_parts(upgrade::connect_response(&head), empty())
    }

    /// The server did not upgrade: its answer is an ordinary one, and its connection ends with it.
    fn plain_answer(&self, response: Response<Driven>) -> Response<Body> {
        let (mut head, Driven { body, driver }) = response.into_parts();
        strip_hop_by_hop(&mut head.headers);
        let in_flight = InFlight::start(&self.metrics.in_flight).driving(driver);
        let body = Counted::new(body, self.metrics.sent.clone(), Some(in_flight));
        let body = Fair::new(body, self.link.clone()).boxed_unsync();
        Response::from_parts(upgrade::connect_response(&head), body)
    }
}

fn failed(asked: &Asked, error: &BoxError) -> Refusal {
    let problem = chain(error.as_ref());
    warn!(code = "KTA-K8S-001", request_id = %asked.request_id, %problem, "the API server gave no answer");
    if upstream::is_unreachable(error) {
        Refusal::unreachable(&problem)
    } else {
        Refusal::broken(&problem)
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Counts something as open for as long as it lives, and keeps what must live as long.
#[derive(Debug)]
struct InFlight {
    gauge: Gauge,
    /// Its drop ends the connection.
    driver: Option<AbortOnDropHandle<()>>,
}

impl InFlight {
    fn start(gauge: &Gauge) -> Self {
        gauge.inc();
        Self {
            gauge: gauge.clone(),
            driver: None,
        }
    }

    fn driving(mut self, driver: AbortOnDropHandle<()>) -> Self {
        self.driver = Some(driver);
        self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// A body that passes unchanged and is counted.
struct Counted {
    body: Incoming,
    bytes: Counter,
    _in_flight: Option<InFlight>,
}

impl Counted {
    fn new(body: Incoming, bytes: Counter, in_flight: Option<InFlight>) -> Self {
        Self {
            body,
            bytes,
            _in_flight: in_flight,
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.bytes.inc_by(data.remaining() as u64);
        }
        Poll::Ready(frame.map(|result| result.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
