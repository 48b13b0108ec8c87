use bytes::Bytes;
use kantaloupe_proto::pb::InventoryKey;
use serde_json::json;

use super::*;

fn record(kind: InventoryKind, id: &str, value: &impl ToString) -> InventoryRecord {
    InventoryRecord {
        kind: kind.into(),
        id: id.to_owned(),
        value: Bytes::from(value.to_string()),
    }
}

fn gpu(id: &str) -> InventoryRecord {
    record(
        InventoryKind::Gpu,
        id,
        &json!({ "id": id, "node": "n1", "vendor": "nvidia" }),
    )
}

fn head(epoch: &str, snapshot: bool) -> InventoryUpdate {
    InventoryUpdate {
        epoch: epoch.to_owned(),
        revision: 1,
        snapshot,
        ..InventoryUpdate::default()
    }
}

fn take_all(upserts: Vec<InventoryRecord>, removals: Vec<InventoryKey>) -> Taken {
    take(InventoryUpdate {
        upserts,
        removals,
        ..InventoryUpdate::default()
    })
}

#[test]
fn a_record_is_kept_in_the_documented_form() {
    let value = "{\n \"id\": \"n1/u1\",\n\t\"node\": \"n1\", \"someday\": {\"new\": 1}, \"capacity\": {\"memoryMib\": 81920}}";
    let taken = take_all(vec![record(InventoryKind::Gpu, "n1/u1", &value)], vec![]);
    let row = &taken.rows[0];
    assert!(
        !row.value.contains(['\n', '\t']) && !row.value.contains("someday"),
        "{}",
        row.value
    );
    assert!(row.value.starts_with("{\"id\":\"n1/u1\""), "{}", row.value);
    assert_eq!((row.facets.memory, row.facets.healthy), (Some(81920), None));
}

#[test]
fn one_bad_record_hides_no_other() {
    let long = "x".repeat(MAX_ID + 1);
    let large = json!({ "id": "big", "model": "x".repeat(MAX_VALUE) });
    let taken = take_all(
        vec![
            gpu("n1/a"),
            record(InventoryKind::Gpu, "n1/b", &"{"),
            record(
                InventoryKind::Gpu,
                "n1/c",
                &json!({ "id": "n1/c", "used": { "slots": -1 } }),
            ),
            record(InventoryKind::Gpu, "n1/d", &json!({ "id": "n1/other" })),
            record(InventoryKind::Node, "n1", &json!([])),
            record(InventoryKind::Gpu, "big", &large),
            record(InventoryKind::Unspecified, "x", &"{}"),
            InventoryRecord {
                kind: 99,
                ..gpu("n1/e")
            },
            gpu(&long),
            gpu("a\nb"),
            gpu(""),
            gpu("n1/f"),
        ],
        vec![],
    );
    let ids: Vec<_> = taken.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["n1/a", "n1/f"]);
    let reasons: Vec<_> = taken.rejected.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(
        reasons,
        [
            Rejection::Json,
            Rejection::Json,
            Rejection::OtherId,
            Rejection::Json,
            Rejection::Size,
            Rejection::Kind,
            Rejection::Kind,
            Rejection::Id,
            Rejection::Id,
            Rejection::Id,
        ]
    );
    assert!(
        taken
            .rejected
            .iter()
            .all(|(_, id)| id.len() <= 128 && !id.contains('\n'))
    );
    // What they stand for now is not known, so that the old values do not stay as if they were.
    let gone: Vec<_> = taken.removals.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(gone, ["n1", "big", "n1/b", "n1/c", "n1/d"]);
}

#[test]
fn a_key_counts_once() {
    let newer = record(
        InventoryKind::Gpu,
        "n1/a",
        &json!({ "id": "n1/a", "model": "new" }),
    );
    let key = |id: &str, kind: InventoryKind| InventoryKey {
        kind: kind.into(),
        id: id.to_owned(),
    };
    let removals = vec![
        key("n1/a", InventoryKind::Gpu),
        key("n1/b", InventoryKind::Gpu),
        key("n1/b", InventoryKind::Gpu),
        key("n1/b", InventoryKind::Unspecified),
    ];
    let taken = take_all(vec![gpu("n1/a"), newer], removals);
    assert_eq!(taken.rows.len(), 1);
    assert_eq!(taken.rows[0].facets.model.as_deref(), Some("new"));
    assert_eq!(taken.removals, [(Kind::Gpu, "n1/b".to_owned())]);
    assert_eq!(taken.rejected.len(), 1);
}

#[test]
fn an_epoch_begins_with_a_snapshot_or_where_it_was_asked_to() {
    let mut session = Session::new("e1".to_owned());
    assert_eq!(session.check(&head("e1", false)), Ok(1));
    assert_eq!(session.check(&head("e1", true)), Ok(1));
    assert_eq!(session.check(&head("e2", false)), Err(Violation::NoSnapshot));
    assert_eq!(session.check(&head("e2", true)), Ok(1));
    assert_eq!(session.check(&head("e2", false)), Ok(1));

    let mut session = Session::new(String::new());
    assert_eq!(session.check(&head("e1", false)), Err(Violation::NoSnapshot));
    assert_eq!(session.check(&head("", true)), Err(Violation::Epoch));
    assert_eq!(session.check(&head(&"e".repeat(65), true)), Err(Violation::Epoch));
    assert_eq!(session.check(&head("e1", true)), Ok(1));
    let far = InventoryUpdate {
        revision: u64::MAX,
        ..head("e1", false)
    };
    assert_eq!(session.check(&far), Err(Violation::Revision(u64::MAX)));
}
