//! The columns of a record.

use kantaloupe_gpu::inventory::{
    Allocation, AllocationState, Finding, FindingLevel, Gpu, Node, Owner, Record, Workload,
};
use serde::Serialize;

use crate::store::inventory::Facets;

/// Bytes of the text that searches look in. Names, ids and models are well below; a record cannot make searching slow.
const MAX_SEARCH: usize = 1024;

/// The columns of a record.
pub(super) fn of(record: &Record) -> Facets {
    match record {
        Record::Cluster(_) => Facets::default(),
        Record::Node(node) => of_node(node),
        Record::Gpu(gpu) => of_gpu(gpu),
        Record::Allocation(allocation) => of_allocation(allocation),
        Record::Workload(workload) => of_workload(workload),
        Record::Finding(finding) => of_finding(finding),
        Record::GpuUsage(usage) => Facets {
            gpu: Some(usage.gpu.clone()),
            utilization: finite(usage.utilization),
            memory_used: figure(usage.memory_used_mib),
            since: usage.at.map(jiff::Timestamp::as_second),
            ..Facets::default()
        },
        Record::ContainerUsage(usage) => Facets {
            namespace: Some(usage.namespace.clone()),
            name: Some(usage.pod.clone()),
            gpu: Some(usage.uuid.clone()),
            utilization: finite(usage.utilization),
            memory_used: figure(usage.memory_used_mib),
            since: usage.at.map(jiff::Timestamp::as_second),
            ..Facets::default()
        },
        Record::Check(outcome) => Facets {
            code: Some(outcome.code.to_string()),
            state: word(&outcome.verdict),
            severity: Some(severity(outcome.verdict)),
            search: search([outcome.code.as_ref(), &outcome.message]),
            ..Facets::default()
        },
    }
}

fn of_node(node: &Node) -> Facets {
    let mut texts = vec![node.name.as_str()];
    texts.extend(
        node.addresses
            .iter()
            .chain(&node.vendors)
            .chain(&node.roles)
            .map(String::as_str),
    );
    texts.extend(
        [
            &node.os_image,
            &node.kernel_version,
            &node.instance_type,
            &node.zone,
            &node.driver_version,
        ]
        .into_iter()
        .flatten()
        .map(String::as_str),
    );
    if let Some(runtime) = &node.runtime {
        texts.extend([runtime.name.as_str(), &runtime.version]);
    }
    Facets {
        node: Some(node.name.clone()),
        name: Some(node.name.clone()),
        vendor: listed(&node.vendors),
        healthy: node.ready,
        cordoned: Some(!node.schedulable),
        memory: figure(node.memory_mib),
        slots: Some(node.gpus.into()),
        pods: Some(node.pods.into()),
        since: node.created_at.map(jiff::Timestamp::as_second),
        search: search(texts),
        ..Facets::default()
    }
}

fn of_gpu(gpu: &Gpu) -> Facets {
    Facets {
        node: Some(gpu.node.clone()),
        name: Some(gpu.uuid.clone()),
        vendor: Some(gpu.vendor.clone()),
        model: gpu.model.clone(),
        mode: gpu.mode.and_then(|mode| word(&mode)),
        gpu: Some(gpu.uuid.clone()),
        healthy: gpu.healthy,
        cordoned: Some(gpu.cordoned),
        stale: Some(gpu.stale),
        memory: figure(gpu.capacity.memory_mib),
        memory_used: figure(Some(gpu.used.memory_mib)),
        cores: gpu.capacity.cores.map(i64::from),
        cores_used: Some(gpu.used.cores.into()),
        slots: gpu.capacity.slots.map(i64::from),
        slots_used: Some(gpu.used.slots.into()),
        usage_id: Some(gpu.id.clone()),
        search: search([
            gpu.node.as_str(),
            &gpu.uuid,
            &gpu.vendor,
            gpu.model.as_deref().unwrap_or_default(),
        ]),
        ..Facets::default()
    }
}

