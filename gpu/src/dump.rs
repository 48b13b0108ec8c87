//! The inventory of a cluster out of files: objects as `kubectl get -o json` or `-o yaml` prints them, one by one, in lists, or in
//! several documents, and metrics in text form. For support without access to the cluster.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube_core::Resource;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    assembly::Assembly,
    index::{Change, Cursor, Index, Watched},
    inventory::{Source, SourceState},
    metrics::{self, usage::Collector},
    object::{Deployment, Job, Node, Pod, ReplicaSet, ResourceClaim, ResourceSlice, StatefulSet},
    platform::{GENERIC, Objects, Read, checks, distribution, facts::Facts},
    vendor::{DEVICE_CONFIG, ResourceNames},
};

/// Documents in one file. More are in no dump of a cluster, but in a file that was made to keep a parser busy.
const MAX_DOCUMENTS: usize = 100_000;

/// Something in a file that cannot be read, or is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}")]
pub struct Problem {
    /// The file, and the object in it if it is known.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

/// Objects out of files.
#[derive(Debug, Default)]
pub struct Dump {
    nodes: BTreeMap<String, Node>,
    /// By namespace and name, as all that have a namespace.
    pods: BTreeMap<(String, String), Pod>,
    owners: Vec<(Watched, crate::object::ObjectMeta)>,
    slices: BTreeMap<String, ResourceSlice>,
    claims: BTreeMap<(String, String), ResourceClaim>,
    names: ResourceNames,
    /// Metrics in text form, with the names of their files.
    metrics: Vec<(String, String)>,
    problems: Vec<Problem>,
    /// Objects of the platform.
    platform: Objects,
    /// Objects of kinds that say nothing.
    others: usize,
}

impl Dump {
    /// Takes in a file. What cannot be read of it is noted, and the rest is taken.
    pub fn add(&mut self, file: &str, text: &str) {
        let start = text.trim_start();
        if start.starts_with(['{', '[']) {
            let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
            for value in values.take(MAX_DOCUMENTS) {
                match value {
                    Ok(value) => self.document(file, value),
                    Err(error) => self.problem(file, format!("not JSON: {error}")),
                }
            }
            return;
        }
        if is_metrics(file, start) {
            self.metrics.push((file.to_owned(), text.to_owned()));
            return;
        }
        for document in serde_yaml_ng::Deserializer::from_str(text).take(MAX_DOCUMENTS) {
            match Value::deserialize(document) {
                Ok(Value::Null) => {}
                Ok(value) => self.document(file, value),
                Err(error) => {
                    self.problem(file, format!("not YAML: {error}"));
                    break;
                }
            }
        }
    }

    /// Notes a file that could not be opened.
    pub fn problem(&mut self, file: &str, what: impl Into<String>) {
        self.problems.push(Problem {
            file: file.to_owned(),
            what: what.into(),
        });
    }

    /// Objects that say nothing about devices or the platform.
    pub fn others(&self) -> usize {
        self.others
    }

    /// The inventory, and what could not be read.
    pub fn index(self, now: Timestamp) -> (Index, Vec<Problem>) {
        let mut index = Index::default();
        for (kind, meta) in self.owners {
            index.apply(Change::Owner(kind, Box::new(meta)));
        }
        let mut assembly = Assembly::new(self.names);
        let mut changes: Vec<Change> = self.nodes.values().map(|node| assembly.node(node, now)).collect();
        // Pools are read when all of their slices are there.
        assembly.begin(Watched::ResourceSlices);
        for slice in self.slices.into_values() {
            changes.extend(assembly.slice(slice, now));
        }
        changes.extend(assembly.complete(Watched::ResourceSlices, now));
        for claim in self.claims.into_values() {
            changes.extend(assembly.claim(claim, now));
        }
        let (nodes_there, pods_there) = (!self.nodes.is_empty(), !self.pods.is_empty());
        changes.extend(self.pods.into_values().map(|pod| assembly.pod(pod, now)));
        for change in changes {
            index.apply(change);
        }
        // A dump without nodes says nothing about what is not there.
        for (kind, there) in [(Watched::Nodes, nodes_there), (Watched::Pods, pods_there)] {
            if there {
                index.apply(Change::Synced(kind));
            }
            index.apply(Change::Source(Source {
                name: kind.plural().to_owned(),
                state: if there {
                    SourceState::Ok
                } else {
                    SourceState::Absent
                },
                since: now,
                code: None,
                detail: (!there).then(|| "not in the files".to_owned()),
            }));
        }
        let problems = usage(&mut index, &self.metrics, now, self.problems);
        let there = (nodes_there, pods_there);
        platform(&mut index, self.platform, there, now);
        (index, problems)
    }

