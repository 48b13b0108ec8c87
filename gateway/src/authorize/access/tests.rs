//! What is kept, what is renewed and what is ended when people change. No I/O.

use super::*;
use crate::people::{
    People,
    tests::{ada, binding, rows, user},
};
use crate::store::people::{BindingRow, ImpersonatorRow, PeopleRows};

/// One caller, and people that change.
struct Fixture {
    registry: Registry,
    accesses: Accesses,
    revoked: CancellationToken,
}

impl Fixture {
    fn new(rows: PeopleRows) -> Self {
        Self {
            registry: Registry::new(rows),
            accesses: Accesses::default(),
            revoked: CancellationToken::new(),
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            user_id: "ada",
            scope: None,
            revoked: &self.revoked,
        }
    }

    fn get(&self, target: Option<&str>, cluster: &str) -> Option<Arc<Access>> {
        self.accesses
            .get(&self.registry, self.caller(), target, &cluster.into())
    }

    fn change(&self, rows: PeopleRows) {
        let generation = self.registry.generation() + 1;
        let next = Arc::new(People::new(rows, generation));
        self.registry.replace(Arc::clone(&next));
        self.accesses.reassess(&next, self.caller());
    }
}

fn of(role: &str, names: &[&str]) -> Vec<BindingRow> {
    vec![binding("1", &ada(), role, "*", names)]
}

#[test]
fn it_is_worked_out_once_and_again_only_after_a_change() {
    let fixture = Fixture::new(rows(of("viewer", &[])));
    let first = fixture.get(None, "c-1").unwrap();
    assert!(Arc::ptr_eq(&first, &fixture.get(None, "c-1").unwrap()));
    assert_eq!(first.user, "Name.ada");
    assert_eq!(first.organization, "name-of-o-1");
    // A change of others: the same, and found true for the new people.
    let mut others = rows(of("viewer", &[]));
    others.users.push(user("o-1", "cid", &[]));
    fixture.change(others);
    let second = fixture.get(None, "c-1").unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert!(!first.reading.ended.is_cancelled() && !first.held[0].ended.is_cancelled());
    assert!(fixture.get(None, "c-2").is_some());
}

#[test]
fn a_change_that_no_request_has_seen_yet_counts_all_the_same() {
    // Between the new people and the look at all callers, a request finds the new ones.
    let fixture = Fixture::new(rows(of("admin", &[])));
    let before = fixture.get(None, "c-1").unwrap();
    let next = Arc::new(People::new(rows(of("viewer", &[])), 2));
    fixture.registry.replace(next);
    let now = fixture.get(None, "c-1").unwrap();
    assert_eq!(now.held[0].role, "viewer");
    assert!(before.held[0].ended.is_cancelled());
}

#[test]
fn what_is_gone_or_less_is_ended_and_what_is_within_more_goes_on() {
    let stream = |access: &Arc<Access>| Arc::clone(&access.held[0]);
    for (next, ended) in [
        (of("operator", &["a", "b"]), false),
        (of("operator", &[]), false),
        (of("admin", &["a", "b", "c"]), false),
        (of("operator", &["a"]), true),
        (of("viewer", &[]), true),
        (of("auditor", &[]), true),
        (vec![], true),
    ] {
        let fixture = Fixture::new(rows(of("operator", &["a", "b"])));
        let held = stream(&fixture.get(None, "c-1").unwrap());
        fixture.change(rows(next.clone()));
        assert_eq!(held.ended.is_cancelled(), ended, "{next:?}");
        // Whatever it has become, the end of all ends it, also after another change.
        fixture.change(rows(of("admin", &[])));
        assert_eq!(held.ended.is_cancelled(), ended, "{next:?}");
        fixture.change(rows(vec![]));
        assert!(held.ended.is_cancelled(), "{next:?}");
        assert!(fixture.get(None, "c-1").is_none());
    }
}

#[test]
fn a_request_between_two_looks_is_not_lost() {
    // It has what it holds, and has not chosen a grant yet.
    let fixture = Fixture::new(rows(of("viewer", &[])));
    let request = fixture.get(None, "c-1").unwrap();
    fixture.change(rows(of("admin", &[])));
    let held = Arc::clone(&request.held[0]);
    drop(request);
    assert!(!held.ended.is_cancelled());
    fixture.change(rows(vec![]));
    assert!(held.ended.is_cancelled());
}

#[test]
fn readers_are_told_of_every_change_of_what_is_shown() {
    for next in [of("viewer", &["a", "b"]), of("viewer", &[]), vec![]] {
        let fixture = Fixture::new(rows(of("viewer", &["a"])));
        let reading = Arc::clone(&fixture.get(None, "c-1").unwrap().reading);
        fixture.change(rows(of("operator", &["a"])));
        assert!(!reading.ended.is_cancelled(), "it shows the same");
        fixture.change(rows(next));
        assert!(reading.ended.is_cancelled());
    }
}

#[test]
fn a_revoked_token_ends_all_of_it() {
    let fixture = Fixture::new(rows(of("viewer", &[])));
    let access = fixture.get(None, "c-1").unwrap();
    fixture.revoked.cancel();
    assert!(access.held[0].ended.is_cancelled() && access.reading.ended.is_cancelled());
}

#[test]
fn acting_as_another_is_kept_apart_and_ends_with_the_right() {
    let bob = crate::people::Subject::User("bob".to_owned());
    let with = |rights: Vec<ImpersonatorRow>| {
        let mut rows = rows(vec![
            binding("1", &ada(), "viewer", "*", &[]),
            binding("2", &bob, "admin", "cluster/c-1", &[]),
        ]);
        rows.impersonators = rights;
        rows
    };
    let right = ImpersonatorRow {
        id: "i".to_owned(),
        organization_id: "o-1".to_owned(),
        user_id: "ada".to_owned(),
        target_id: Some("bob".to_owned()),
        created_at: 1,
    };
    let fixture = Fixture::new(with(vec![]));
    assert!(fixture.get(Some("bob"), "c-1").is_none());
    fixture.change(with(vec![right]));
    let (own, other) = (
        fixture.get(None, "c-1").unwrap(),
        fixture.get(Some("bob"), "c-1").unwrap(),
    );
    assert_eq!(
        (&own.held[0].role, &other.held[0].role),
        (&"viewer".parse().unwrap(), &"admin".parse().unwrap())
    );
    assert_eq!(other.user, "Name.bob");
    assert!(
        fixture.get(Some("bob"), "c-2").is_none(),
        "what the other has, and no more"
    );
    fixture.change(with(vec![]));
    assert!(other.held[0].ended.is_cancelled() && !own.held[0].ended.is_cancelled());
}

#[test]
fn what_is_in_use_is_never_forgotten() {
    let fixture = Fixture::new(rows(of("viewer", &[])));
    let stream = Arc::clone(&fixture.get(None, "c-1").unwrap().held[0]);
    let reader = Arc::clone(&fixture.get(None, "c-2").unwrap().reading);
    for n in 0..=MAX_KEPT {
        fixture.get(None, &format!("more-{n}")).unwrap();
    }
    assert!(fixture.accesses.0.read().own.len() < MAX_KEPT);
    fixture.change(rows(vec![]));
    assert!(stream.ended.is_cancelled() && reader.ended.is_cancelled());
}
