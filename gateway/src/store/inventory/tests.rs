use kantaloupe_gpu::inventory::Kind;
use tempfile::TempDir;

use super::*;
use crate::store::tests::{cluster, store};

const NOW: i64 = 1_790_000_000;

fn row(kind: Kind, id: &str, value: &str) -> Row {
    Row {
        kind,
        id: id.to_owned(),
        value: value.into(),
        facets: Facets {
            node: id.split('/').next().map(str::to_owned),
            model: Some(value.to_owned()),
            memory: id.rsplit('/').next().and_then(|n| n.parse().ok()),
            search: id.to_ascii_lowercase(),
            ..Facets::default()
        },
    }
}

fn update(rows: Vec<Row>) -> Update {
    Update {
        cluster_id: "c-1".into(),
        epoch: "e".to_owned(),
        revision: 1,
        snapshot: false,
        complete: true,
        rows,
        removals: vec![],
        now: NOW,
    }
}

fn query(kind: Kind) -> Query {
    Query {
        kind,
        clusters: None,
        narrowed: vec![],
        tests: vec![],
        sort: Sort::KEY,
        after: None,
        limit: 100,
    }
}

async fn prepared() -> (Store, TempDir) {
    let (store, dir) = store().await;
    cluster(&store, "c-1", "one").await;
    cluster(&store, "c-2", "two").await;
    (store, dir)
}

async fn apply(store: &Store, update: Update) -> Applied {
    store.apply_inventory(&[update]).await.unwrap().pop().unwrap()
}

async fn ids(store: &Store, query: &Query) -> Vec<String> {
    let page = store.inventory_page(query).await.unwrap();
    page.items.into_iter().map(|item| item.id).collect()
}

#[tokio::test]
async fn a_snapshot_takes_away_what_it_does_not_name_and_says_what_changed() {
    let (store, _dir) = prepared().await;
    let first = Update {
        snapshot: true,
        ..update(vec![
            row(Kind::Gpu, "n/1", "{1}"),
            row(Kind::Gpu, "n/2", "{2}"),
            row(Kind::Node, "n", "{n}"),
        ])
    };
    apply(&store, first).await;
    let part = Update {
        snapshot: true,
        complete: false,
        epoch: "f".to_owned(),
        ..update(vec![row(Kind::Gpu, "n/1", "{1}"), row(Kind::Gpu, "n/3", "{3}")])
    };
    let applied = apply(&store, part).await;
    let changed = vec![(Kind::Gpu, "n/3".to_owned())];
    assert_eq!(
        applied,
        Applied::Done {
            changed,
            removed: vec![]
        },
        "what is the same as before is no change"
    );
    let rows = store.inventories().await.unwrap();
    assert_eq!((rows[0].epoch.as_str(), rows[0].partial), ("e", 1));
    assert_eq!(ids(&store, &query(Kind::Gpu)).await, ["n/1", "n/2", "n/3"]);
    let last = Update {
        epoch: "f".to_owned(),
        revision: 9,
        ..update(vec![row(Kind::Node, "n", "{changed}")])
    };
    let applied = apply(&store, last).await;
    let Applied::Done { changed, removed } = applied else {
        panic!("{applied:?}")
    };
    assert_eq!(changed, [(Kind::Node, "n".to_owned())]);
    let keys: Vec<_> = removed.into_iter().map(|gone| gone.key).collect();
    assert_eq!(keys, [(Kind::Gpu, "n/2".to_owned())]);
    let rows = store.inventories().await.unwrap();
    assert_eq!(
        (rows[0].epoch.as_str(), rows[0].revision, rows[0].partial),
        ("f", 9, 0)
    );
    assert_eq!(ids(&store, &query(Kind::Gpu)).await, ["n/1", "n/3"]);
}

#[tokio::test]
async fn a_snapshot_that_broke_off_takes_nothing_away_and_the_next_one_all_of_it() {
    let (store, _dir) = prepared().await;
    let snapshot = |rows| Update {
        snapshot: true,
        ..update(rows)
    };
    apply(
        &store,
        snapshot(vec![row(Kind::Gpu, "n/1", "{1}"), row(Kind::Gpu, "n/2", "{2}")]),
    )
    .await;
    let broken = Update {
        complete: false,
        ..snapshot(vec![row(Kind::Gpu, "n/3", "{3}")])
    };
    apply(&store, broken).await;
    assert_eq!(ids(&store, &query(Kind::Gpu)).await, ["n/1", "n/2", "n/3"]);
    apply(&store, snapshot(vec![row(Kind::Gpu, "n/1", "{1}")])).await;
    assert_eq!(ids(&store, &query(Kind::Gpu)).await, ["n/1"]);
}

#[tokio::test]
async fn removals_and_many_rows_go_by_key_and_cluster() {
    let (store, _dir) = prepared().await;
    let many: Vec<_> = (0..150)
        .map(|n| row(Kind::Gpu, &format!("n/{n:03}"), "{}"))
        .collect();
    let other = Update {
        cluster_id: "c-2".into(),
        ..update(many.clone())
    };
    let applied = store.apply_inventory(&[update(many), other]).await.unwrap();
    assert!(
        applied
            .iter()
            .all(|applied| matches!(applied, Applied::Done { changed, .. } if changed.len() == 150))
    );
    let removals: Vec<_> = (0..100).map(|n| (Kind::Gpu, format!("n/{n:03}"))).collect();
    let gone = Update {
        removals: [removals, vec![(Kind::Node, "n/149".to_owned())]].concat(),
        ..update(vec![])
    };
    let Applied::Done { removed, .. } = apply(&store, gone).await else {
        panic!("no cluster")
    };
    assert_eq!(removed.len(), 100, "what was not there was not removed");
    let count = async |id| store.inventory_counts(id).await.unwrap()[0].records;
    assert_eq!((count("c-1").await, count("c-2").await), (50, 150));
    assert_eq!(store.inventory_totals().await.unwrap()[0].records, 200);
}

