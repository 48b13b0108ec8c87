//! How far and how old a cluster's inventory is, and its summary.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use kantaloupe_gpu::inventory::{self, Counts, Kind, Source};
use kantaloupe_policy::Namespaces;
use serde::Serialize;

use super::render::{ClusterRef, Freshness};
use crate::{api::extract::Named, app::App, directory::Cluster, problem::ApiError};

/// The record of the cluster itself.
const CLUSTER_ID: &str = "cluster";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InventoryJson<'a> {
    cluster: ClusterRef<'a>,
    #[serde(flatten)]
    freshness: Freshness,
    /// When the last complete state was stored.
    updated_at: Option<String>,
    epoch: Option<String>,
    revision: Option<i64>,
    /// Whether all of it was true at one moment; not while a newer state is coming in.
    complete: bool,
    /// Records by kind.
    records: BTreeMap<String, i64>,
    bytes: i64,
    rejected: Rejected,
    /// Of the cluster's record; none if there is none.
    sources: Option<Vec<Source>>,
    counts: Option<Counts>,
}

#[derive(Serialize)]
struct Rejected {
    records: u64,
    example: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About<'a> {
    cluster: ClusterRef<'a>,
    #[serde(flatten)]
    freshness: Freshness,
    /// None if nothing is known.
    summary: Option<inventory::Cluster>,
}

pub(super) async fn inventory(
    State(app): State<Arc<App>>,
    Named(cluster, access): Named,
) -> Result<Response, ApiError> {
    let record = record(&app, &cluster).await?;
    let counts = app.store.inventory_counts(&cluster.id).await?;
    let now = App::now();
    let view = cluster.inventory.view(now);
    let (sources, totals) = record.map(|record| (record.sources, record.counts)).unzip();
    let json = InventoryJson {
        cluster: ClusterRef::of(&cluster),
        freshness: Freshness::of(&view, now),
        updated_at: view.updated_at.map(App::rfc3339),
        complete: view.as_of.is_some() && !view.partial,
        revision: view.as_of.map(|_| view.revision),
        epoch: view.as_of.map(|_| view.epoch),
        records: counts
            .iter()
            .map(|count| (count.kind.to_string(), count.records))
            .collect(),
        bytes: counts.iter().map(|count| count.bytes).sum(),
        rejected: Rejected {
            records: view.rejected,
            // It may be of any namespace.
            example: view
                .rejected_example
                .filter(|_| access.reading.namespaces == Namespaces::All),
        },
        sources,
        counts: totals,
    };
    Ok(Json(json).into_response())
}

pub(super) async fn summary(
    State(app): State<Arc<App>>,
    Named(cluster, _): Named,
) -> Result<Response, ApiError> {
    let record = record(&app, &cluster).await?;
    let now = App::now();
    let json = About {
        cluster: ClusterRef::of(&cluster),
        freshness: Freshness::of(&cluster.inventory.view(now), now),
        summary: record,
    };
    Ok(Json(json).into_response())
}

async fn record(app: &App, cluster: &Cluster) -> Result<Option<inventory::Cluster>, ApiError> {
    let value = app
        .store
        .inventory_value(&cluster.id, Kind::Cluster, CLUSTER_ID)
        .await?;
    Ok(value.and_then(|json| serde_json::from_str(&json).ok()))
}
