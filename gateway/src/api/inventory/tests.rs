//! Pages of a large fleet. What does not need one is tested over TLS in `tests/it`.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use http_body_util::BodyExt as _;
use kantaloupe_gpu::inventory::Kind;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::{
    app::Gateway,
    config::Config,
    store::inventory::{Facets, Row, Update},
    streams::Origin,
};

const NODES: usize = 5000;
const GPUS_OF_NODE: usize = 8;
/// Of an unoptimized build on a machine that does other things.
const SLOW: Duration = Duration::from_millis(500);

async fn page(router: &Router, token: &str, path: &str) -> Value {
    let request = Request::get(path)
        .header("authorization", format!("Bearer {token}"))
        .extension(Origin {
            peer: ([127, 0, 0, 1], 1).into(),
            streams: Arc::default(),
        })
        .body(Body::empty())
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

fn gpu(node: usize, index: usize) -> Row {
    let (name, uuid) = (format!("node-{node:05}"), format!("GPU-{node:05}-{index}"));
    let id = format!("{name}/{uuid}");
    let value = json!({ "id": id, "uuid": uuid, "node": name, "facts": { "filler": "x".repeat(600) } });
    Row {
        kind: Kind::Gpu,
        facets: Facets {
            node: Some(name),
            name: Some(uuid.clone()),
            vendor: Some(
                if node.is_multiple_of(5) {
                    "ascend"
                } else {
                    "nvidia"
                }
                .to_owned(),
            ),
            model: Some(
                if node.is_multiple_of(5) {
                    "Ascend910B4"
                } else {
                    "NVIDIA H100 80GB HBM3"
                }
                .to_owned(),
            ),
            healthy: Some(!(node + index).is_multiple_of(50)),
            memory: Some(81_559),
            memory_used: i64::try_from(node * 37 % 80_000).ok(),
            usage_id: Some(id.clone()),
            search: id.to_ascii_lowercase(),
            gpu: Some(uuid),
            ..Facets::default()
        },
        id,
        value: value.to_string().into(),
    }
}

#[tokio::test]
async fn pages_of_forty_thousand_devices_read_little() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(Config::local(dir.path())).await.unwrap();
    let token = std::fs::read_to_string(dir.path().join("admin-token")).unwrap();
    let app = gateway.app();
    let wanted = crate::clusters::Wanted {
        organization_id: crate::store::DEFAULT_ORGANIZATION.to_owned(),
        name: "prod".to_owned(),
        display_name: String::new(),
        profile: "observe".to_owned(),
    };
    let (cluster, _) = crate::clusters::create(&app, wanted).await.unwrap();
    let rows: Vec<_> = (0..NODES)
        .flat_map(|node| (0..GPUS_OF_NODE).map(move |index| gpu(node, index)))
        .collect();
    let started = Instant::now();
    for rows in rows.chunks(256) {
        let update = Update {
            cluster_id: cluster.id.clone(),
            epoch: "e".to_owned(),
            revision: 1,
            snapshot: false,
            complete: true,
            rows: rows.to_vec(),
            removals: vec![],
            now: 1,
        };
        app.store.apply_inventory(&[update]).await.unwrap();
    }
    eprintln!("{} rows in {:?}", rows.len(), started.elapsed());
    let router = crate::api::router(app);
    for (query, total) in [
        ("node=node-02500", 8),
        ("model=h100&healthy=false", 600),
        ("vendor=nvidia&healthy=true&sort=-memoryFree", 31_400),
        ("model=h100&sort=-utilization", 32_000),
        ("text=node-04999", 8),
        ("limit=1000", 40_000),
    ] {
        let path = format!("/api/v1/gpus?{query}");
        let mut times = Vec::new();
        for _ in 0..9 {
            let start = Instant::now();
            let page = page(&router, token.trim(), &path).await;
            times.push(start.elapsed());
            assert_eq!(page["total"], total, "{query}");
        }
        times.sort();
        eprintln!("{query}: median {:?}, largest {:?}", times[4], times[8]);
        assert!(times[4] < SLOW, "{query}: {times:?}");
    }
    gateway.shutdown().await;
}