fn of_allocation(allocation: &Allocation) -> Facets {
    let container = allocation.container.as_deref().unwrap_or_default();
    let uuid = allocation.uuid.as_deref().unwrap_or_default();
    let workload = allocation.workload.as_ref().map(owner);
    let usage_id = (!container.is_empty() && !uuid.is_empty())
        .then(|| format!("{}/{}/{container}/{uuid}", allocation.namespace, allocation.pod));
    Facets {
        node: allocation.node.clone(),
        namespace: Some(allocation.namespace.clone()),
        name: Some(allocation.pod.clone()),
        vendor: Some(allocation.vendor.clone()),
        mode: allocation.profile.clone(),
        state: allocation.state.and_then(|state| word(&state)),
        severity: allocation.state.map(trouble),
        gpu: allocation.uuid.clone(),
        held: Some(allocation.held),
        memory: figure(allocation.memory_mib),
        cores: allocation.cores.map(i64::from),
        since: allocation.since.map(jiff::Timestamp::as_second),
        search: search([
            allocation.namespace.as_str(),
            &allocation.pod,
            container,
            allocation.node.as_deref().unwrap_or_default(),
            uuid,
            workload.as_deref().unwrap_or_default(),
        ]),
        workload,
        usage_id,
        ..Facets::default()
    }
}

fn of_workload(workload: &Workload) -> Facets {
    let owner = owner(&workload.owner);
    Facets {
        namespace: Some(workload.namespace.clone()),
        name: Some(workload.owner.name.clone()),
        vendor: listed(&workload.vendors),
        search: search([workload.namespace.as_str(), &owner]),
        workload: Some(owner),
        memory: figure(Some(workload.memory_mib)),
        cores: Some(workload.cores.into()),
        slots: Some(workload.gpus.into()),
        pods: Some(workload.pods.into()),
        ..Facets::default()
    }
}

fn of_finding(finding: &Finding) -> Facets {
    let object = &finding.object;
    Facets {
        node: (object.kind == "Node").then(|| object.name.clone()),
        namespace: object.namespace.clone(),
        name: Some(object.name.clone()),
        state: word(&finding.level),
        severity: Some(match finding.level {
            FindingLevel::Error => 0,
            FindingLevel::Warning => 1,
            FindingLevel::Info => 2,
        }),
        code: Some(finding.code.to_string()),
        since: finding.since.map(jiff::Timestamp::as_second),
        search: search([
            finding.code.as_ref(),
            &finding.reason,
            object.namespace.as_deref().unwrap_or_default(),
            &object.name,
            &finding.message,
        ]),
        ..Facets::default()
    }
}

fn owner(owner: &Owner) -> String {
    format!("{}/{}", owner.kind, owner.name)
}

/// The worst first.
const fn trouble(state: AllocationState) -> i64 {
    match state {
        AllocationState::Stuck => 0,
        AllocationState::Unaccounted => 1,
        AllocationState::Stale => 2,
        AllocationState::Pending => 3,
        AllocationState::Allocating => 4,
        AllocationState::Terminating => 5,
        AllocationState::Active => 6,
        AllocationState::Finished => 7,
    }
}

const fn severity(verdict: kantaloupe_checks::Verdict) -> i64 {
    use kantaloupe_checks::Verdict;
    match verdict {
        Verdict::Fail => 0,
        Verdict::Warn => 1,
        Verdict::Unknown => 2,
        Verdict::Skip => 3,
        Verdict::Pass => 4,
    }
}

/// The word that stands for a variant in JSON.
fn word(variant: &impl Serialize) -> Option<String> {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

fn listed(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| format!(",{},", words.join(",")))
}

fn figure(value: Option<u64>) -> Option<i64> {
    value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))
}

/// SQLite takes NaN for NULL; here it is so before.
fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// Lower case, one space between the parts.
fn search<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(part.chars().take(MAX_SEARCH).map(|c| c.to_ascii_lowercase()));
        if text.len() >= MAX_SEARCH {
            break;
        }
    }
    let mut end = text.len().min(MAX_SEARCH);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_look_in_a_short_lower_case_text() {
        assert_eq!(search(["GPU-Ab", "", "上海"]), "gpu-ab 上海");
        let long = "海".repeat(MAX_SEARCH);
        let text = search([long.as_str(), "x"]);
        assert!(text.len() <= MAX_SEARCH && text.chars().all(|c| c == '海'));
    }

    #[test]
    fn live_use_belongs_to_one_container_on_one_device() {
        let mut allocation = Allocation {
            namespace: "ml".to_owned(),
            pod: "train-0".to_owned(),
            container: Some("main".to_owned()),
            uuid: Some("GPU-1".to_owned()),
            state: Some(AllocationState::Active),
            ..Allocation::default()
        };
        let facets = of(&Record::Allocation(Box::new(allocation.clone())));
        assert_eq!(facets.usage_id.as_deref(), Some("ml/train-0/main/GPU-1"));
        assert_eq!(facets.state.as_deref(), Some("active"));
        allocation.container = None;
        assert_eq!(of(&Record::Allocation(Box::new(allocation))).usage_id, None);
    }
}