    /// One document: an object or a list of them.
    fn document(&mut self, file: &str, value: Value) {
        let list = match value {
            Value::Array(items) => items,
            Value::Object(mut object) if matches!(object.get("items"), Some(Value::Array(_))) => {
                let kind = object.get("kind").and_then(Value::as_str).unwrap_or("List");
                // Items of lists as the API server sends them have no kind and version of their own.
                let kind = kind.strip_suffix("List").unwrap_or_default().to_owned();
                let version = object.get("apiVersion").cloned().unwrap_or_default();
                let Some(Value::Array(items)) = object.remove("items") else {
                    return;
                };
                let named = items.into_iter().map(|mut item| {
                    if let Value::Object(fields) = &mut item
                        && !kind.is_empty()
                    {
                        fields.entry("kind").or_insert_with(|| kind.clone().into());
                        fields.entry("apiVersion").or_insert_with(|| version.clone());
                    }
                    item
                });
                named.collect()
            }
            single => vec![single],
        };
        for object in list {
            self.object(file, object);
        }
    }

    fn object(&mut self, file: &str, object: Value) {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (kind, name, namespace) = (text("/kind"), text("/metadata/name"), text("/metadata/namespace"));
        let place = format!("{file}: {kind} {namespace}/{name}");
        match kind.as_str() {
            "" => self.problem(file, "an object without a kind"),
            "Node" => {
                let node = self.parse::<Node>(&place, object);
                self.nodes.extend(node.map(|node| (name, node)));
            }
            "Pod" => {
                let pod = self.parse::<Pod>(&place, object);
                self.pods.extend(pod.map(|mut pod| {
                    // What was written by hand has no UID; the name stands for it.
                    let own = || format!("{namespace}/{name}");
                    pod.metadata.uid.get_or_insert_with(own);
                    ((namespace.clone(), name.clone()), pod)
                }));
            }
            "ReplicaSet" => self.owner::<ReplicaSet>(Watched::ReplicaSets, &place, object),
            "Deployment" => {
                self.of_platform(&place, &kind, &object);
                self.owner::<Deployment>(Watched::Deployments, &place, object);
            }
            "StatefulSet" => self.owner::<StatefulSet>(Watched::StatefulSets, &place, object),
            "Job" => self.owner::<Job>(Watched::Jobs, &place, object),
            "ResourceSlice" => {
                let slice = self.parse::<ResourceSlice>(&place, object);
                self.slices.extend(slice.map(|slice| (name, slice)));
            }
            "ResourceClaim" => {
                let claim = self.parse::<ResourceClaim>(&place, object);
                self.claims.extend(claim.map(|claim| ((namespace, name), claim)));
            }
            "ConfigMap" => {
                if let Some(config) = object
                    .pointer("/data")
                    .and_then(|data| data.get(DEVICE_CONFIG)?.as_str())
                {
                    match ResourceNames::from_device_config(config) {
                        Ok(names) => {
                            self.names = names;
                            self.of_platform(&place, &kind, &object);
                        }
                        Err(error) => self.problem(&place, format!("{DEVICE_CONFIG}: {error}")),
                    }
                }
            }
            "Secret" if !is_release(&object) => self.others += 1,
            _ if self.of_platform(&place, &kind, &object) => {}
            _ => self.others += 1,
        }
    }

