//! Who may what, from rows to rights. No I/O.

use std::collections::BTreeSet;

use kantaloupe_policy::{Grant, Namespaces, Role as ApiRole};

use super::*;
use crate::store::people::{BindingRow, ImpersonatorRow, LabelsRow, OrganizationRow, UserRow};

pub(crate) fn organization(id: &str) -> OrganizationRow {
    OrganizationRow {
        id: id.to_owned(),
        name: format!("name-of-{id}"),
        display_name: String::new(),
        created_at: 1,
    }
}

pub(crate) fn user(organization: &str, id: &str, groups: &[&str]) -> UserRow {
    UserRow {
        id: id.to_owned(),
        organization_id: organization.to_owned(),
        name: format!("Name.{id}"),
        kind: "person".to_owned(),
        display_name: String::new(),
        member_of: serde_json::to_string(groups).unwrap(),
        created_at: 1,
        disabled_at: None,
    }
}

/// `place` is `*`, `cluster/<id>` or a selector.
pub(crate) fn binding(id: &str, subject: &Subject, role: &str, place: &str, names: &[&str]) -> BindingRow {
    let (user_id, group_name) = match subject.clone() {
        Subject::User(id) => (Some(id), None),
        Subject::Group(name) => (None, Some(name)),
    };
    let (scope_kind, cluster_id, selector) = match (place, place.strip_prefix("cluster/")) {
        ("*", _) => ("organization", None, None),
        (_, Some(id)) => ("cluster", Some(id.to_owned()), None),
        (selector, None) => ("selector", None, Some(selector.to_owned())),
    };
    BindingRow {
        id: id.to_owned(),
        organization_id: "o-1".to_owned(),
        user_id,
        group_name,
        role: role.to_owned(),
        scope_kind: scope_kind.to_owned(),
        cluster_id,
        selector,
        namespaces: (!names.is_empty()).then(|| serde_json::to_string(names).unwrap()),
        created_at: 1,
    }
}

pub(crate) fn labels(id: &str, json: &str) -> LabelsRow {
    LabelsRow {
        id: id.to_owned(),
        organization_id: "o-1".to_owned(),
        labels: json.to_owned(),
    }
}

pub(crate) fn ada() -> Subject {
    Subject::User("ada".to_owned())
}

