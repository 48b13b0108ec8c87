//! Every role against every call of the API, as `docs/rights.md` says.

use std::collections::HashMap;

use http::Method;
use kantaloupe_checks::{Code, Outcome, Verdict};
use kantaloupe_gpu::inventory::Record;
use serde_json::{Value, json};

use super::{
    client::{Client, Testbed, empty},
    feed::{small, update},
    inventory::{live, started},
    people::{bind, made, organization, selected, service},
};

const DOCUMENT: &str = include_str!("../../../docs/rights.md");
const ROLES: [&str; 7] = [
    "nobody",
    "viewer",
    "operator",
    "cluster admin",
    "namespace admin",
    "auditor",
    "admin",
];
const STAGE: &str = "stage=test";

/// The rows of the table: method, path, and what each role gets.
fn table() -> Vec<(Method, &'static str, Vec<&'static str>)> {
    let rows = DOCUMENT.lines().filter_map(|line| {
        let cells: Vec<_> = line
            .strip_prefix("| ")?
            .strip_suffix(" |")?
            .split(" | ")
            .collect();
        let (method, path) = cells[0].split_once(' ')?;
        let method: Method = method.parse().ok()?;
        (path.starts_with('/') && cells.len() == ROLES.len() + 1).then(|| (method, path, cells[1..].to_vec()))
    });
    rows.collect()
}

async fn callers(admin: &Client) -> Vec<(&'static str, Client)> {
    let mut callers = Vec::new();
    for role in ROLES {
        let name = format!("as-{}", role.replace(' ', "-"));
        let client = service(admin, &name).await;
        match role {
            "nobody" => {}
            "cluster admin" => drop(bind(admin, &name, "admin", selected(STAGE), Value::Null).await),
            "namespace admin" => drop(bind(admin, &name, "admin", selected(STAGE), json!(["a"])).await),
            "auditor" | "admin" => drop(bind(admin, &name, role, organization(), Value::Null).await),
            role => drop(bind(admin, &name, role, selected(STAGE), Value::Null).await),
        }
        callers.push((role, client));
    }
    callers
}

/// Makes what a call is for, anew for each: many of them destroy it.
struct Targets<'a> {
    admin: &'a Client,
    count: usize,
}

impl Targets<'_> {
    fn name(&mut self) -> String {
        self.count += 1;
        format!("t{}", self.count)
    }

    async fn path(&mut self, method: &Method, path: &str, caller: &Client) -> String {
        let mut values = HashMap::new();
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let changes_cluster = path.starts_with("/api/v1/clusters/") && *method != Method::GET;
        if path.contains("{cluster}") && changes_cluster {
            let name = self.name();
            made(self.admin, "/api/v1/clusters", json!({ "name": name })).await;
            label(self.admin, &name).await;
            values.insert("{cluster}", name);
        }
        values.entry("{cluster}").or_insert_with(|| "prod".to_owned());
        if path.contains("{user}") {
            let name = self.name();
            made(
                self.admin,
                "/api/v1/users",
                json!({ "name": name, "kind": "service" }),
            )
            .await;
            let tokens = format!("/api/v1/users/{name}/tokens");
            made(self.admin, &tokens, json!({ "name": "t" })).await;
            values.insert("{user}", name);
        }
        if path.contains("{self}") {
            let (_, who) = caller.call(Method::GET, "/api/v1/whoami", Value::Null).await;
            values.insert("{self}", id(&who));
        }
        if path.contains("{token}") {
            let token = made(self.admin, "/api/v1/tokens", json!({ "name": "t" })).await;
            values.insert("{token}", id(&token));
        }
        if path.contains("{own token}") {
            let token = made(caller, "/api/v1/tokens", json!({ "name": "t" })).await;
            values.insert("{own token}", id(&token));
        }
        if path.contains("{binding}") {
            let name = self.name();
            made(self.admin, "/api/v1/users", json!({ "name": name })).await;
            let binding = bind(self.admin, &name, "viewer", organization(), Value::Null).await;
            values.insert("{binding}", binding);
        }
        if path.contains("{impersonator}") {
            values.insert("{impersonator}", id(&self.impersonator().await));
        }
        values
            .iter()
            .fold(path.to_owned(), |path, (key, value)| path.replace(key, value))
    }

    async fn impersonator(&mut self) -> Value {
        let name = self.name();
        made(self.admin, "/api/v1/users", json!({ "name": name })).await;
        let right = json!({ "user": name, "target": "*" });
        made(self.admin, "/api/v1/impersonators", right).await
    }

    async fn body(&mut self, method: &Method, path: &str) -> Value {
        let name = self.name();
        match (method.as_str(), path) {
            (
                "POST",
                "/api/v1/clusters" | "/api/v1/users" | "/api/v1/tokens" | "/api/v1/users/{user}/tokens",
            ) => {
                json!({ "name": name })
            }
            ("POST", "/api/v1/organizations") => json!({ "name": name, "administrator": { "name": "root" } }),
            ("POST", "/api/v1/bindings") => json!({
                "subject": { "kind": "group", "name": name }, "role": "admin", "scope": { "kind": "organization" },
            }),
            ("POST", "/api/v1/impersonators") => {
                made(self.admin, "/api/v1/users", json!({ "name": name })).await;
                json!({ "user": name, "target": "admin" })
            }
            ("PATCH", "/api/v1/clusters/{cluster}") => json!({ "labels": { "a": "b" } }),
            ("PATCH", "/api/v1/users/{user}") => json!({ "disabled": true }),
            ("PATCH", "/api/v1/bindings/{binding}") => json!({ "role": "operator" }),
            ("PATCH", "/api/v1/organizations/default") => json!({ "displayName": "x" }),
            _ => Value::Null,
        }
    }
}

