//! Every pod among the fixtures, with what it has to give. The values are taken from what is known of the formats and of each
//! fixture's origin, not from what the parser makes of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::*;
use crate::inventory::Allocation;
use crate::lifecycle::{Binding, seconds};
use crate::vendor::Scheme;

/// File, and a line for each allocation:
/// `container how node/uuid vendor memory,cores asked=count,memory,percent,cores profile state held source`; `-` is none, `?` unknown.
const EXPECTED: &[(&str, &[&str])] = &[
    (
        "amd",
        &["c requests amd-1/GPU-0 amd 98304,152 asked=1,98304,-,152 - active held hami"],
    ),
    (
        "ascend-910a-test",
        &["c requests ascend-test/device-0 ascend 8738,1 asked=1,8738,-,- vir08 allocating held hami"],
    ),
    (
        "ascend-hard-slice",
        &[
            "npu requests ascend-240/C43DA66C-012042DB-63088372-CC500485-104301E3 ascend 8192,0 asked=1,8192,-,- vir05_1c_8g active held hami",
        ],
    ),
    (
        // The record says 0 cores; the share of the cores is in the vendor's own JSON only.
        "ascend-soft-slice",
        &[
            "npu requests ascend-240/C43DA66C-012042DB-63088372-CC500485-104301E3 ascend 8192,40 asked=1,8192,-,40 - active held hami",
        ],
    ),
    (
        // The fourth field 3 is a mask: cores 0 and 1. Memory is not counted.
        "aws-neuron",
        &[
            "c requests ip-10-0-1-5.ec2.internal/ip-10-0-1-5.ec2.internal-AWSNeuron-0 aws-neuron -,2 asked=-,-,-,2 - active held hami",
        ],
    ),
    (
        "biren",
        &["c requests biren-1/7-0 biren 32768,100 asked=1,-,-,- - active held hami"],
    ),
    (
        "dcu-multi-device-multi-container",
        &[
            "a requests dcu-1/GPU-962d9630-a4ef-dc16-a50d-111111111111 hygon 1000,10 asked=2,1000,-,- - active held hami",
            "a requests dcu-1/GPU-962d9630-a4ef-dc16-a50d-222222222222 hygon 2000,20 asked=2,1000,-,- - active held hami",
            "b requests dcu-1/GPU-962d9630-a4ef-dc16-a50d-111111111111 hygon 1000,10 asked=1,-,-,- - active held hami",
        ],
    ),
    // What it has is in its claim.
    ("dra-pod", &[]),
    (
        "kunlun-xpu",
        &[
            "c requests kunlun-1/kunlun-1-kunlun-0 kunlun 98304,100 asked=2,-,-,- - active held hami",
            "c requests kunlun-1/kunlun-1-kunlun-1 kunlun 98304,100 asked=2,-,-,- - active held hami",
        ],
    ),
    (
        "legacy-4pd",
        &[
            "c requests node1/GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448 nvidia 3000,30 asked=1,3000,-,30 - active held hami",
        ],
    ),
    // Three fields: which is missing cannot be told.
    (
        "malformed-allocated",
        &["c requests node1/uuid nvidia ?,? asked=1,-,-,- - active held hami"],
    ),
    (
        "mlu",
        &["c requests mlu-1/device-0 cambricon 256000,1 asked=1,256000,-,1 - active held hami"],
    ),
    (
        "mthreads",
        &["c requests mt-1/mt-1-mthreads-0 mthreads 16384,4 asked=1,16384,-,4 - active held hami"],
    ),
    (
        "nvidia-allocating-real",
        &[
            "ubuntu requests ip-172-31-66-31.ap-northeast-1.compute.internal/GPU-20a49140-1450-cb7b-a9e5-7f7409ae50f7 nvidia 3072,0 asked=1,3072,-,- - allocating held hami",
        ],
    ),
    (
        "nvidia-cores-zero-shared",
        &[
            "c requests node-1/GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448 nvidia 3000,0 asked=1,3000,-,- - active held hami",
        ],
    ),
    (
        "nvidia-default-scheduler-bypass",
        &["c - gpu-node-a/? nvidia ?,? asked=1,-,-,- - unaccounted free devicePlugin"],
    ),
    (
        "nvidia-full-card",
        &[
            "mineru requests honglou/GPU-24aa6632-8f88-43ac-d286-0b7a65e1cee1 nvidia 24576,100 asked=1,-,-,- - active held hami",
        ],
    ),
    (
        "nvidia-gated-unscheduled",
        &["c - -/- nvidia -,- asked=1,4000,-,100 - pending free hami"],
    ),
    (
        "nvidia-mig-legacy-suffix",
        &[
            "hey requests sm02/GPU-9192ed3d-b840-cb99-dfe0-2212e49ee1ed nvidia 10240,0 asked=1,8000,-,- ? active held hami",
        ],
    ),
    (
        "nvidia-mig-v210-reserved",
        &["c requests node-mig/GPU-xxxxxxxx nvidia 9984,29 asked=1,8000,-,- 2g.10gb allocating held hami"],
    ),
    (
        "nvidia-single-success",
        &[
            "c requests k8s-node1/GPU-903ecef4-bb8d-d7fe-65e2-e327e6258e76 nvidia 500,5 asked=1,500,-,5 - active held hami",
        ],
    ),
    (
        "nvidia-succeeded-stale-annotation",
        &[
            "pytorch requests worker-a800-1/GPU-29d5fa0d-935b-2966-aff8-483a174d61d1 nvidia 1024,20 asked=1,1024,-,20 - stale free hami",
        ],
    ),
    (
        "nvidia-terminating",
        &[
            "c requests worker-a800-1/GPU-29d5fa0d-935b-2966-aff8-483a174d61d1 nvidia 1024,20 asked=1,1024,-,20 - terminating held hami",
        ],
    ),
    (
        "nvidia-two-containers-allocating",
        &[
            "a requests node67-4v100/GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448 nvidia 3000,0 asked=1,3000,-,- - allocating held hami",
            "b requests node67-4v100/GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448 nvidia 5000,0 asked=1,5000,-,- - allocating held hami",
        ],
    ),
    (
        "nvidia-two-containers-half-allocated",
        &[
            "a requests node67-4v100/GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448 nvidia 3000,0 asked=1,3000,-,- - allocating held hami",
            "b requests node67-4v100/GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448 nvidia 5000,0 asked=1,5000,-,- - allocating held hami",
        ],
    ),
    (
        "nvidia-unexpected-admission-error",
        &[
            "ubuntu requests node1/GPU-20a49140-1450-cb7b-a9e5-7f7409ae50f7 nvidia 3072,0 asked=1,3072,-,- - stale free hami",
        ],
    ),
    (
        "nvidia-v210-init-slots-dropped",
        &[
            "model requests gpu-node-a/GPU-7023a4c2-4128-840d-2b86-ab87d8bf7f47 nvidia 4000,50 asked=1,4000,-,50 - active held hami",
        ],
    ),
    (
        "nvidia-v24-trailing-empty-slot",
        &[
            "a requests node1/GPU-962d9630-a4ef-dc16-a50d-b2effb90239d nvidia 1000,10 asked=1,1000,-,10 - active held hami",
            "b requests node1/GPU-962d9630-a4ef-dc16-a50d-b2effb90239d nvidia 2000,20 asked=1,2000,-,20 - active held hami",
        ],
    ),
    (
        "nvidia-v29-init-first-slot",
        &[
            "vllm requests honglou/GPU-9b9030a3-d81f-7d9f-5d2b-fd98cdc57b2d nvidia 6144,30 asked=1,6144,-,30 - active held hami",
        ],
    ),
    (
        "nvidia-v29-two-inits-two-gpus",
        &[
            "main requests h200-1/GPU-936619fc-f6a1-74a8-0bc6-ecf6b3269313 nvidia 143771,100 asked=2,-,-,- - active held hami",
            "main requests h200-1/GPU-30f90f49-43ab-0a78-bf5c-93ed41ef2da2 nvidia 143771,100 asked=2,-,-,- - active held hami",
        ],
    ),
    // Memory and cores are not counted: a card is given out whole.
    (
        "vastai",
        &["c requests va-1/7-0 vastai -,- asked=1,-,-,- - active held hami"],
    ),
];

