//! Findings of the cross-checks: what two objects tell that cannot both be true, or should not be.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::inventory::{Allocation, Finding, FindingLevel, Gpu, ObjectRef};

/// Registration of devices.
const REGISTRATION: &str = "KTA-HAMI-003";
/// Allocations.
const ALLOCATION: &str = "KTA-HAMI-004";

/// Why a record holds nothing although its pod has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stale {
    /// The node that it names is not in the cluster.
    NodeGone,
    /// The node registers no such device.
    NotRegistered,
    /// The pod runs on this node, not on the recorded one.
    RunsElsewhere(String),
}

/// A record that holds nothing.
pub(crate) fn stale(allocation: &Allocation, why: Stale) -> Finding {
    let node = allocation.node.as_deref().unwrap_or("?");
    let uuid = allocation.uuid.as_deref().unwrap_or("?");
    let mut evidence = device(allocation);
    let (reason, what) = match why {
        Stale::NodeGone => ("node-gone", format!("node {node}, which is not in the cluster")),
        Stale::NotRegistered => (
            "device-not-registered",
            format!("device {uuid}, which node {node} does not register"),
        ),
        Stale::RunsElsewhere(real) => {
            let what = format!("node {node}, but the pod is on {real}");
            evidence.insert("runsOn".to_owned(), real);
            ("runs-elsewhere", what)
        }
    };
    Finding {
        code: ALLOCATION.into(),
        reason: reason.into(),
        level: FindingLevel::Warning,
        object: pod(allocation),
        message: format!("The allocation of the pod names {what}; it is not counted."),
        evidence,
        since: allocation.since,
    }
}

/// A pod that runs with a device that no record names.
pub(crate) fn unaccounted(allocation: &Allocation) -> Finding {
    let node = allocation.node.as_deref().unwrap_or("?");
    Finding {
        code: ALLOCATION.into(),
        reason: "unaccounted".into(),
        level: FindingLevel::Warning,
        object: pod(allocation),
        message: format!(
            "The pod asks for {} devices and is on node {node}, where HAMi shares them, but has no allocation: it went past HAMi's \
             scheduler, and what it uses is not counted.",
            allocation.vendor
        ),
        evidence: device(allocation),
        since: allocation.since,
    }
}

/// A pod whose device plugin does not hand out what was allocated.
pub(crate) fn stuck(allocation: &Allocation, now: Timestamp) -> Finding {
    let mut evidence = device(allocation);
    let since = allocation.since.filter(|since| *since <= now);
    if let Some(since) = since {
        evidence.insert("allocatingSince".to_owned(), since.to_string());
    }
    Finding {
        code: ALLOCATION.into(),
        reason: "stuck-allocating".into(),
        level: FindingLevel::Warning,
        object: pod(allocation),
        message: "The pod was given devices more than five minutes ago, but the device plugin has not handed them out."
            .to_owned(),
        evidence,
        since: allocation.since,
    }
}

/// A device of which more is held than it has. Memory that is registered larger than built in is no reason.
pub(crate) fn oversubscribed(gpu: &Gpu) -> Option<Finding> {
    let (used, capacity) = (&gpu.used, &gpu.capacity);
    let figures = [
        ("slots", u64::from(used.slots), capacity.slots.map(u64::from)),
        ("memoryMib", used.memory_mib, capacity.memory_mib),
        ("cores", u64::from(used.cores), capacity.cores.map(u64::from)),
    ];
    let over = figures.into_iter();
    let over = over.filter_map(|(name, used, capacity)| {
        // Capacity 0 is one that the vendor does not tell.
        capacity
            .filter(|capacity| *capacity > 0 && used > *capacity)
            .map(|capacity| (name, used, capacity))
    });
    let over: Vec<_> = over.collect();
    if over.is_empty() {
        return None;
    }
    let list = over
        .iter()
        .map(|(name, used, capacity)| format!("{name} {used} of {capacity}"));
    let message = format!(
        "More of the device is allocated than it has: {}.",
        list.collect::<Vec<_>>().join(", ")
    );
    let evidence = over.iter().flat_map(|(name, used, capacity)| {
        [
            (format!("{name}.used"), used.to_string()),
            (format!("{name}.capacity"), capacity.to_string()),
        ]
    });
    Some(Finding {
        code: ALLOCATION.into(),
        reason: "oversubscribed".into(),
        level: FindingLevel::Error,
        object: device_ref(gpu),
        message,
        evidence: evidence.collect(),
        since: None,
    })
}

/// A device that several nodes register.
pub(crate) fn duplicate(gpu: &Gpu, nodes: Vec<&str>) -> Option<Finding> {
    let others: Vec<&str> = nodes.into_iter().filter(|node| *node != gpu.node).collect();
    if others.is_empty() {
        return None;
    }
    Some(Finding {
        code: REGISTRATION.into(),
        reason: "duplicate-device".into(),
        level: FindingLevel::Error,
        object: device_ref(gpu),
        message: format!(
            "The device {} is registered by node {} and by {}; a device is in one node.",
            gpu.uuid,
            gpu.node,
            others.join(", ")
        ),
        evidence: BTreeMap::from([("nodes".to_owned(), others.join(","))]),
        since: None,
    })
}

fn device(allocation: &Allocation) -> BTreeMap<String, String> {
    let values = [("node", &allocation.node), ("uuid", &allocation.uuid)];
    let values = values.into_iter();
    values
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
        .collect()
}

fn pod(allocation: &Allocation) -> ObjectRef {
    ObjectRef {
        kind: "Pod".to_owned(),
        namespace: Some(allocation.namespace.clone()),
        name: allocation.pod.clone(),
    }
}

fn device_ref(gpu: &Gpu) -> ObjectRef {
    ObjectRef {
        kind: "Gpu".to_owned(),
        namespace: None,
        name: gpu.id.clone(),
    }
}
