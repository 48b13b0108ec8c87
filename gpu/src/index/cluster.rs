//! The record of the cluster: totals, components, sources.

use std::collections::{BTreeMap, HashMap};

use super::{
    Index,
    strings::{Live, Strings, Sym},
};
use crate::inventory::{Cluster, Component, Counts, FindingLevel, Gpu, Kind, Node, Source};

/// What one node adds to the totals.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NodeTotals {
    known: bool,
    ready: bool,
    gpus: u32,
    healthy: u32,
    memory_mib: u64,
    memory_used_mib: u64,
    models: Box<[(Sym, u32)]>,
}

impl NodeTotals {
    pub(super) fn of(node: Option<&Node>, gpus: &[Gpu], strings: &mut Strings) -> Self {
        let mut totals = Self {
            known: node.is_some(),
            ready: node.is_some_and(|node| node.ready == Some(true)),
            ..Self::default()
        };
        let mut models: Vec<(Sym, u32)> = Vec::new();
        for gpu in gpus {
            totals.gpus += 1;
            totals.healthy += u32::from(gpu.healthy != Some(false) && !gpu.stale);
            totals.memory_mib += gpu.capacity.memory_mib.unwrap_or(0);
            totals.memory_used_mib += gpu.used.memory_mib;
            if let Some(model) = &gpu.model {
                let model = strings.intern(model);
                match models.iter_mut().find(|(known, _)| *known == model) {
                    Some((_, count)) => *count += 1,
                    None => models.push((model, 1)),
                }
            }
        }
        totals.models = models.into();
        totals
    }

    pub(super) fn mark(&self, live: &mut Live) {
        self.models.iter().for_each(|(model, _)| live.mark(*model));
    }
}

/// What the cluster's record is made of.
#[derive(Debug, Default)]
pub(super) struct ClusterState {
    version: Option<String>,
    distribution: Option<String>,
    components: Vec<Component>,
    sources: BTreeMap<String, Source>,
    counts: Counts,
    models: HashMap<Sym, u32>,
}

impl ClusterState {
    pub(super) fn count_finding(&mut self, level: FindingLevel, step: i32) {
        let count = match level {
            FindingLevel::Error => &mut self.counts.errors,
            FindingLevel::Warning => &mut self.counts.warnings,
            FindingLevel::Info => return,
        };
        *count = count.saturating_add_signed(step);
    }

    pub(super) fn count_pod(&mut self, running: bool, step: i32) {
        let counts = &mut self.counts;
        counts.pods = counts.pods.saturating_add_signed(step);
        if running {
            counts.pods_running = counts.pods_running.saturating_add_signed(step);
        }
    }

    pub(super) fn count_waiting(&mut self, waiting: bool, step: i32) {
        if waiting {
            self.counts.pods_waiting = self.counts.pods_waiting.saturating_add_signed(step);
        }
    }

    pub(super) fn replace_node(&mut self, before: &mut NodeTotals, after: NodeTotals) {
        let counts = &mut self.counts;
        for (totals, sign) in [(&*before, -1_i32), (&after, 1)] {
            let step = |count: &mut u32, by: u32| {
                *count = if sign > 0 { *count + by } else { *count - by };
            };
            step(&mut counts.nodes, totals.known.into());
            step(&mut counts.nodes_ready, totals.ready.into());
            step(&mut counts.gpu_nodes, (totals.gpus > 0).into());
            step(&mut counts.gpus, totals.gpus);
            step(&mut counts.gpus_healthy, totals.healthy);
            for (model, by) in &totals.models {
                step(self.models.entry(*model).or_default(), *by);
            }
            let step = |count: &mut u64, by: u64| {
                *count = if sign > 0 { *count + by } else { *count - by };
            };
            step(&mut counts.memory_mib, totals.memory_mib);
            step(&mut counts.memory_used_mib, totals.memory_used_mib);
        }
        self.models.retain(|_, count| *count > 0);
        *before = after;
    }

    pub(super) fn mark(&self, live: &mut Live) {
        self.models.keys().for_each(|model| live.mark(*model));
    }

    pub(super) fn render(&self, strings: &Strings) -> Cluster {
        let mut counts = self.counts.clone();
        let models = self.models.iter();
        counts.models = models
            .map(|(model, count)| (strings.get(*model).to_owned(), *count))
            .collect();
        Cluster {
            kubernetes_version: self.version.clone(),
            distribution: self.distribution.clone(),
            counts,
            components: self.components.clone(),
            sources: self.sources.values().cloned().collect(),
            ..Cluster::default()
        }
    }
}

impl Index {
    /// The state of a source, if it has one yet.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.cluster.sources.get(name)
    }

    pub(super) fn put_source(&mut self, source: Source) {
        let known = self.cluster.sources.get_mut(&source.name);
        match known {
            // The time is when the state began.
            Some(known)
                if (known.state, &known.code, &known.detail)
                    == (source.state, &source.code, &source.detail) => {}
            _ => {
                self.cluster.sources.insert(source.name.clone(), source);
                self.dirty.cluster = true;
            }
        }
    }

    pub(super) fn put_components(&mut self, components: Vec<Component>) {
        self.dirty.cluster |= self.cluster.components != components;
        self.cluster.components = components;
    }

    pub(super) fn put_platform(&mut self, version: Option<String>, distribution: Option<String>) {
        let cluster = &mut self.cluster;
        cluster.version = version.or_else(|| cluster.version.take());
        cluster.distribution = distribution.or_else(|| cluster.distribution.take());
        self.dirty.cluster = true;
    }

    pub(super) fn settle_cluster(&mut self) {
        let cluster = self.cluster.render(&self.strings);
        // Not packed: there is one, and an enum with content is in it.
        let json = serde_json::to_vec(&cluster).expect("a record is JSON");
        self.put_record(Kind::Cluster, "cluster", 0, &String::from_utf8_lossy(&json));
    }
}
