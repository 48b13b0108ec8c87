//! The chart's ClusterRoles say what the table says. `tests/chart.sh` holds the snapshots against `helm template`.

use std::collections::BTreeSet;

use crate::{Profile, Role, table};
use kantaloupe_proto::request::Verb;
use serde_json::Value;

type Right = (String, String, String);

fn snapshot(profile: Profile) -> Value {
    let path = format!(
        "{}/../helm/kantaloupe-agent/ci/rbac-{profile}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What the ClusterRole for a profile gives: group, resource, verb.
fn in_the_chart(objects: &Value, profile: Profile) -> BTreeSet<Right> {
    let suffix = format!(":{profile}");
    let role = objects
        .as_array()
        .unwrap()
        .iter()
        .find(|object| object["kind"] == "ClusterRole" && object["name"].as_str().unwrap().ends_with(&suffix))
        .unwrap_or_else(|| panic!("no ClusterRole for {profile}"));
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        assert_eq!(
            rule.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["apiGroups", "resources", "verbs"],
            "only such rules can be held against the table"
        );
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    assert!(
                        rights.insert((group.clone(), resource.clone(), verb)),
                        "{rule} doubles a right"
                    );
                }
            }
        }
    }
    rights
}

fn in_the_table(role: Role) -> BTreeSet<Right> {
    let rules = table().iter().filter(|rule| rule.role == role);
    rules
        .flat_map(|rule| {
            rule.resources
                .iter()
                .flat_map(move |resource| rule.verbs.iter().map(move |verb| (rule.group, *resource, *verb)))
        })
        .flat_map(|(group, resource, verb)| {
            let words: &[&str] = match verb {
                Verb::Connect => &["create", "get"],
                _ => &[verb.as_str()],
            };
            words
                .iter()
                .map(|verb| (group.to_owned(), resource.to_owned(), (*verb).to_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_cluster_roles_are_the_table() {
    for profile in Profile::ALL {
        let objects = snapshot(profile);
        assert_eq!(
            in_the_chart(&objects, Profile::Observe),
            in_the_table(Role::Viewer),
            "{profile}"
        );
        if profile >= Profile::Operate {
            assert_eq!(
                in_the_chart(&objects, Profile::Operate),
                in_the_table(Role::Operator),
                "{profile}"
            );
        }
    }
}

#[test]
fn only_the_profile_admin_has_more_than_the_table() {
    for profile in Profile::ALL {
        let objects = snapshot(profile);
        let roles: BTreeSet<&str> = objects
            .as_array()
            .unwrap()
            .iter()
            .filter(|object| object["kind"] == "ClusterRole")
            .map(|object| object["name"].as_str().unwrap().rsplit(':').next().unwrap())
            .filter(|name| name.parse::<Profile>().is_ok())
            .collect();
        let expected: BTreeSet<&str> = Profile::ALL
            .iter()
            .filter(|other| **other <= profile)
            .map(|other| other.as_str())
            .collect();
        assert_eq!(roles, expected);
    }
    let admin = snapshot(Profile::Admin);
    let rules = admin
        .as_array()
        .unwrap()
        .iter()
        .find(|object| {
            object["kind"] == "ClusterRole" && object["name"].as_str().unwrap().ends_with(":admin")
        })
        .unwrap();
    assert_eq!(
        rules["rules"],
        serde_json::json!([
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]}
        ])
    );
}
