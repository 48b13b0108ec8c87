//! Everything that the checks judge.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

use super::Objects;
use super::scrape::Exporter;
use crate::inventory;
use crate::metrics::server::Server;
use crate::node::{self, NodeFacts, NodeMark};

/// What is known of a cluster at one moment. What was not asked is `None` and gives no answer but "unknown".
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The moment; `None` for objects from files, whose leases and samples are as old as the files.
    pub now: Option<Timestamp>,
    /// The API server's answers; `None` for objects from files.
    pub api: Option<Api>,
    /// Objects.
    pub objects: Objects,
    /// Nodes. [`Objects::nodes`] are taken in here.
    pub nodes: Vec<NodeMark>,
    /// What is wrong with registrations and allocations.
    pub findings: Vec<inventory::Finding>,
    /// Whether pods were looked at, so that no finding about allocations means that there is none.
    pub pods_read: bool,
    /// What the cluster's Prometheus says; `None` if it was not asked.
    pub prometheus: Option<Prometheus>,
    /// What the agent's service account may do.
    pub rights: Option<Rights>,
    /// Connections to addresses of Gateways, `address:port`.
    pub gateways: BTreeMap<String, Result<u64, String>>,
    /// The agent's pod and namespace.
    pub agent: Option<Agent>,
    /// Where the Kantaloupe gateway is.
    pub egress: Option<Egress>,
}

impl Facts {
    /// What objects alone tell at `now`. With `live` they are of this moment, and leases are held against it.
    pub fn of(mut objects: Objects, now: Timestamp, live: bool) -> Self {
        // What is malformed has a finding where allocations are read with it.
        let names = objects.resource_names().unwrap_or_default();
        let mut facts = Self {
            now: live.then_some(now),
            ..Self::default()
        };
        for node in std::mem::take(&mut objects.nodes) {
            let NodeFacts { mark, findings, .. } = node::read(&node, &names, now);
            facts.nodes.push(mark);
            facts.findings.extend(findings);
        }
        facts.objects = objects;
        facts
    }

    /// Number of devices that nodes register.
    pub fn devices(&self) -> usize {
        self.nodes.iter().map(|node| node.devices as usize).sum()
    }
}

/// The API server.
#[derive(Debug, Clone, Default)]
pub struct Api {
    /// Milliseconds that an answer took, or why there was none.
    pub answer: Option<Result<u64, String>>,
    /// `gitVersion`.
    pub version: Option<String>,
    /// API groups, if they could be listed.
    pub groups: Option<Vec<String>>,
}

/// The cluster's Prometheus.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prometheus {
    /// Where it is: without credentials.
    pub address: String,
    /// How the address was found, such as `configuration` or the object that led to it.
    pub found_by: String,
    /// Why there is no usable answer.
    pub problem: Option<String>,
    /// What answers.
    pub server: Option<Server>,
    /// Targets of each exporter: up and down.
    pub targets: BTreeMap<Exporter, (u32, u32)>,
    /// Newest samples by metric.
    pub samples: BTreeMap<String, Sample>,
}

/// Samples of one metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Series with a sample.
    pub series: u32,
    /// Age of the newest one, seconds.
    pub age: Option<f64>,
    /// Names of labels that all series have.
    pub labels: Vec<String>,
}

/// What the service account may do: the answer to a SelfSubjectRulesReview.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// The namespace that was asked for; rules of ClusterRoles are in it as well.
    pub namespace: String,
    /// The rules.
    pub rules: Vec<Rule>,
    /// The API server could not evaluate all of them, for instance because a webhook decides.
    pub incomplete: bool,
    /// What the agent should have, and nothing beyond.
    pub expected: Vec<Rule>,
}

/// One rule of RBAC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
}

/// The agent's own pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Labels of it, if it could be read.
    pub labels: Option<BTreeMap<String, String>>,
    /// Restarts of its container, if it could be read.
    pub restarts: Option<u32>,
    /// Why its container ended the last time.
    pub last_end: Option<String>,
    /// Memory in use and the limit, bytes.
    pub memory: Option<(u64, u64)>,
    /// Whether the running agent has a tunnel, or the code and words of why not. `None` if no agent could be asked.
    pub tunnel: Option<Result<(), String>>,
}

/// The way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Addresses that the gateway's name has.
    pub addresses: Vec<IpAddr>,
    /// Its port.
    pub port: u16,
}