/// Reasons of findings; other fixtures have none.
const FINDINGS: &[(&str, &[&str])] = &[("malformed-allocated", &["unparsable-allocation"])];

fn folder() -> String {
    format!("{}/../tests/fixtures/pods", env!("CARGO_MANIFEST_DIR"))
}

fn pod(name: &str) -> Pod {
    let text = std::fs::read_to_string(format!("{}/{name}.json", folder())).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A minute after the devices were allocated.
fn now(pod: &Pod) -> Timestamp {
    let time = [Scheme::Hami, Scheme::FourPd]
        .into_iter()
        .find_map(|scheme| Binding::of(pod, scheme).allocated_at.and_then(seconds));
    time.unwrap_or(Timestamp::UNIX_EPOCH) + jiff::SignedDuration::from_mins(1)
}

fn line(own: &Allocation) -> String {
    let text = |field: &str, value: Option<String>| match value {
        Some(value) => {
            assert!(
                !own.unknown.contains_key(field),
                "{field} is both known and unknown"
            );
            value
        }
        None if own.unknown.contains_key(field) => "?".to_owned(),
        None => "-".to_owned(),
    };
    let mut line = text("container", own.container.clone());
    let asked = &own.requested;
    write!(
        line,
        " {} {}/{} {} {},{} asked={},{},{},{} {} {} {} {}",
        word(own.mapping),
        text("node", own.node.clone()),
        text("uuid", own.uuid.clone()),
        own.vendor,
        text("memoryMib", own.memory_mib.map(|mib| mib.to_string())),
        text("cores", own.cores.map(|cores| cores.to_string())),
        text("requested.count", asked.count.map(|count| count.to_string())),
        text("requested.memoryMib", asked.memory_mib.map(|mib| mib.to_string())),
        text(
            "requested.memoryPercent",
            asked.memory_percent.map(|percent| percent.to_string())
        ),
        text("requested.cores", asked.cores.map(|cores| cores.to_string())),
        text("profile", own.profile.clone()),
        word(own.state),
        if own.held { "held" } else { "free" },
        own.source.as_deref().unwrap_or("-"),
    )
    .unwrap();
    line
}

/// A variant as it is called in JSON.
fn word<T: serde::Serialize>(value: Option<T>) -> String {
    let json = value.map(|value| serde_json::to_value(value).unwrap());
    json.map_or_else(|| "-".to_owned(), |json| json.as_str().unwrap().to_owned())
}

#[test]
fn every_pod() {
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let listed: BTreeSet<String> = EXPECTED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, listed, "every fixture is in the table");
    for (name, expected) in EXPECTED {
        let pod = pod(name);
        let facts = read(&pod, &ResourceNames::default(), now(&pod));
        let lines: Vec<String> = facts.allocations.iter().map(line).collect();
        assert_eq!(lines, *expected, "{name}");
        assert_eq!(facts.asks, !expected.is_empty(), "{name}");
        for own in &facts.allocations {
            let device = own.node.as_ref().zip(own.uuid.as_ref());
            assert_eq!(
                own.gpu,
                device.map(|(node, uuid)| format!("{node}/{uuid}")),
                "{name}"
            );
            assert_eq!(own.workload.as_ref().unwrap().kind, "Pod", "{name}");
            assert!(own.since.is_some(), "{name}");
        }
        let told = FINDINGS
            .iter()
            .find(|(file, _)| file == name)
            .map_or(&[][..], |(_, told)| told);
        let reasons: Vec<&str> = facts
            .findings
            .iter()
            .map(|finding| finding.reason.as_ref())
            .collect();
        assert_eq!(reasons, told, "{name}");
    }
}

