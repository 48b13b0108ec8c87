//! One round: asks for everything that there is of the table.

use std::time::Duration;

use jiff::Timestamp;
use kantaloupe_gpu::metrics::{
    Sample,
    answer::Answer,
    devices::Devices,
    labels, query,
    usage::{Collector, Usage},
};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{client::Client, error::QueryError};

/// No query begins later than this after the round did: what it brings would be older than what the next round brings.
const ROUND_TIME: Duration = Duration::from_secs(45);

/// What a round brought.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Round {
    /// The records.
    pub usage: Usage,
    /// Queries that failed, with the name that they asked for.
    pub failed: Vec<(&'static str, QueryError)>,
    /// What Prometheus warned of.
    pub warnings: Vec<String>,
    /// Series that were read.
    pub series: usize,
    /// Bytes that were read.
    pub bytes: usize,
    /// Queries that were asked.
    pub queries: usize,
}

/// Asks for everything. Fails if nothing at all can be known; a query that fails for itself is in [`Round::failed`].
pub async fn round(client: &Client, devices: &Devices, now: Timestamp) -> Result<Round, QueryError> {
    let begin = Instant::now();
    let present = client.present().await?;
    let mut round = Round {
        queries: 1,
        ..Round::default()
    };
    let mut collector = Collector::new(devices, now);
    for clock in query::clocks(present.iter().map(|(name, _)| *name)) {
        let expression = query::scraped(clock).expect("it is a name of the table");
        let mut each = |sample: &Sample<'_>| {
            if let Some(instance) = sample.label(labels::INSTANCE) {
                collector.scraped(instance, sample.value);
            }
        };
        let asked = client.instant(&expression, clock, &mut each).await;
        note(&mut round, clock, asked)?;
    }
    let mut old = Vec::new();
    for (name, series) in &present {
        if begin.elapsed() > ROUND_TIME {
            round.failed.push((name, QueryError::Timeout(ROUND_TIME)));
            continue;
        }
        let expression = query::values(name).expect("it is a name of the table");
        let asked = client
            .instant(&expression, name, &mut |sample| collector.add(sample))
            .await;
        let before = round.series;
        if note(&mut round, name, asked)? && round.series == before {
            old.push((*name, *series));
        }
    }
    round.usage = collector.finish();
    for (name, series) in old {
        // There are series, and none is fresh.
        *round.usage.seen.stale.entry(name).or_default() += series;
    }
    debug!(
        queries = round.queries,
        series = round.series,
        bytes = round.bytes,
        "asked Prometheus"
    );
    Ok(round)
}

/// Counts a query in; whether it was answered. An error that the next query would meet too ends the round.
fn note(
    round: &mut Round,
    name: &'static str,
    asked: Result<(Answer, usize), QueryError>,
) -> Result<bool, QueryError> {
    round.queries += 1;
    match asked {
        Ok((answer, bytes)) => {
            round.series += answer.series;
            round.bytes += bytes;
            round.warnings.extend(answer.warnings);
            round.warnings.truncate(10);
            Ok(true)
        }
        Err(error) if error.concerns_one_query() => {
            warn!(metric = name, %error, "a query failed");
            round.failed.push((name, error));
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