#[tokio::test]
async fn a_deleted_cluster_leaves_nothing_and_takes_nothing() {
    let (store, _dir) = prepared().await;
    let rows = vec![row(Kind::Gpu, "n/1", "{1}"), row(Kind::Check, "KTA", "{}")];
    apply(&store, update(rows.clone())).await;
    store.delete_cluster("c-1", NOW).await.unwrap();
    assert_eq!(store.inventories().await.unwrap(), []);
    assert_eq!(store.inventory_totals().await.unwrap(), []);
    assert_eq!(apply(&store, update(rows)).await, Applied::NoCluster);
    assert_eq!(store.inventory_totals().await.unwrap(), []);
    assert_eq!(
        store.inventory_value("c-1", Kind::Gpu, "n/1").await.unwrap(),
        None
    );
}

#[tokio::test]
async fn pages_by_any_sort_and_direction_show_each_record_once() {
    let (store, _dir) = prepared().await;
    // Half of them without a memory: unknown comes last in both directions.
    let rows: Vec<_> = (0..10)
        .map(|n| {
            row(
                Kind::Gpu,
                &format!(
                    "n{}/{}",
                    n % 3,
                    if n < 5 { n.to_string() } else { format!("x{n}") }
                ),
                "{}",
            )
        })
        .collect();
    let other = Update {
        cluster_id: "c-2".into(),
        ..update(rows.clone())
    };
    store.apply_inventory(&[update(rows), other]).await.unwrap();
    for by in [SortBy::Key, SortBy::Text("r.node"), SortBy::Number("r.memory")] {
        for descending in [false, true] {
            let mut query = Query {
                limit: 3,
                sort: Sort {
                    name: "x",
                    by,
                    descending,
                },
                ..query(Kind::Gpu)
            };
            assert_eq!(store.inventory_total(&query, 100).await.unwrap(), Some(20));
            assert_eq!(store.inventory_total(&query, 19).await.unwrap(), None);
            let mut seen = Vec::new();
            loop {
                let page = store.inventory_page(&query).await.unwrap();
                seen.extend(page.items.into_iter().map(|item| (item.cluster_id, item.id)));
                let Some(next) = page.next else { break };
                query.after = Some(serde_json::from_str(&serde_json::to_string(&next).unwrap()).unwrap());
            }
            let mut unique = seen.clone();
            unique.sort();
            unique.dedup();
            assert_eq!((seen.len(), unique.len()), (20, 20), "{by:?} {descending}");
            if matches!(by, SortBy::Number(_)) {
                assert!(seen[..10].iter().all(|(_, id)| !id.contains('x')), "{seen:?}");
                let first = if descending { "n1/4" } else { "n0/0" };
                assert_eq!(seen[0].1, first);
            }
        }
    }
}

#[tokio::test]
async fn tests_are_what_they_say() {
    let (store, _dir) = prepared().await;
    let mut rows = vec![
        row(Kind::Gpu, "a/1", "NVIDIA A100"),
        row(Kind::Gpu, "b/2", "50%_x"),
    ];
    rows[0].facets.healthy = Some(true);
    rows[0].facets.vendor = Some(",nvidia,amd,".to_owned());
    rows[1].facets.workload = Some("Deployment/web".to_owned());
    apply(&store, update(rows)).await;
    let one = |text: &str| vec![text.to_owned()];
    let cases = [
        (Column::Node, Test::In(one("a")), 1),
        (Column::Node, Test::In(vec![]), 0),
        (Column::Model, Test::Contains("a100".to_owned()), 1),
        (Column::Model, Test::Contains("50%_".to_owned()), 1),
        (Column::Model, Test::Contains("5_%".to_owned()), 0),
        (Column::Healthy, Test::Is(true), 1),
        (Column::Healthy, Test::Is(false), 0),
        (Column::Healthy, Test::Unknown, 1),
        (Column::Vendor, Test::Listed(one("amd")), 1),
        (Column::Vendor, Test::Listed(one("am")), 0),
        (Column::Workload, Test::Ends(one("web")), 1),
        (Column::Workload, Test::Ends(one("eb")), 0),
        (Column::Search, Test::Contains("B/".to_owned()), 1),
    ];
    for (column, test, expected) in cases {
        let query = Query {
            tests: vec![(column, test.clone())],
            ..query(Kind::Gpu)
        };
        assert_eq!(ids(&store, &query).await.len(), expected, "{column:?} {test:?}");
    }
    let query = Query {
        clusters: Some(one("c-2")),
        ..query(Kind::Gpu)
    };
    assert!(ids(&store, &query).await.is_empty());
}

#[tokio::test]
async fn live_use_stands_beside_what_it_belongs_to() {
    let (store, _dir) = prepared().await;
    let mut gpu = row(Kind::Gpu, "n/1", "{gpu}");
    gpu.facets.usage_id = Some("n/1".to_owned());
    apply(&store, update(vec![gpu, row(Kind::GpuUsage, "n/1", "{usage}")])).await;
    let other = Update {
        cluster_id: "c-2".into(),
        ..update(vec![row(Kind::Gpu, "n/1", "{gpu}")])
    };
    apply(&store, other).await;
    let page = store.inventory_page(&query(Kind::Gpu)).await.unwrap();
    let usage: Vec<_> = page.items.iter().map(|item| item.usage.as_deref()).collect();
    assert_eq!(usage, [Some("{usage}"), None]);
}