#[test]
fn more_of_some_pods() {
    let first = |name: &str| {
        let pod = pod(name);
        read(&pod, &ResourceNames::default(), now(&pod)).allocations[0].clone()
    };
    let gated = first("nvidia-gated-unscheduled");
    assert_eq!(
        gated.reason.as_deref(),
        Some(
            "Unschedulable: 0/2 nodes are available: 1 CardInsufficientCore(gpu-node-a), 1 node unregistered."
        )
    );
    let chosen = first("nvidia-single-success");
    assert_eq!(chosen.requested.constraints["nvidia.com/use-gputype"], "4090");
    let mig = first("nvidia-mig-legacy-suffix");
    assert_eq!(
        (
            mig.facts["migTemplate"].as_str(),
            mig.facts["migPosition"].as_str()
        ),
        ("1", "0")
    );
    let reserved = first("nvidia-mig-v210-reserved");
    assert_eq!(
        (
            reserved.facts["migStart"].as_str(),
            reserved.facts["migSize"].as_str()
        ),
        ("2", "2")
    );
    assert_eq!(first("amd").facts["model"], "AMD Instinct MI300X VF");
    assert_eq!(first("aws-neuron").facts["coreMask"], "3");
    assert_eq!(first("mlu").facts["dsmluProfile"], "0_1_1000");
    assert_eq!(first("kunlun-xpu").facts["deviceIndex"], "0,1");
    assert_eq!(
        first("ascend-soft-slice").requested.constraints["huawei.com/vnpu-mode"],
        "hami-core"
    );
    assert_eq!(
        first("nvidia-unexpected-admission-error").phase.as_deref(),
        Some("Failed")
    );
}

#[test]
fn a_pod_that_waits_too_long_is_stuck() {
    let pod = pod("nvidia-allocating-real");
    let later = now(&pod) + jiff::SignedDuration::from_mins(5);
    let facts = read(&pod, &ResourceNames::default(), later);
    assert_eq!(
        facts.allocations[0].state,
        Some(crate::inventory::AllocationState::Stuck)
    );
    assert!(facts.allocations[0].held, "the scheduler counts it still");
    assert_eq!(facts.findings[0].reason, "stuck-allocation");
}
