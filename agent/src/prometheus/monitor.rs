//! The loop: finds Prometheus, asks it again and again, and finds it anew when it is gone.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kantaloupe_checks::{Code, Fault};
use kantaloupe_gpu::metrics::{devices::Devices, server::Server};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    client::Limits,
    find::{Found, find},
    measure::PrometheusMetrics,
    round::{Round, round},
};
use crate::config::Monitoring;

/// From one round to the next, at least; Prometheus' own default is a scrape every 15 to 30 s.
const INTERVAL: Duration = Duration::from_secs(15);
/// Up to so much more, so that the agents of many clusters behind one VictoriaMetrics do not ask together.
const JITTER: Duration = Duration::from_secs(10);
/// After so many failed rounds it is looked for anew: it may have moved.
const LOST_AFTER: u32 = 3;
/// Between searches that found nothing. They list Services, and what is missing has to be installed first.
const SEARCH_INTERVAL: Duration = Duration::from_mins(1);

/// Takes what is measured. Calls come one at a time.
pub trait Feed: Send + Sync + 'static {
    /// The devices as they are known now.
    fn devices(&self) -> Devices;
    /// A round brought something.
    fn measured(&self, round: Round, server: &Server, address: &str, at: Timestamp);
    /// Nothing is known any more, and why; what was known before is too old from [`kantaloupe_gpu::metrics::usage::FRESH`] on.
    fn failed(&self, fault: Arc<Fault>, at: Timestamp);
}

/// The loop's parts.
pub struct Monitor<F> {
    /// Where it is.
    pub settings: Monitoring,
    /// For the search.
    pub kube: kube::Client,
    /// What is taken of an answer.
    pub limits: Limits,
    /// What is told of the queries.
    pub metrics: PrometheusMetrics,
    /// Takes what is measured.
    pub feed: F,
}

impl<F: Feed> Monitor<F> {
    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut lost = 0;
        let mut found = None;
        loop {
            let pause = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                pause = self.step(&mut found, &mut lost) => pause,
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Searches if need be and asks one round; how long to wait then.
    async fn step(&self, found: &mut Option<Found>, lost: &mut u32) -> Duration {
        if found.is_none() {
            match find(&self.settings, &self.kube, self.limits).await {
                Ok(new) => {
                    announce(&new);
                    *lost = 0;
                    *found = Some(new);
                }
                Err(none) => {
                    self.fail(none.fault(), "not_found");
                    return jittered(SEARCH_INTERVAL);
                }
            }
        }
        let Some(known) = found else {
            return jittered(INTERVAL);
        };
        let begin = Instant::now();
        let devices = self.feed.devices();
        let now = Timestamp::now();
        match round(&known.client, &devices, now).await {
            Ok(round) => {
                *lost = 0;
                self.metrics.succeeded(&round, begin.elapsed());
                self.feed
                    .measured(round, &known.server, known.client.address(), now);
            }
            Err(error) => {
                *lost += 1;
                self.fail(error.fault(known.client.address()), error.kind());
                if *lost == LOST_AFTER {
                    *found = None;
                }
            }
        }
        jittered(INTERVAL)
    }

    fn fail(&self, fault: Fault, reason: &'static str) {
        warn!(code = fault.code().as_str(), "{}", fault.what_and_detail());
        self.metrics.failed(reason);
        self.feed.failed(Arc::new(fault), Timestamp::now());
    }
}

fn announce(found: &Found) {
    let (server, address) = (&found.server, found.client.address());
    let version = server.version.as_deref().unwrap_or("unknown");
    info!(address, found_by = found.found_by, kind = ?server.kind, version, metrics = found.names.len(), "found Prometheus");
    if server.is_supported() == Some(false) {
        warn!(
            code = Code::MON_002.as_str(),
            address, version, "this Prometheus is too old"
        );
    }
}

fn jittered(least: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness there is no jitter, and nothing else is lost.
    let _ = aws_lc_rs::rand::fill(&mut random);
    least + JITTER.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
}
