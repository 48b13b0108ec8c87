//! What the cluster is made of besides nodes and pods, and what the checks say of it: looked at anew every few minutes while somebody
//! wants the inventory.

use std::{sync::Arc, time::Duration};

use kantaloupe_gpu::platform::checks;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::Feed;
use crate::{
    config::Config,
    preflight::{
        described,
        gather::{self, Ask},
        local,
    },
};

/// After the first sync, whose snapshot goes out first.
const FIRST: Duration = Duration::from_secs(2);
/// Between two rounds, at least: somebody who mends a fault waits for it to go away.
const INTERVAL: Duration = Duration::from_mins(1);
/// Rounds take at most one part in so many of the time: lists of a large cluster may be long.
const SHARE: u32 = 100;
/// For one round.
const ROUND: Duration = Duration::from_mins(1);

/// Looks again and again, for ever.
pub(crate) async fn examine(feed: Feed, config: Arc<Config>, kube: kube::Client) {
    let mut synced = feed.0.synced.subscribe();
    while synced.wait_for(|synced| *synced).await.is_ok() {
        tokio::select! {
            () = rounds(&feed, &config, &kube) => {}
            _ended = synced.wait_for(|synced| !*synced) => {}
        }
    }
}

async fn rounds(feed: &Feed, config: &Config, kube: &kube::Client) {
    sleep(FIRST).await;
    loop {
        let since = Instant::now();
        round(feed, config, kube).await;
        sleep(INTERVAL.max(since.elapsed() * SHARE)).await;
    }
}

async fn round(feed: &Feed, config: &Config, kube: &kube::Client) {
    let since = Instant::now();
    let mut facts = gather::facts(Ask {
        client: Ok(kube.clone()),
        pod: local::in_pod().then_some((config.pod_namespace.as_str(), config.pod_name.as_str())),
        config: Some(config),
        health: Some(config.health_listen.port()),
        egress: None,
        monitoring: Some(&config.monitoring),
        nodes: Some(&|objects| feed.nodes(objects)),
        deadline: since + ROUND,
    })
    .await;
    // The index has looked at pods as well.
    facts.findings = feed.findings();
    facts.pods_read = true;
    let outcomes = checks::run(&facts);
    let distribution = described(&facts).map(|(_, distribution)| distribution);
    let components = facts.objects.components();
    debug!(
        components = components.len(),
        checks = outcomes.len(),
        ms = since.elapsed().as_millis(),
        "the platform was looked at"
    );
    feed.platform(components, outcomes, distribution);
}
