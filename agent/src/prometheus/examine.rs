//! What the checks want to know of a Prometheus: whether it answers, what it is, and whether the metrics that the platform needs are
//! there and fresh.

use std::collections::BTreeMap;

use kantaloupe_gpu::{
    metrics::{Sample, query},
    platform::{Objects, checks, facts},
};

use super::{
    client::{Client, Limits},
    error::QueryError,
    find::{Found, NotFound, find_by},
};
use crate::config::Monitoring;

/// Looks for it by `objects` and asks it. `None` if nothing leads to one.
pub async fn examine(settings: &Monitoring, objects: &Objects, limits: Limits) -> Option<facts::Prometheus> {
    if !settings.is_on() {
        return None;
    }
    match find_by(settings, objects, limits).await {
        Ok(found) => Some(ask(&found).await),
        Err(none) => problem(&none),
    }
}

fn problem(none: &NotFound) -> Option<facts::Prometheus> {
    let first = none.tried.first()?;
    let more = match none.tried.len() {
        1 => String::new(),
        tried => format!("; {} other addresses give no usable answer either", tried - 1),
    };
    Some(facts::Prometheus {
        address: first.url.clone(),
        found_by: first.found_by.clone(),
        problem: Some(format!("{}{more}", first.error)),
        ..facts::Prometheus::default()
    })
}

async fn ask(found: &Found) -> facts::Prometheus {
    let mut about = facts::Prometheus {
        address: found.client.address().to_owned(),
        found_by: found.found_by.clone(),
        server: Some(found.server.clone()),
        ..facts::Prometheus::default()
    };
    match samples(found).await {
        Ok(samples) => about.samples = samples,
        Err(error) => about.problem = Some(error.to_string()),
    }
    about
}

/// Of each metric that the checks ask for: a metric without series is there as well, with none.
async fn samples(found: &Found) -> Result<BTreeMap<String, facts::Sample>, QueryError> {
    let mut samples = BTreeMap::new();
    for name in checks::metrics() {
        let series = found.names.iter().find(|(known, _)| *known == name);
        let mut sample = facts::Sample {
            series: series.map_or(0, |(_, series)| u32::try_from(*series).unwrap_or(u32::MAX)),
            ..facts::Sample::default()
        };
        if sample.series > 0 {
            sample.age = number(&found.client, query::age(name)).await?;
            for label in checks::LABELS {
                let with = number(&found.client, query::with_label(name, label)).await?;
                if with.is_some_and(|with| with >= f64::from(sample.series)) {
                    sample.labels.push(label.to_owned());
                }
            }
        }
        samples.insert(name.to_owned(), sample);
    }
    Ok(samples)
}

/// The one number that a query gives; `None` for a name that is not in the table, or if nothing comes.
async fn number(client: &Client, expression: Option<String>) -> Result<Option<f64>, QueryError> {
    let Some(expression) = expression else {
        return Ok(None);
    };
    let mut number = None;
    client
        .instant(&expression, "", &mut |sample: &Sample<'_>| {
            number = Some(sample.value);
        })
        .await?;
    Ok(number)
}
