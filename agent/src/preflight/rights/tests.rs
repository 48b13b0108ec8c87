use kantaloupe_gpu::platform::facts::Rule;
use serde_json::Value;

use super::*;

/// The rules of the chart's roles for the agent itself, as `tests/chart.sh` holds them against `helm template`.
fn in_the_chart(profile: Profile) -> Vec<Rule> {
    let path = format!(
        "{}/../helm/kantaloupe-agent/ci/rbac-{profile}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let objects: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    objects
        .as_array()
        .unwrap()
        .iter()
        .filter(|object| object["name"].as_str().unwrap().ends_with("kantaloupe-agent"))
        .flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default())
        .map(|rule| serde_json::from_value(rule).unwrap())
        .collect()
}

fn config(profile: Profile) -> Config {
    let mut config = crate::testing::config(
        "127.0.0.1:1".parse().unwrap(),
        None,
        std::path::Path::new("/token"),
    );
    config.policy = LocalPolicy::new(profile);
    config.secret_name = SECRET.to_owned();
    config
}

fn words(rules: &[Rule], verb: &str) -> Vec<(String, String, Vec<String>)> {
    let with = rules
        .iter()
        .filter(|rule| rule.verbs.iter().any(|found| found == verb));
    with.flat_map(|rule| {
        let one = |resource: &String| {
            (
                rule.api_groups[0].clone(),
                resource.clone(),
                rule.resource_names.clone(),
            )
        };
        rule.resources.iter().map(one).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn the_groups_are_those_that_the_chart_gives() {
    for profile in Profile::ALL {
        let found = in_the_chart(profile);
        assert!(found.len() > 5);
        let config = config(profile);
        let expected = expected(Some(&config), &found);
        assert_eq!(
            words(&expected, "impersonate"),
            words(&found, "impersonate"),
            "{profile}"
        );
        assert_eq!(words(&expected, "update"), words(&found, "update"), "{profile}");
    }
}

#[test]
fn where_impersonation_is_constrained_each_thing_done_that_way_is_expected() {
    let found = [rule(&[CONSTRAINED], "authentication.k8s.io", &["users"], &[])];
    let get = "impersonate-on:user-info:get";
    let logs = (String::new(), "pods/log".to_owned(), vec![]);
    let mut config = config(Profile::Operate);
    config.organization = Some("acme".to_owned());
    let all = expected(Some(&config), &found);
    assert!(words(&all, "impersonate").is_empty());
    assert_eq!(
        words(&all, CONSTRAINED)[1].2,
        [
            "kantaloupe:role:viewer",
            "kantaloupe:role:operator",
            "kantaloupe:org:acme"
        ]
    );
    assert!(words(&all, get).contains(&logs));
    assert!(!words(&all, get).iter().any(|(_, resource, _)| resource == "*"));
    config.policy.logs = false;
    assert!(!words(&expected(Some(&config), &found), get).contains(&logs));
    config.policy.namespaces = "a".parse().unwrap();
    let namespaced = expected(Some(&config), &found);
    assert!(words(&namespaced, get).is_empty());
    assert_eq!(words(&namespaced, "impersonate-on:user-info:create").len(), 3);
}