    /// Takes an object that the checks look at; whether it is one.
    fn of_platform(&mut self, place: &str, kind: &str, object: &Value) -> bool {
        let version = object.pointer("/apiVersion").and_then(Value::as_str);
        let group = version
            .and_then(|version| version.split_once('/'))
            .map_or("", |(group, _)| group);
        let broken = |objects: &Objects| objects.broken.values().sum::<u32>();
        let before = broken(&self.platform);
        let taken = self.platform.add(group, kind, &object.to_string());
        if broken(&self.platform) > before {
            self.problem(place, "not an object of its kind");
        }
        taken
    }

    fn owner<T: DeserializeOwned + Resource>(&mut self, kind: Watched, place: &str, object: Value) {
        if let Some(mut object) = self.parse::<T>(place, object) {
            self.owners.push((kind, std::mem::take(object.meta_mut())));
        }
    }

    fn parse<T: DeserializeOwned>(&mut self, place: &str, object: Value) -> Option<T> {
        match serde_json::from_value(object) {
            Ok(object) => Some(object),
            Err(error) => {
                self.problem(place, error.to_string());
                None
            }
        }
    }
}

/// By its name, or by how it begins: a comment of the format, or a name with labels and a value.
fn is_metrics(file: &str, start: &str) -> bool {
    let extension = file.rsplit_once('.').map(|(_, extension)| extension);
    let first = start.lines().next().unwrap_or_default();
    let sample = first.split_once('{').is_some_and(|(name, rest)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        !name.is_empty() && name.chars().all(plain) && rest.contains("} ")
    });
    matches!(extension, Some("prom" | "metrics"))
        || first.starts_with("# HELP ")
        || first.starts_with("# TYPE ")
        || sample
}

/// Whether a Secret is a release of Helm's, and the one that is in force.
fn is_release(secret: &Value) -> bool {
    let label = |key: &str| secret.pointer("/metadata/labels")?.get(key)?.as_str();
    label("owner") == Some("helm") && label("status") == Some("deployed")
}

/// What the platform consists of, and what the checks say as far as objects tell. `there` is whether there are nodes and pods.
fn platform(index: &mut Index, objects: Objects, there: (bool, bool), now: Timestamp) {
    // Findings are made when something is read.
    index.changes(&mut Cursor::nothing(), 0, now);
    let mut facts = Facts::of(objects, now, false);
    if there.0 {
        facts.objects.read.insert(Watched::Nodes.plural(), Read::Ok);
    }
    facts.nodes = index.marks(|_| true);
    facts.findings = index.findings();
    facts.pods_read = there.0 && there.1;
    let distribution = distribution(None, &[], &facts.nodes);
    index.apply(Change::Components(facts.objects.components()));
    index.apply(Change::Checks(checks::run(&facts)));
    index.apply(Change::Platform {
        version: None,
        distribution: (distribution != GENERIC).then(|| distribution.to_owned()),
    });
}

/// Joins metrics to the devices of the index.
fn usage(
    index: &mut Index,
    texts: &[(String, String)],
    now: Timestamp,
    mut problems: Vec<Problem>,
) -> Vec<Problem> {
    if texts.is_empty() {
        return problems;
    }
    let devices = index.devices();
    let mut collector = Collector::new(&devices, now);
    for (file, text) in texts {
        let read = metrics::text::parse(text.as_bytes());
        read.samples.iter().for_each(|sample| collector.add(sample));
        if read.malformed_lines > 0 || read.truncated {
            problems.push(Problem {
                file: file.clone(),
                what: format!("{} lines are no metrics in text form", read.malformed_lines),
            });
        }
    }
    let usage = collector.finish();
    index.apply(Change::Usage {
        gpus: usage.gpus,
        containers: usage.containers,
    });
    problems
}
