//! Inventories: `/api/v1/clusters/{cluster}/...`, and the same over all clusters.

mod csv;
mod events;
mod fields;
mod fit;
mod list;
mod params;
mod render;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{Router, routing::get};
use kantaloupe_gpu::inventory::Kind;

pub(super) use self::params::Params;
use crate::app::App;

/// Kinds that are listed, with the last part of their paths.
const LISTED: [(&str, Kind); 6] = [
    ("nodes", Kind::Node),
    ("gpus", Kind::Gpu),
    ("allocations", Kind::Allocation),
    ("workloads", Kind::Workload),
    ("findings", Kind::Finding),
    ("checks", Kind::Check),
];

/// The routes.
pub(super) fn router() -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/api/v1/clusters/{cluster}/inventory", get(status::inventory))
        .route("/api/v1/clusters/{cluster}/summary", get(status::summary))
        .route("/api/v1/fit", get(fit::fit))
        .route("/api/v1/inventory/events", get(events::fleet))
        .route(
            "/api/v1/clusters/{cluster}/inventory/events",
            get(events::of_cluster),
        );
    for (path, kind) in LISTED {
        router = router
            .route(
                &format!("/api/v1/{path}"),
                get(async move |caller, state, origin, query, headers| {
                    list::fleet(kind, caller, state, origin, query, headers).await
                }),
            )
            .route(
                &format!("/api/v1/clusters/{{cluster}}/{path}"),
                get(async move |caller, state, cluster, origin, query, headers| {
                    list::of_cluster(kind, caller, state, cluster, origin, query, headers).await
                }),
            );
    }
    router
}
