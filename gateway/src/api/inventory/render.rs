//! Records as the API shows them: the record itself, with its cluster, its age and its live use before it.

use std::{collections::HashMap, fmt::Write as _};

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use jiff::Timestamp;
use kantaloupe_gpu::inventory::Kind;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    api::visible::Visible,
    app::App,
    directory::{Cluster, Directory},
    inventory::{Status, View},
    store::inventory::Item,
};

/// Clusters that an answer names because what it shows of them is old or missing.
const MAX_NAMED: usize = 100;

/// A cluster as records name it.
#[derive(Serialize)]
pub(super) struct ClusterRef<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
}

impl<'a> ClusterRef<'a> {
    pub(super) fn of(cluster: &'a Cluster) -> Self {
        Self {
            id: &cluster.id,
            name: &cluster.name,
        }
    }
}

/// How old what is known of a cluster is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Freshness {
    pub(super) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    /// Until when it was true; none if there is nothing.
    pub(super) as_of: Option<String>,
    pub(super) age_seconds: Option<i64>,
}

impl Freshness {
    pub(super) fn of(view: &View, now: i64) -> Self {
        Self {
            status: view.status,
            detail: view.detail.clone(),
            as_of: view.as_of.map(App::rfc3339),
            age_seconds: view.as_of.map(|at| (now - at).max(0)),
        }
    }
}

/// A cluster whose records are not up to date.
#[derive(Serialize)]
struct NotLive<'a> {
    cluster: ClusterRef<'a>,
    #[serde(flatten)]
    freshness: Freshness,
}

/// What all records of one cluster share.
struct Head {
    /// The first fields.
    json: String,
    /// Why there is no live use of any of its devices, if so.
    unmeasured: Option<String>,
}

/// Renders the records of one answer.
pub(super) struct Renderer<'a> {
    directory: &'a Directory,
    now: i64,
    /// What stands before each record of a cluster; `None` for one that was deleted meanwhile.
    heads: HashMap<String, Option<Head>>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(app: &'a App) -> Self {
        Self {
            directory: &app.directory,
            now: App::now(),
            heads: HashMap::new(),
        }
    }

    /// One record as JSON; `None` if its cluster is no more.
    pub(super) fn item(&mut self, item: &Item, kind: Kind) -> Option<String> {
        let now = self.now;
        let head = self.head(&item.cluster_id)?;
        let mut json = String::with_capacity(head.json.len() + item.value.len() + 64);
        json.push_str(&head.json);
        if has_usage(kind) {
            let usage = match (&item.usage, &head.unmeasured) {
                (Some(usage), _) => used(usage, now),
                (None, Some(code)) if kind == Kind::Gpu => unmeasured(&item.value, code),
                (None, _) => None,
            };
            write!(json, "\"usage\":{},", usage.unwrap_or(Value::Null)).expect("writing to a String");
        }
        // The record is an object with fields, written by this gateway.
        json.push_str(item.value.strip_prefix('{')?);
        Some(json)
    }

    /// One record as a tree, with the same fields.
    pub(super) fn tree(&mut self, item: &Item, kind: Kind) -> Option<Value> {
        serde_json::from_str(&self.item(item, kind)?).ok()
    }

    fn head(&mut self, cluster_id: &str) -> Option<&Head> {
        if !self.heads.contains_key(cluster_id) {
            let cluster = self.directory.find_by_id(cluster_id);
            let head = cluster.map(|cluster| Head {
                json: head(&cluster, self.now),
                unmeasured: cluster.inventory.unmeasured(),
            });
            self.heads.insert(cluster_id.to_owned(), head);
        }
        self.heads.get(cluster_id)?.as_ref()
    }
}

fn head(cluster: &Cluster, now: i64) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        cluster: ClusterRef<'a>,
        as_of: Option<String>,
        age_seconds: Option<i64>,
    }
    let freshness = Freshness::of(&cluster.inventory.view(now), now);
    let head = Fields {
        cluster: ClusterRef::of(cluster),
        as_of: freshness.as_of,
        age_seconds: freshness.age_seconds,
    };
    let mut json = serde_json::to_string(&head).expect("texts and numbers always serialize");
    json.pop();
    json.push(',');
    json
}

/// Whether records of this kind are shown with live use.
const fn has_usage(kind: Kind) -> bool {
    matches!(kind, Kind::Gpu | Kind::Allocation)
}

/// Live use with its own age.
fn used(json: &str, now: i64) -> Option<Value> {
    let mut usage: Map<String, Value> = serde_json::from_str(json).ok()?;
    let at: Option<Timestamp> = usage
        .get("at")
        .and_then(Value::as_str)
        .and_then(|at| at.parse().ok());
    let age = at.map(|at| (now - at.as_second()).max(0));
    usage.insert("ageSeconds".to_owned(), age.into());
    Some(Value::Object(usage))
}

/// Live use of a device while no device of its cluster is measured: unknown, and why. `None` for what is no device.
fn unmeasured(record: &str, code: &str) -> Option<Value> {
    #[derive(Deserialize)]
    struct Device {
        id: String,
        vendor: String,
    }
    let device: Device = serde_json::from_str(record).ok()?;
    let usage = kantaloupe_gpu::metrics::usage::unknown(&device.id, &device.vendor, code);
    used(&serde_json::to_string(&usage).ok()?, 0)
}

/// An answer that is JSON already.
pub(super) fn json(text: String) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, JSON)], text).into_response()
}

/// The clusters of an answer that are not up to date, as the last fields of a list: a list that is short because a cluster is
/// missing says so.
pub(super) fn not_live(visible: &Visible) -> String {
    let now = App::now();
    let mut named = Vec::new();
    let mut count = 0;
    for cluster in visible.clusters() {
        let view = cluster.inventory.view(now);
        if view.status == Status::Live {
            continue;
        }
        count += 1;
        if named.len() < MAX_NAMED {
            named.push(NotLive {
                cluster: ClusterRef::of(cluster),
                freshness: Freshness::of(&view, now),
            });
        }
    }
    let named = serde_json::to_string(&named).expect("texts and numbers always serialize");
    format!("\"notLive\":{named},\"notLiveTotal\":{count}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_nothing_measures_is_unknown_and_says_why() {
        let usage = unmeasured(r#"{"id":"n/u","vendor":"huawei","node":"n"}"#, "KTA-MON-001").unwrap();
        assert_eq!(usage["gpu"], "n/u");
        assert_eq!(usage["unknown"]["utilization"], "KTA-MON-001");
        assert_eq!(
            (&usage["utilization"], &usage["ageSeconds"]),
            (&Value::Null, &Value::Null)
        );
        assert!(usage["unknown"].get("xid").is_none());
    }

    #[test]
    fn live_use_has_its_own_age() {
        let usage = used(
            r#"{"gpu":"n/u","at":"1970-01-01T00:01:40Z","utilization":null}"#,
            160,
        )
        .unwrap();
        assert_eq!(usage["ageSeconds"], 60);
        assert_eq!(usage["utilization"], Value::Null);
        let usage = used(r#"{"gpu":"n/u","at":null}"#, 160).unwrap();
        assert_eq!(usage["ageSeconds"], Value::Null, "unknown is not 0");
    }
}
