//! `/kubernetes/...` on the data session: requests of people and programs, passed to the API server as them.
//!
//! ```text
//! gateway ── request ──> rewrite (parse, drop forged identities, impersonate) ──> pooled connection ──> API server
//!         ── CONNECT ──> rewrite ──> connection of its own ── 101 ──> bytes both ways, opaque
//! ```

mod counted;
pub(crate) mod request;
mod status;
pub(crate) mod upstream;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, upgrade::OnUpgrade};
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
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, debug_span, trace, warn};

use crate::{
    audit::{Asked, AuditLog, Pending},
    fault::chain,
};
use counted::{Counted, CountedStream, InFlight, Meter};
use request::{Refused, Rules};
use status::Refusal;
use upstream::{Driven, Upstream};

/// Labels of [`ProxyMetrics::requests`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    verb: &'static str,
    code: &'static str,
}

/// Labels of [`ProxyMetrics::refused`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusedLabels {
    reason: &'static str,
}

/// What the proxy counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyMetrics {
    requests: Family<RequestLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
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
            "refused",
            "Requests that the agent refused by itself, by reason: identity, path, upgrade, role, namespaces, local_*",
            metrics.refused.clone(),
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

/// What decides and what is written down, for all sessions of the process.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) rules: Rules,
    pub(crate) audit: Arc<AuditLog>,
}

/// Serves one data session. Clones share everything.
#[derive(Clone)]
pub(crate) struct Proxy {
    upstream: Upstream,
    guard: Arc<Guard>,
    metrics: ProxyMetrics,
    /// The link that answers leave on.
    link: Handle,
    /// Upgraded streams, which outlive the request that opened them.
    streams: TaskTracker,
}

impl Proxy {
    pub(crate) fn new(
        upstream: Upstream,
        guard: Arc<Guard>,
        metrics: ProxyMetrics,
        link: Handle,
        streams: TaskTracker,
    ) -> Self {
        Self {
            upstream,
            guard,
            metrics,
            link,
            streams,
        }
    }

    /// Answers one request of the gateway.
    pub(crate) async fn handle(&self, mut request: Request<Incoming>) -> Response<Body> {
        let method = request.method().clone();
        let answer = if upgrade::is_connect(&request) {
            let tunnel = hyper::upgrade::on(&mut request);
            self.handle_upgrade(request, tunnel).await
        } else {
            self.handle_plain(request).await
        };
        answer.unwrap_or_else(|refusal| refusal.response(&method))
    }

    async fn handle_plain(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let (mut parts, body) = request.into_parts();
        let asked =
            request::rewrite(&mut parts, &self.guard.rules).map_err(|refused| self.refuse(&refused))?;
        let meter = self.begin(asked);
        let in_flight = InFlight::start(&self.metrics.in_flight);
        let body = Counted::request(body, meter.clone()).boxed_unsync();
        let response = self.upstream.send(Request::from_parts(parts, body)).await;
        let response = response.map_err(|error| failed(&meter.pending, &error))?;
        self.answered(&meter.pending, response.status());
        let (mut parts, body) = response.into_parts();
        strip_hop_by_hop(&mut parts.headers);
        parts.extensions.clear();
        let body = Counted::answer(body, meter, in_flight);
        let body = Fair::new(body, self.link.clone()).boxed_unsync();
        Ok(Response::from_parts(parts, body))
    }