async fn label(admin: &Client, cluster: &str) {
    let body = json!({ "labels": { "stage": "test" } });
    let path = format!("/api/v1/clusters/{cluster}");
    assert_eq!(admin.call(Method::PATCH, &path, body).await.0, 200);
}

/// What a call comes to, in the document's words.
async fn outcome(client: &Client, method: &Method, path: &str, body: Value) -> String {
    if path.ends_with("/events") || path.contains("/kubernetes/") {
        // Streams, or an answer of the cluster's own, which may be any; the gateway's are its Status objects.
        let request = client.request(method.clone(), path, empty());
        let answer = client.http1().await.send_request(request).await.unwrap();
        return match answer.status().as_u16() {
            200 => "yes".to_owned(),
            403 => "no".to_owned(),
            404 => "hidden".to_owned(),
            other => other.to_string(),
        };
    }
    let (status, answer) = client.call(method.clone(), path, body).await;
    match status.as_u16() {
        200 | 201 | 204 if answer["items"].as_array().is_some_and(Vec::is_empty) => "empty".to_owned(),
        200 | 201 | 204 => "yes".to_owned(),
        403 => {
            assert_eq!(answer["code"], "KTA-SRV-002", "{answer}");
            "no".to_owned()
        }
        404 => {
            assert_eq!(answer["code"], "KTA-SRV-009", "{answer}");
            "hidden".to_owned()
        }
        other => format!("{other}: {answer}"),
    }
}

#[tokio::test]
async fn every_role_gets_what_the_document_says() {
    let table = table();
    assert!(table.len() * ROLES.len() >= 400, "{} rows", table.len());
    let testbed = Testbed::start().await;
    let (_a, _c, _f, watch) = started(&testbed, "prod", &small()).await;
    // A check, which the small cluster has none of.
    let check = Outcome::new(Code::NET_001, Verdict::Pass, "as it should be");
    watch
        .send(update("e1", 2, &[Record::Check(Box::new(check))]))
        .await;
    live(&testbed, "prod", 2).await;
    let admin = &testbed.client;
    label(admin, "prod").await;
    let callers = callers(admin).await;
    let mut targets = Targets { admin, count: 0 };
    targets.impersonator().await;
    let mut wrong = Vec::new();
    for (method, path, expected) in &table {
        for ((role, client), expected) in callers.iter().zip(expected) {
            let target = targets.path(method, path, client).await;
            let body = targets.body(method, path).await;
            let got = outcome(client, method, &target, body).await;
            if got != *expected {
                wrong.push(format!("{method} {target} as {role}: {got}, and not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
