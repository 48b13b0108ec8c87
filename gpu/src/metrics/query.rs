//! What is asked of a Prometheus: instant queries over the names of the table, and nothing else.
//!
//! Each answer is made small on the server: only the labels that say what a series is about, duplicates folded by `max`, and only
//! samples that are fresh. An instant query gives its own time to every sample, so the time of the scrapes is asked for apart, once
//! for each address.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::{
    labels,
    names::{Exporter, METRICS, Metric, Quantity},
    usage::FRESH,
};

/// Every name of the table, each once.
pub fn names() -> BTreeSet<&'static str> {
    METRICS.iter().map(|metric| metric.name).collect()
}

/// Which names of the table there are, and how many series each has.
pub fn present() -> String {
    let names: Vec<_> = names().into_iter().collect();
    format!("count by (__name__) ({{__name__=~\"{}\"}})", names.join("|"))
}

/// The values of a metric by what they are about. `None` for a name that is not in the table.
pub fn values(name: &str) -> Option<String> {
    let rows: Vec<_> = METRICS.iter().filter(|metric| metric.name == name).collect();
    let first = rows.first()?;
    let selector = match (rows.len(), first.only) {
        (1, Some((label, value))) => format!("{name}{{{label}=\"{value}\"}}"),
        _ => name.to_owned(),
    };
    let fresh = FRESH.as_secs();
    let by: Vec<_> = rows.iter().flat_map(|metric| about(metric)).collect();
    let by: BTreeSet<_> = by
        .into_iter()
        .chain(
            (rows.len() > 1)
                .then_some(labels::DRA)
                .into_iter()
                .flatten()
                .copied(),
        )
        .collect();
    let by: Vec<_> = by.into_iter().collect();
    Some(format!(
        "max by ({}) ({selector} and (timestamp({selector}) > time() - {fresh}))",
        by.join(",")
    ))
}

/// When each address was scraped for a metric, in seconds since the epoch; only those that are fresh.
pub fn scraped(name: &str) -> Option<String> {
    let fresh = FRESH.as_secs();
    let instance = labels::INSTANCE;
    is_known(name).then(|| format!("min by ({instance}) (timestamp({name}) > time() - {fresh})"))
}

/// How old the newest sample of a metric is, in seconds.
pub fn age(name: &str) -> Option<String> {
    is_known(name).then(|| format!("min(time() - timestamp({name}))"))
}

/// How many series of a metric have a label. `label` is a constant of ours.
pub fn with_label(name: &str, label: &str) -> Option<String> {
    is_known(name).then(|| format!("count({name}{{{label}!=\"\"}})"))
}

fn is_known(name: &str) -> bool {
    METRICS.iter().any(|metric| metric.name == name)
}

/// Of the names that are present, one for each exporter, from which the times of its scrapes are taken.
pub fn clocks<'a>(present: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'static str> {
    let present: BTreeSet<&str> = present.into_iter().collect();
    let of = |exporter: &Exporter| {
        let mut rows = METRICS.iter().filter(|metric| metric.exporter == *exporter);
        rows.find(|metric| present.contains(metric.name))
            .map(|metric| metric.name)
    };
    Exporter::ALL.iter().filter_map(of).collect()
}

/// Labels that say what a series of a metric is about.
fn about(metric: &Metric) -> impl Iterator<Item = &'static str> {
    let container: &[&[&str]] = match (metric.quantity.of_container(), metric.quantity) {
        (true, Quantity::ContainerMig) => &[
            labels::NAMESPACE,
            labels::POD,
            labels::CONTAINER,
            labels::MIG_OWNED,
        ],
        (true, _) => &[labels::NAMESPACE, labels::POD, labels::CONTAINER],
        (false, _) => &[],
    };
    let mig: &[&str] = match metric.exporter {
        Exporter::Dcgm => &[labels::MIG_ID, labels::MIG_PROFILE],
        _ => &[],
    };
    let only = metric.only.map(|(label, _)| label);
    let device = [metric.exporter.uuid(), metric.exporter.index(), labels::NODE, mig];
    let lists = device.into_iter().chain(container.iter().copied());
    lists.flatten().copied().chain([labels::INSTANCE]).chain(only)
}