    async fn handle_upgrade(
        &self,
        mut request: Request<Incoming>,
        tunnel: OnUpgrade,
    ) -> Result<Response<Body>, Refusal> {
        let taken = upgrade::upstream_request(&mut request);
        let (mut parts, _tunnel_body) = request.into_parts();
        let protocol = match taken {
            Ok((method, headers)) => {
                (parts.method, parts.headers) = (method, headers);
                parts.headers.get(header::UPGRADE).cloned()
            }
            Err(_) => None,
        };
        let protocol = protocol.ok_or_else(|| self.refuse(&Refused::upgrade(&parts)))?;
        let asked =
            request::rewrite(&mut parts, &self.guard.rules).map_err(|refused| self.refuse(&refused))?;
        request::set_upgrade(&mut parts.headers, protocol);
        let meter = self.begin(asked);
        let response = self
            .upstream
            .send_upgrade(Request::from_parts(parts, empty()))
            .await
            .map_err(|error| failed(&meter.pending, &error))?;
        self.answered(&meter.pending, response.status());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            Ok(self.open_stream(meter, response, tunnel))
        } else {
            Ok(self.plain_answer(meter, response))
        }
    }

    fn begin(&self, asked: Asked) -> Meter {
        Meter {
            received: self.metrics.received.clone(),
            sent: self.metrics.sent.clone(),
            pending: self.guard.audit.begin(asked),
        }
    }

    fn answered(&self, pending: &Pending, status: StatusCode) {
        pending.answered(status);
        self.metrics.count(pending.asked().verb(), status);
        trace!(
            request_id = pending.asked().id(),
            status = status.as_u16(),
            "the API server answers"
        );
    }

    /// Counts and writes down what did not get to the API server.
    fn refuse(&self, refused: &Refused) -> Refusal {
        let Refused { refusal, why, asked } = refused;
        self.metrics.count("refused", refusal.status);
        self.metrics
            .refused
            .get_or_create(&RefusedLabels { reason: why })
            .inc();
        self.guard.audit.refused(asked, why, refusal.status.as_u16());
        debug!(status = refusal.status.as_u16(), reason = %refusal, "request refused");
        refusal.clone()
    }

    /// Joins the two upgraded connections once this answer has left.
    fn open_stream(&self, meter: Meter, mut response: Response<Driven>, tunnel: OnUpgrade) -> Response<Body> {
        let upstream = hyper::upgrade::on(&mut response);
        let (mut head, Driven { driver, .. }) = response.into_parts();
        head.extensions.clear();
        let open = InFlight::start(&self.metrics.upgrades);
        let span = debug_span!("stream", request_id = meter.pending.asked().id());
        let stream = async move {
            // The driver hands the connection over to `upstream`; it must live until then.
            let (upstream, tunnel) = match tokio::try_join!(upstream, tunnel) {
                Ok(both) => both,
                Err(error) => return debug!(%error, "the stream was given up before it began"),
            };
            drop(driver);
            let tunnel = CountedStream {
                stream: TokioIo::new(tunnel),
                meter,
            };
            match upgrade::splice(tunnel, TokioIo::new(upstream)).await {
                Ok((received, sent)) => debug!(received, sent, "stream ended"),
                Err(error) => debug!(%error, "stream broke"),
            }
            drop(open);
        };
        self.streams.spawn(stream.instrument(span));
        Response::from_parts(upgrade::connect_response(&head), empty())
    }

    /// The server did not upgrade: its answer is an ordinary one, and its connection ends with it.
    fn plain_answer(&self, meter: Meter, response: Response<Driven>) -> Response<Body> {
        let (mut head, Driven { body, driver }) = response.into_parts();
        strip_hop_by_hop(&mut head.headers);
        let in_flight = InFlight::start(&self.metrics.in_flight).driving(driver);
        let body = Counted::answer(body, meter, in_flight);
        let body = Fair::new(body, self.link.clone()).boxed_unsync();
        Response::from_parts(upgrade::connect_response(&head), body)
    }
}

fn failed(pending: &Pending, error: &BoxError) -> Refusal {
    let problem = chain(error.as_ref());
    warn!(code = "KTA-K8S-001", request_id = pending.asked().id(), %problem, "the API server gave no answer");
    let (why, refusal) = if upstream::is_unreachable(error) {
        ("unreachable", Refusal::unreachable(&problem))
    } else {
        ("broken", Refusal::broken(&problem))
    };
    pending.failed(why, refusal.status);
    refusal
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