/// Ada is in the group `ml`; the cluster `c-1` is labelled `env=prod`, the cluster `c-2` not at all.
pub(crate) fn rows(bindings: Vec<BindingRow>) -> PeopleRows {
    PeopleRows {
        organizations: vec![organization("o-1"), organization("o-2")],
        users: vec![user("o-1", "ada", &["ml"]), user("o-1", "bob", &[])],
        bindings,
        impersonators: vec![],
        labels: vec![labels("c-1", r#"{"env":"prod"}"#)],
    }
}

fn people(bindings: Vec<BindingRow>) -> People {
    People::new(rows(bindings), 1)
}

fn only(names: &[&str]) -> Namespaces {
    Namespaces::only(names.iter().copied()).unwrap()
}

fn held(people: &People, scope: Option<&Scope>, cluster: &str) -> Option<Holding> {
    Rights::of(people, people.user("ada").unwrap(), scope).on_cluster(cluster)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn without_a_binding_nothing_is_there() {
    let people = people(vec![binding(
        "b",
        &Subject::User("bob".into()),
        "admin",
        "*",
        &[],
    )]);
    assert_eq!(held(&people, None, "c-1"), None);
    let standing = Rights::of(&people, people.user("ada").unwrap(), None).on_organization();
    assert_eq!(standing, Standing::default());
}

#[test]
fn a_binding_is_for_its_place_and_by_its_subject() {
    let group = Subject::Group("ml".to_owned());
    let cases = [
        (ada(), "*", true, true),
        (group.clone(), "*", true, true),
        (Subject::Group("ops".to_owned()), "*", false, false),
        (ada(), "cluster/c-1", true, false),
        (group, "env=prod", true, false),
        (ada(), "env!=prod", false, true),
        (ada(), "env in (test)", false, false),
    ];
    for (subject, place, first, second) in cases {
        let people = people(vec![binding("b", &subject, "viewer", place, &[])]);
        let found = |cluster| held(&people, None, cluster).is_some();
        assert_eq!(
            (found("c-1"), found("c-2")),
            (first, second),
            "{subject:?} {place}"
        );
    }
}

#[test]
fn grants_of_a_role_are_one_and_those_of_different_roles_stay_apart() {
    let people = people(vec![
        binding("1", &ada(), "operator", "env=prod", &["a"]),
        binding("2", &ada(), "viewer", "*", &["b"]),
        binding(
            "3",
            &Subject::Group("ml".to_owned()),
            "operator",
            "cluster/c-1",
            &["c"],
        ),
        binding("4", &ada(), "auditor", "*", &[]),
    ]);
    let holding = held(&people, None, "c-1").unwrap();
    let grant = |role, names: &[&str]| Grant {
        role,
        namespaces: only(names),
    };
    assert_eq!(
        holding.grants,
        [
            grant(ApiRole::Viewer, &["b"]),
            grant(ApiRole::Operator, &["a", "c"])
        ]
    );
    // The auditor's, who reads all of the inventory.
    assert_eq!(holding.reads, Namespaces::All);
    assert!(holding.audits && !holding.manages);
    let elsewhere = held(&people, None, "c-2").unwrap();
    assert_eq!(elsewhere.grants, [grant(ApiRole::Viewer, &["b"])]);
}

#[test]
fn an_auditor_has_nothing_at_an_api_server() {
    let people = people(vec![binding("1", &ada(), "auditor", "cluster/c-1", &[])]);
    let holding = held(&people, None, "c-1").unwrap();
    assert_eq!(
        (holding.grants, holding.manages, holding.audits),
        (vec![], false, true)
    );
}

#[test]
fn who_is_admin_of_some_namespaces_manages_nothing() {
    let some = people(vec![
        binding("1", &ada(), "admin", "*", &["a"]),
        binding("2", &ada(), "viewer", "*", &["b"]),
    ]);
    let holding = held(&some, None, "c-1").unwrap();
    assert!(!holding.manages && !holding.audits);
    assert_eq!(holding.reads, only(&["a", "b"]));
    let user = some.user("ada").unwrap();
    assert_eq!(
        Rights::of(&some, user, None).on_organization(),
        Standing::default()
    );

    let one = people(vec![binding("1", &ada(), "admin", "env=prod", &[])]);
    assert!(held(&one, None, "c-1").unwrap().manages);
    let user = one.user("ada").unwrap();
    assert_eq!(
        Rights::of(&one, user, None).on_organization(),
        Standing::default(),
        "a cluster is not the organisation"
    );
}

#[test]
fn a_scope_narrows_and_never_widens() {
    let roles = ["auditor", "viewer", "operator", "admin"];
    for (index, bound) in roles.iter().enumerate() {
        let people = people(vec![binding("1", &ada(), bound, "*", &["a", "b"])]);
        let whole = held(&people, None, "c-1").unwrap();
        for most in roles {
            let scope = Scope {
                role: Role::of(most),
                clusters: Some(set(&["c-1", "c-9"])),
                namespaces: Some(set(&["b", "x"])),
            };
            assert_eq!(held(&people, Some(&scope), "c-2"), None);
            let Some(holding) = held(&people, Some(&scope), "c-1") else {
                // Only where one of the two is what an auditor has and the other is not.
                assert!((*bound == "auditor") != (most == "auditor") && most != "admin");
                continue;
            };
            assert!(whole.reads.covers(&holding.reads));
            assert!(!holding.manages && !holding.audits);
            for grant in &holding.grants {
                assert_eq!(grant.namespaces, only(&["b"]));
                assert!(whole.grants.iter().any(|of| of.role >= grant.role));
                assert!(grant.role <= Role::of(most).unwrap().at_api_servers().unwrap());
            }
            if most == "auditor" {
                assert_eq!(holding.grants, []);
            }
            if most == "admin" && index > 0 {
                assert_eq!(holding.grants[0].role, whole.grants[0].role);
            }
        }
    }
    let people = people(vec![binding("1", &ada(), "viewer", "*", &["a"])]);
    let none = Scope {
        namespaces: Some(set(&["x"])),
        ..Scope::default()
    };
    assert_eq!(
        held(&people, Some(&none), "c-1"),
        None,
        "nothing is not everything"
    );
}

#[test]
fn a_scope_cuts_what_is_held_on_the_organisation() {
    let people = people(vec![binding("1", &ada(), "admin", "*", &[])]);
    let user = people.user("ada").unwrap();
    let of = |scope: Scope| Rights::of(&people, user, Some(&scope)).on_organization();
    assert!(Rights::of(&people, user, None).on_organization().admin);
    let role = |word| Scope {
        role: Role::of(word),
        ..Scope::default()
    };
    assert!(of(role("admin")).admin && of(role("admin")).auditor);
    let operator = of(role("operator"));
    assert_eq!(
        (operator.role, operator.admin, operator.auditor),
        (Some(Role::Operator), false, false)
    );
    let auditor = of(role("auditor"));
    assert_eq!((auditor.admin, auditor.auditor), (false, true));
    for scope in [
        Scope {
            clusters: Some(set(&["c-1"])),
            ..Scope::default()
        },
        Scope {
            namespaces: Some(set(&["a"])),
            ..Scope::default()
        },
    ] {
        assert_eq!(of(scope), Standing::default());
    }
}

#[test]
fn a_disabled_user_holds_nothing() {
    let mut rows = rows(vec![binding("1", &ada(), "admin", "*", &[])]);
    rows.users[0].disabled_at = Some(5);
    let people = People::new(rows, 1);
    assert_eq!(held(&people, None, "c-1"), None);
    let user = people.user("ada").unwrap();
    assert_eq!(
        Rights::of(&people, user, None).on_organization(),
        Standing::default()
    );
    assert!(people.enabled_user("ada").is_none());
}

#[test]
fn rows_that_cannot_be_read_give_no_right() {
    let good = binding("1", &ada(), "admin", "*", &[]);
    let mut cases = Vec::new();
    let mut damaged = |change: &dyn Fn(&mut BindingRow)| {
        let mut row = good.clone();
        change(&mut row);
        cases.push(row);
    };
    damaged(&|row| row.role = "root".to_owned());
    damaged(&|row| row.scope_kind = "everything".to_owned());
    damaged(&|row| row.namespaces = Some("[]".to_owned()));
    damaged(&|row| row.namespaces = Some("a".to_owned()));
    damaged(&|row| row.namespaces = Some("[\"*\"]".to_owned()));
    damaged(&|row| row.group_name = Some("ml".to_owned()));
    damaged(&|row| row.user_id = None);
    damaged(&|row| {
        row.scope_kind = "selector".to_owned();
        row.selector = Some(String::new());
    });
    for row in cases {
        assert_eq!(held(&people(vec![row.clone()]), None, "c-1"), None, "{row:?}");
    }
}

#[test]
fn users_are_found_in_their_organisation_only() {
    let people = people(vec![]);
    assert!(people.find_user("o-1", "ada").is_some());
    assert!(people.find_user("o-1", "Name.ada").is_some());
    assert!(
        people.find_user("o-1", "name.ada").is_none(),
        "as Kubernetes reads names"
    );
    assert!(people.user_like("o-1", "NAME.ADA").is_some());
    assert!(people.find_user("o-2", "ada").is_none());
    assert!(people.find_user("o-2", "Name.ada").is_none());
}

#[test]
fn acting_as_others_takes_a_right_of_the_same_organisation() {
    let mut rows = rows(vec![]);
    rows.users
        .extend([user("o-1", "cid", &[]), user("o-2", "eve", &[])]);
    let right = |user: &str, target: Option<&str>| ImpersonatorRow {
        id: "i".to_owned(),
        organization_id: "o-1".to_owned(),
        user_id: user.to_owned(),
        target_id: target.map(str::to_owned),
        created_at: 1,
    };
    let may = |rights: Vec<ImpersonatorRow>, user: &str, target: &str| {
        let people = People::new(
            PeopleRows {
                impersonators: rights,
                ..rows.clone()
            },
            1,
        );
        people.may_act_as(people.user(user).unwrap(), people.user(target).unwrap())
    };
    assert!(!may(vec![], "ada", "bob"));
    assert!(may(vec![right("ada", Some("bob"))], "ada", "bob"));
    assert!(!may(vec![right("ada", Some("bob"))], "bob", "ada"));
    assert!(!may(
        vec![right("ada", Some("bob")), right("ada", None)],
        "cid",
        "bob"
    ));
    assert!(!may(vec![right("ada", Some("ada"))], "ada", "bob"));
    assert!(may(vec![right("ada", None)], "ada", "bob"));
    assert!(!may(vec![right("ada", None)], "ada", "eve"));
    assert!(!may(vec![right("ada", Some("eve"))], "ada", "eve"));
}

#[test]
fn a_difference_is_told_to_those_whom_it_concerns() {
    let group = binding("g", &Subject::Group("ml".to_owned()), "viewer", "env=prod", &[]);
    let before = rows(vec![group.clone()]);
    let differs = |next: PeopleRows| {
        let (next, before) = (People::new(next, 2), People::new(before.clone(), 1));
        (next.differs_for(&before, "ada"), next.differs_for(&before, "bob"))
    };
    assert_eq!(differs(before.clone()), (false, false));
    assert_eq!(differs(rows(vec![])), (true, false));
    let mut relabelled = before.clone();
    relabelled.labels = vec![labels("c-1", r#"{"env":"test"}"#)];
    assert_eq!(differs(relabelled), (true, false));
    let mut other = before.clone();
    other.labels.push(labels("c-3", r#"{"tier":"a"}"#));
    assert_eq!(differs(other), (false, false));
    let mut left = before.clone();
    left.users[0].member_of = "[]".to_owned();
    assert_eq!(differs(left), (true, false));
    let mut foreign = before.clone();
    foreign.labels.push(LabelsRow {
        organization_id: "o-2".to_owned(),
        ..labels("c-4", r#"{"env":"prod"}"#)
    });
    assert_eq!(differs(foreign), (false, false));
}

#[test]
fn names_are_safe_wherever_they_are_written() {
    for good in [
        "a",
        "Ada.Lovelace",
        "ada@example.com",
        "ci+1",
        "0_x",
        &"x".repeat(128),
    ] {
        check_name(good).unwrap();
    }
    for bad in [
        "",
        ".",
        "..",
        "-a",
        "@a",
        "a b",
        "a/b",
        "a,b",
        "a:b",
        "system:masters",
        "*",
        "a\nb",
        "ä",
        &"x".repeat(129),
        "0b2f3c52-0000-4000-8000-000000000001",
    ] {
        assert!(check_name(bad).is_err(), "{bad:?}");
    }
}
