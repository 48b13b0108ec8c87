//! Live use: the cluster's Prometheus is asked while somebody wants the inventory.

use std::sync::Arc;

use jiff::Timestamp;
use kantaloupe_checks::Fault;
use kantaloupe_gpu::{
    inventory::SourceState,
    metrics::{devices::Devices, server::Server, usage},
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Feed;
use crate::{
    config::Monitoring,
    prometheus::{self, Limits, Monitor, PrometheusMetrics, Round},
};

/// How the source is called.
const NAME: &str = "prometheus";

/// Asks for live use whenever the inventory is wanted; for ever.
pub(crate) async fn measure(
    feed: Feed,
    settings: Monitoring,
    kube: kube::Client,
    metrics: PrometheusMetrics,
) {
    // Use is joined to devices, so there is nothing to ask before the devices are known.
    let mut synced = feed.0.synced.subscribe();
    while synced.wait_for(|synced| *synced).await.is_ok() {
        let monitor = Monitor {
            settings: settings.clone(),
            kube: kube.clone(),
            limits: Limits::default(),
            metrics: metrics.clone(),
            feed: Measured {
                feed: feed.clone(),
                last: Mutex::default(),
            },
        };
        tokio::select! {
            () = monitor.run(CancellationToken::new()) => {}
            _ended = synced.wait_for(|synced| !*synced) => {}
        }
    }
}

struct Measured {
    feed: Feed,
    last: Mutex<Option<Timestamp>>,
}

impl prometheus::Feed for Measured {
    fn devices(&self) -> Devices {
        self.feed.0.state.lock().index.devices()
    }

    fn measured(&self, round: Round, _: &Server, address: &str, at: Timestamp) {
        *self.last.lock() = Some(at);
        self.feed.usage(round.usage.gpus, round.usage.containers);
        self.feed
            .source(NAME, SourceState::Ok, None, Some(address.to_owned()));
    }

    fn failed(&self, fault: Arc<Fault>, at: Timestamp) {
        let last = *self.last.lock();
        // A sample that is old is worth something for a while; then it would be a lie.
        if last.is_none_or(|last| at.duration_since(last) > usage::FRESH) {
            // Nothing is known of any device; the state of the source says why.
            self.feed.usage(Vec::new(), Vec::new());
        }
        let (code, detail) = (fault.code(), fault.what_and_detail());
        self.feed
            .source(NAME, SourceState::Failing, Some(code), Some(detail));
    }
}
