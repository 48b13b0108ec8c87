//! Where a request for devices would fit now.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use kantaloupe_gpu::{
    fit::{self, DeviceFit, Memory, NodeFit, NodeState, Reason, Request, Verdict},
    inventory::{Gpu, Kind, Mode},
};
use serde::Serialize;

use super::{
    params::{self, Params},
    render::{self, ClusterRef, Freshness},
};
use crate::{
    api::{extract::Caller, visible::Visible},
    app::App,
    directory::Cluster,
    problem::ApiError,
    store::inventory::{Column, Query, Sort, Test},
};

/// Devices that one request may ask for: more than any node has.
const MAX_COUNT: u32 = 1024;
/// Devices read at once.
const CHUNK: u32 = 1000;
/// Devices of a node that an answer shows.
const MAX_DEVICES: usize = 64;
const PARAMETERS: &str = "cluster, memory, cores, count, model, vendor, mode, limit";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReasonJson {
    #[serde(flatten)]
    reason: Reason,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hami: Option<&'static str>,
}

#[derive(Serialize)]
struct DeviceJson {
    gpu: String,
    verdict: Verdict,
    reasons: Vec<ReasonJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeJson {
    cluster: serde_json::Value,
    as_of: Option<String>,
    age_seconds: Option<i64>,
    node: String,
    verdict: Verdict,
    reasons: Vec<ReasonJson>,
    /// Devices of the node that take one device of the request.
    fitting: u32,
    devices: Vec<DeviceJson>,
}

#[derive(Default, Serialize)]
struct Totals {
    fits: u32,
    unknown: u32,
    no: u32,
}

/// One node with its answer.
struct Candidate {
    cluster: Arc<Cluster>,
    node: String,
    fit: NodeFit,
}

pub(super) async fn fit(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut params = Params::read(query.as_deref())?;
    let visible = params.take_clusters(Visible::of(&app, &caller))?;
    let limit = params.take_number("limit")?.unwrap_or(params::LIMIT);
    if !(1..=params::MAX_LIMIT).contains(&limit) {
        let what = format!("limit is not between 1 and {}", params::MAX_LIMIT);
        return Err(ApiError::invalid(what));
    }
    let request = request(&mut params)?;
    params.finish(PARAMETERS)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut best = Vec::new();
    let mut totals = Totals::default();
    for cluster in visible.clusters() {
        of_cluster(&app, cluster, &request, &mut totals, &mut best).await?;
        // Only the best are shown: a large fleet does not have to be in memory at once.
        best.sort_by_key(|candidate: &Candidate| {
            (candidate.fit.verdict, std::cmp::Reverse(candidate.fit.fitting))
        });
        best.truncate(limit);
    }
    let now = App::now();
    let items: Vec<_> = best.into_iter().map(|candidate| shown(candidate, now)).collect();
    let json = serde_json::to_string(&items).expect("texts and numbers always serialize");
    let totals = serde_json::to_string(&totals).expect("numbers always serialize");
    let not_live = render::not_live(&visible);
    Ok(render::json(format!(
        "{{\"items\":{json},\"totals\":{totals},{not_live}}}"
    )))
}

/// Goes over the devices of one cluster, node by node.
async fn of_cluster(
    app: &App,
    cluster: &Arc<Cluster>,
    request: &Request,
    totals: &mut Totals,
    best: &mut Vec<Candidate>,
) -> Result<(), ApiError> {
    let mut query = Query {
        kind: Kind::Gpu,
        clusters: Some(vec![cluster.id.to_string()]),
        narrowed: vec![],
        tests: tests(request),
        // By node, because that is how ids begin.
        sort: Sort::KEY,
        after: None,
        limit: CHUNK,
    };
    let mut nodes: Option<HashMap<String, NodeState>> = None;
    let mut waiting: Vec<Gpu> = Vec::new();
    loop {
        let page = app.store.inventory_page(&query).await?;
        if nodes.is_none() && !page.items.is_empty() {
            nodes = Some(states(app, cluster).await?);
        }
        let known = nodes.get_or_insert_default();
        let mut decide = |gpus: &mut Vec<Gpu>| {
            let Some(node) = gpus.first().map(|gpu| gpu.node.clone()) else {
                return;
            };
            let fit = fit::node(request, known.get(&node).copied(), gpus.iter());
            gpus.clear();
            let Some(fit) = fit else { return };
            match fit.verdict {
                Verdict::Fits => totals.fits += 1,
                Verdict::Unknown => totals.unknown += 1,
                Verdict::No => totals.no += 1,
            }
            best.push(Candidate {
                cluster: Arc::clone(cluster),
                node,
                fit,
            });
        };
        for item in &page.items {
            let Ok(gpu) = serde_json::from_str::<Gpu>(&item.value) else {
                continue;
            };
            if waiting.first().is_some_and(|first| first.node != gpu.node) {
                decide(&mut waiting);
            }
            waiting.push(gpu);
        }
        let Some(next) = page.next else {
            decide(&mut waiting);
            return Ok(());
        };
        query.after = Some(next);
        // A thousand devices take some milliseconds.
        tokio::task::yield_now().await;
    }
}

async fn states(app: &App, cluster: &Cluster) -> Result<HashMap<String, NodeState>, ApiError> {
    let nodes = app.store.inventory_nodes(&cluster.id).await?;
    let states = nodes.into_iter().map(|(name, ready, cordoned)| {
        let state = NodeState {
            ready,
            schedulable: cordoned == Some(false),
        };
        (name, state)
    });
    Ok(states.collect())
}

/// What of the request the store can look for; [`Request::wants`] has the last word.
fn tests(request: &Request) -> Vec<(Column, Test)> {
    let vendor = request
        .vendor
        .clone()
        .map(|vendor| (Column::Vendor, Test::In(vec![vendor])));
    let model = request
        .model
        .clone()
        .map(|model| (Column::Model, Test::Contains(model)));
    vendor.into_iter().chain(model).collect()
}

fn request(params: &mut Params) -> Result<Request, ApiError> {
    let memory = params.take("memory")?.map(|text| memory(&text)).transpose()?;
    let mode = params.take("mode")?.map(|word| {
        serde_json::from_value::<Mode>(word.as_str().into())
            .map_err(|_| ApiError::invalid(format!("There is no mode {word:?}")))
    });
    let count = params.take_number("count")?.unwrap_or(1);
    if !(1..=MAX_COUNT).contains(&count) {
        return Err(ApiError::invalid(format!(
            "count is not between 1 and {MAX_COUNT}"
        )));
    }
    Ok(Request {
        count,
        memory,
        cores: params.take_number("cores")?.unwrap_or(0),
        model: params.take("model")?,
        vendor: params.take("vendor")?,
        mode: mode.transpose()?,
    })
}

/// `8192` and `8192Mi` (MiB), `8Gi`, `50%`.
fn memory(text: &str) -> Result<Memory, ApiError> {
    let number = |digits: &str| digits.parse::<u64>().ok().filter(|n| *n > 0);
    let memory = if let Some(percent) = text.strip_suffix('%') {
        number(percent)
            .filter(|percent| *percent <= 100)
            .and_then(|percent| u32::try_from(percent).ok())
            .map(Memory::Percent)
    } else if let Some(gib) = text.strip_suffix("Gi") {
        number(gib).and_then(|gib| gib.checked_mul(1024)).map(Memory::Mib)
    } else {
        number(text.strip_suffix("Mi").unwrap_or(text)).map(Memory::Mib)
    };
    memory.ok_or_else(|| {
        ApiError::invalid(format!(
            "memory is {text:?} and neither MiB (8192, 8Gi) nor percent of a device (50%)"
        ))
    })
}

fn shown(candidate: Candidate, now: i64) -> NodeJson {
    let freshness = Freshness::of(&candidate.cluster.inventory.view(now), now);
    let NodeFit {
        verdict,
        reasons,
        fitting,
        mut devices,
    } = candidate.fit;
    devices.sort_by_key(|device| device.verdict);
    devices.truncate(MAX_DEVICES);
    NodeJson {
        cluster: serde_json::to_value(ClusterRef::of(&candidate.cluster)).unwrap_or_default(),
        as_of: freshness.as_of,
        age_seconds: freshness.age_seconds,
        node: candidate.node,
        verdict,
        reasons: explained(reasons),
        fitting,
        devices: devices
            .into_iter()
            .map(
                |DeviceFit {
                     gpu,
                     verdict,
                     reasons,
                 }| DeviceJson {
                    gpu,
                    verdict,
                    reasons: explained(reasons),
                },
            )
            .collect(),
    }
}

fn explained(reasons: Vec<Reason>) -> Vec<ReasonJson> {
    let explain = |reason: Reason| ReasonJson {
        message: reason.to_string(),
        hami: reason.hami(),
        reason,
    };
    reasons.into_iter().map(explain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_mib_or_percent() {
        for (text, expected) in [
            ("8192", Memory::Mib(8192)),
            ("8192Mi", Memory::Mib(8192)),
            ("8Gi", Memory::Mib(8192)),
            ("50%", Memory::Percent(50)),
        ] {
            assert_eq!(memory(text).unwrap(), expected);
        }
        for text in ["", "0", "-1", "8G", "101%", "0%", "1.5Gi", "99999999999999999999"] {
            memory(text).unwrap_err();
        }
    }
}
