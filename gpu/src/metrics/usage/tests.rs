use proptest::prelude::*;

use super::*;
use crate::{
    inventory::{Capacity, Gpu, Mode},
    metrics::{answer, text},
};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/metrics/", $name))
    };
}

const A800: &str = "GPU-066f734b-226c-30ba-4c7b-8d0c3221093f";
const NOW: i64 = 1_769_155_230;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn gpu(node: &str, uuid: &str) -> Gpu {
    Gpu {
        id: format!("{node}/{uuid}"),
        uuid: uuid.to_owned(),
        node: node.to_owned(),
        index: Some(0),
        vendor: "nvidia".to_owned(),
        ..Gpu::default()
    }
}

fn vendor(vendor: &str, gpu: Gpu) -> Gpu {
    Gpu {
        vendor: vendor.to_owned(),
        ..gpu
    }
}

fn usage_at(gpus: &[Gpu], text: &str, now: Timestamp) -> Usage {
    let devices = Devices::new(gpus, []);
    let mut collector = Collector::new(&devices, now);
    let read = text::parse(text.as_bytes());
    assert_eq!(read.malformed, []);
    read.samples.iter().for_each(|sample| collector.add(sample));
    collector.finish()
}

fn usage(gpus: &[Gpu], text: &str) -> Usage {
    usage_at(gpus, text, now())
}

fn unknown_of(record: &GpuUsage) -> Vec<(&str, &str)> {
    record
        .unknown
        .iter()
        .map(|(field, code)| (&**field, &**code))
        .collect()
}

#[test]
fn monitor_2_9_gives_the_card_and_the_containers_share() {
    let usage = usage(&[gpu("n", A800)], fixture!("vgpumonitor-v29.prom"));
    let card = &usage.gpus[0];
    assert_eq!(
        (card.utilization, card.memory_used_mib),
        (Some(42.0), Some(482)),
        "505000000 bytes"
    );
    assert_eq!((card.temperature, card.power, card.xid), (None, None, None));
    let missing = [
        ("power", "KTA-MON-004"),
        ("temperature", "KTA-MON-004"),
        ("xid", "KTA-MON-004"),
    ];
    assert_eq!(unknown_of(card), missing);
    assert_eq!(card.source, ["hami"]);

    assert_eq!(usage.containers.len(), 1);
    let share = &usage.containers[0];
    assert_eq!(
        share.id(),
        format!("kai-zjldfiaddb/ccdeemaoeo/ubuntu-container/{A800}")
    );
    assert_eq!(share.utilization, Some(0.0), "an exporter's 0 is 0");
    assert_eq!(share.memory_used_mib, Some(3174), "3328180224 bytes");
    assert_eq!(share.memory_limit_mib, Some(4147), "4348444672 bytes");
    assert!(share.unknown.is_empty());
    assert_eq!(usage.seen.answering(Code::MON_005), 1);
    assert_eq!(usage.seen.answering(Code::MON_004), 0);
}

#[test]
fn older_names_say_the_same() {
    let old = fixture!("vgpumonitor-v29.prom")
        .replace("hami_host_gpu_utilization_ratio", "HostCoreUtilization")
        .replace("hami_host_gpu_memory_used_bytes", "HostGPUMemoryUsage")
        .replace("hami_vgpu_memory_used_bytes", "vGPU_device_memory_usage_in_bytes")
        .replace(
            "hami_vgpu_memory_limit_bytes",
            "vGPU_device_memory_limit_in_bytes",
        )
        .replace(
            "hami_container_device_utilization_ratio",
            "Device_utilization_desc_of_container",
        )
        .replace("device_uuid", "deviceuuid")
        .replace("namespace=", "podnamespace=")
        .replace("pod=", "podname=")
        .replace("container=", "ctrname=");
    let gpus = [gpu("n", A800)];
    let mut old = usage(&gpus, &old);
    let mut new = usage(&gpus, fixture!("vgpumonitor-v29.prom"));
    assert_eq!(old.gpus[0].source, ["hami-legacy"]);
    assert_eq!(old.containers[0].source, ["hami-legacy"]);
    assert_eq!(old.seen.answering(Code::MON_005), 1);
    for usage in [&mut old, &mut new] {
        usage.gpus[0].source.clear();
        usage.containers[0].source.clear();
        usage.seen = Seen::default();
    }
    assert_eq!(old, new);
}

#[test]
fn dcgm_with_either_hostname_says_nothing_of_pods() {
    let uuid = "GPU-8f1f4d06-07fd-27a7-52d5-e58aa060d256";
    let usage_of_t4 = usage(
        &[gpu("hami-workshop", uuid)],
        fixture!("dcgm-pod-mapped-hostname-lower.prom"),
    );
    let card = &usage_of_t4.gpus[0];
    assert_eq!((card.utilization, card.memory_used_mib), (Some(0.0), Some(0)));
    assert_eq!((card.temperature, card.power), (Some(43.0), Some(15.507)));
    assert_eq!(unknown_of(card), [("xid", "KTA-MON-004")]);
    assert_eq!(usage_of_t4.containers, [], "the card's use is not the pod's");

    let uuids = [
        "GPU-a6158b59-2c1e-1e63-0068-9178c4298abd",
        "GPU-8d5053b3-9280-7d1a-751b-4fd2fdd547c5",
    ];
    let gpus = uuids.map(|uuid| gpu("r6i3n0", uuid));
    let usage = usage(&gpus, fixture!("dcgm-default-hostname-capital.prom"));
    assert_eq!(usage.gpus[0].utilization, Some(0.0));
    assert_eq!(usage.gpus[1].utilization, None, "cut off in the source");
    assert_eq!(usage.gpus[1].unknown["utilization"], "KTA-MON-004");
}

#[test]
fn dcgms_mark_for_not_supported_is_no_value() {
    let uuids = [
        "GPU-74f7fe3b-48f2-6d8b-3cb4-e70426fb669c",
        "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52",
    ];
    let gpus = uuids.map(|uuid| gpu("n", uuid));
    let text = fixture!("dcgm-empty-pod-labels.prom");
    // In the fixture it is the memory's temperature, which is not read.
    let text = text.replace("DCGM_FI_DEV_MEMORY_TEMP", "DCGM_FI_DEV_GPU_TEMP");
    let usage_of_k80 = usage(&gpus, &text);
    assert_eq!(
        usage_of_k80.gpus[0].utilization,
        Some(0.0),
        "the exporter's pod name in Hostname matters not"
    );
    assert_eq!(usage_of_k80.gpus[1].temperature, None);
    assert_eq!(usage_of_k80.gpus[1].unknown["temperature"], "KTA-MON-004");
    assert_eq!(usage_of_k80.unregistered.1, 1, "GPU-f3a2185e is not registered");
    for mark in [
        "9223372036854775792",
        "2147483634",
        "140737488355330",
        "NaN",
        "+Inf",
        "-1",
    ] {
        let usage = usage(
            &gpus,
            &format!("DCGM_FI_DEV_FB_USED{{UUID=\"{}\"}} {mark}\n", uuids[0]),
        );
        assert_eq!(usage.gpus[0].memory_used_mib, None, "{mark}");
    }
}

#[test]
fn without_honor_labels_the_pod_is_in_exported_labels() {
    let devices = Devices::new(&[gpu("n", A800)], []);
    let mut collector = Collector::new(&devices, now());
    let answered = fixture!("api-query-vgpu-used-exported-labels.json").as_bytes();
    answer::read(answered, 10, &mut |sample| collector.add(sample)).unwrap();
    let usage = collector.finish();
    assert_eq!(usage.containers[0].id(), format!("day5-lab/webui-a1/app/{A800}"));
    assert_eq!(
        usage.containers[0].memory_used_mib,
        Some(1410),
        "1478624256 bytes"
    );
    assert_eq!(usage.containers[0].unknown["utilization"], "KTA-MON-005");
    assert_eq!(
        usage.containers[0].at.unwrap().as_millisecond(),
        1_769_155_200_123
    );

    let devices = Devices::new(&[gpu("p4-node", "GPU-ebe7c3f7-303d-558d-435e-99a160631fe4")], []);
    let mut collector = Collector::new(&devices, now());
    let answered = fixture!("api-query-dcgm-exported.json").as_bytes();
    answer::read(answered, 10, &mut |sample| collector.add(sample)).unwrap();
    let usage = collector.finish();
    assert_eq!(usage.gpus[0].utilization, Some(78.0));
    assert_eq!(usage.containers, []);
}

#[test]
fn npu_samples_have_times_of_their_own() {
    let vdie = "185011D4-21104518-A0C4ED94-14CC040A-56102003";
    let gpus = [vendor("ascend", gpu("npu-1", vdie))];
    let total = "npu_chip_info_hbm_used_memory{id=\"0\",vdie_id=\"185011D4-21104518-A0C4ED94-14CC040A-56102003\"} 2105 1613993498553\n";
    let text = format!("{}{total}", fixture!("npu-exporter.prom"));
    let at = Timestamp::from_millisecond(1_613_993_500_000).unwrap();
    let usage_then = usage_at(&gpus, &text, at);
    assert_eq!(usage_then.gpus[0].memory_used_mib, Some(2105));
    assert_eq!(usage_then.gpus[0].at.unwrap().as_millisecond(), 1_613_993_498_553);
    assert_eq!(usage_then.gpus[0].source, ["npu"]);
    assert_eq!(usage_then.gpus[0].unknown["utilization"], "KTA-MON-003");
    assert!(!usage_then.gpus[0].unknown.contains_key("xid"), "does not apply");

    // The same samples, years later.
    let usage = usage(&gpus, &text);
    assert_eq!(usage.gpus[0].memory_used_mib, None);
    assert_eq!(usage.seen.stale["npu_chip_info_hbm_used_memory"], 1);
}

#[test]
fn stale_samples_are_not_used_and_the_oldest_tells_the_age() {
    let gpus = [gpu("n", A800)];
    let line = |metric: &str, value: u32, age: i64| {
        format!("{metric}{{UUID=\"{A800}\"}} {value} {}\n", (NOW - age) * 1000)
    };
    let text = line("DCGM_FI_DEV_GPU_UTIL", 7, 119)
        + &line("DCGM_FI_DEV_FB_USED", 9, 30)
        + &line("DCGM_FI_DEV_GPU_TEMP", 40, 121);
    let usage = usage(&gpus, &text);
    let card = &usage.gpus[0];
    assert_eq!(
        (card.utilization, card.memory_used_mib, card.temperature),
        (Some(7.0), Some(9), None)
    );
    assert_eq!(card.at, Timestamp::from_second(NOW - 119).ok());
    let ahead = usage_at(&gpus, &line("DCGM_FI_DEV_GPU_UTIL", 7, -3600), now());
    assert_eq!(ahead.gpus[0].utilization, None);
}

#[test]
fn the_time_of_the_scrape_serves_where_samples_have_none() {
    let devices = Devices::new(&[gpu("n", A800)], []);
    let mut collector = Collector::new(&devices, now());
    collector.scraped("10.0.0.5:9394", 1_769_155_215.5);
    collector.scraped("10.0.0.5:9394", 1_769_155_210.0);
    collector.scraped("10.0.0.6:9394", 1_769_155_000.0);
    let line =
        |instance: &str| format!("HostCoreUtilization{{deviceuuid=\"{A800}\",instance=\"{instance}\"}} 5\n");
    let text = line("10.0.0.5:9394") + &line("10.0.0.6:9394");
    text::parse(text.as_bytes())
        .samples
        .iter()
        .for_each(|sample| collector.add(sample));
    let usage = collector.finish();
    assert_eq!(usage.gpus[0].at, Timestamp::from_second(1_769_155_210).ok());
    assert_eq!(
        (
            usage.seen.fresh["HostCoreUtilization"],
            usage.seen.stale["HostCoreUtilization"]
        ),
        (1, 1)
    );
}

#[test]
fn duplicates_are_one_by_their_largest_value() {
    let text = fixture!("vgpumonitor-v29.prom");
    let again = text
        .replace("} 42", "} 40")
        .replace("3.328180224e+09", "3.3e+09")
        .replace("zone=", "job=\"second\",zone=");
    let gpus = [gpu("n", A800)];
    let both = usage(&gpus, &format!("{text}{again}"));
    let once = usage(&gpus, text);
    assert_eq!(both.gpus, once.gpus);
    assert_eq!(both.containers, once.containers);
}

#[test]
fn dcgm_comes_before_hami_for_the_card() {
    let dcgm = |value: u32| format!("DCGM_FI_DEV_GPU_UTIL{{UUID=\"{A800}\"}} {value}\n");
    let hami = format!("hami_host_gpu_utilization_ratio{{device_uuid=\"{A800}\"}} 42\n");
    let gpus = [gpu("n", A800)];
    for text in [dcgm(40) + &hami, hami.clone() + &dcgm(40)] {
        let usage = usage(&gpus, &text);
        assert_eq!(usage.gpus[0].utilization, Some(40.0));
        assert_eq!(usage.gpus[0].source, ["dcgm"]);
    }
    let engine = format!("DCGM_FI_PROF_GR_ENGINE_ACTIVE{{UUID=\"{A800}\"}} 0.25\n");
    assert_eq!(
        usage(&gpus, &engine).gpus[0].utilization,
        Some(25.0),
        "old cards have no GPU_UTIL"
    );
    assert_eq!(
        usage(&gpus, &(engine + &dcgm(31))).gpus[0].utilization,
        Some(31.0)
    );
}

fn mig_series(name: &str, uuid: &str, id: u32, profile: &str, value: f64) -> String {
    format!("{name}{{UUID=\"{uuid}\",GPU_I_ID=\"{id}\",GPU_I_PROFILE=\"{profile}\"}} {value}\n")
}

#[test]
fn with_mig_the_instances_add_up_by_their_slices() {
    let uuid = "GPU-936619fc-f6a1-74a8-0bc6-ecf6b3269313";
    let active = "DCGM_FI_PROF_GR_ENGINE_ACTIVE";
    let text = mig_series(active, uuid, 1, "3g.20gb", 0.5)
        + &mig_series(active, uuid, 7, "2g.10gb", 1.0)
        + &mig_series("DCGM_FI_DEV_FB_USED", uuid, 1, "3g.20gb", 1000.0)
        + &mig_series("DCGM_FI_DEV_FB_USED", uuid, 7, "2g.10gb", 24.0)
        + &mig_series("DCGM_FI_DEV_GPU_TEMP", uuid, 1, "3g.20gb", 33.0)
        + &mig_series("DCGM_FI_DEV_GPU_TEMP", uuid, 7, "2g.10gb", 33.0)
        + &mig_series("DCGM_FI_DEV_GPU_UTIL", uuid, 7, "2g.10gb", 0.0)
        + &format!("HostCoreUtilization{{deviceuuid=\"{uuid}\"}} 0\n")
        + fixture!("vgpumonitor-v26-miginfo.prom");
    let gpus = [
        gpu("n", uuid),
        gpu("n", "GPU-30f90f49-43ab-0a78-bf5c-93ed41ef2da2"),
    ];
    let usage_of_two = usage(&gpus, &text);
    let card = &usage_of_two.gpus[0];
    assert!(
        (card.utilization.unwrap() - 100.0 * (0.5 * 3.0 + 2.0) / 7.0).abs() < 1e-9,
        "{card:?}"
    );
    assert_eq!((card.memory_used_mib, card.temperature), (Some(1024), Some(33.0)));

    let share = |pod: &str| {
        usage_of_two
            .containers
            .iter()
            .find(|share| share.pod == pod)
            .unwrap()
    };
    let mine = share("gpu-task-sharing-pod-1");
    assert!(
        (mine.utilization.unwrap() - 200.0 / 7.0).abs() < 1e-9,
        "of the card, as all shares are"
    );
    assert_eq!((mine.memory_used_mib, mine.memory_limit_mib), (Some(24), None));
    assert_eq!(mine.source, ["dcgm"]);
    assert!(mine.unknown.is_empty());
    let other = share("gpu-task-sharing-pod-2");
    assert_eq!(
        (other.utilization, &*other.unknown["utilization"]),
        (None, "KTA-MON-004")
    );

    let a30 = Gpu {
        model: Some("NVIDIA A30".to_owned()),
        ..gpu("n", uuid)
    };
    let usage = usage(&[a30], &mig_series(active, uuid, 1, "1g.6gb", 1.0));
    assert_eq!(usage.gpus[0].utilization, Some(25.0));
}

#[test]
fn a_card_with_mig_is_not_idle_because_nvml_says_0() {
    let card = Gpu {
        mode: Some(Mode::Mig),
        ..gpu("node-1", "GPU-parent")
    };
    let usage = usage(&[card], fixture!("vgpumonitor-v210-mig.prom"));
    assert_eq!(usage.gpus[0].utilization, None);
    assert_eq!(usage.gpus[0].unknown["utilization"], "KTA-MON-004");
    let share = &usage.containers[0];
    assert_eq!(share.id(), "default/mig-210/c/GPU-parent");
    assert_eq!(
        (share.utilization, &*share.unknown["memoryUsedMib"]),
        (None, "KTA-MON-004")
    );
}

#[test]
fn what_schedulers_have_given_out() {
    let v100 = "GPU-00552014-5c87-89ac-b1a6-7b53aa24b0ec";
    let usage_new = usage(&[gpu("aio-node67", v100)], fixture!("hami-scheduler-v210.prom"));
    let wanted = |gpu: &str, memory, cores| Scheduled {
        gpu: gpu.to_owned(),
        memory_mib: memory,
        cores,
    };
    assert_eq!(
        usage_new.scheduled,
        [wanted(&format!("aio-node67/{v100}"), Some(3072), Some(45))]
    );
    assert_eq!(usage_new.seen.answering(Code::MON_006), 2);
    assert_eq!(
        usage_new.gpus[0].utilization, None,
        "what is given out is not what is used"
    );

    // HAMi-DRA has the scheduler's names for other units.
    let usage = usage(&[gpu("node1", "uuid-1")], fixture!("hami-dra-monitor.prom"));
    assert_eq!(usage.scheduled, [wanted("node1/uuid-1", Some(8), Some(50))]);
}

#[test]
fn other_vendors_units() {
    let metax = vendor("metax", gpu("m", "m-metax-0"));
    let mlu = vendor("cambricon", gpu("c", "c-cambricon-mlu-0"));
    let dcu = vendor("hygon", gpu("d", "DCU-TSNB1"));
    let neuron = vendor(
        "aws-neuron",
        Gpu {
            capacity: Capacity {
                slots: Some(2),
                ..Capacity::default()
            },
            ..gpu("i", "i-AWSNeuron-0")
        },
    );
    let text = r#"mx_gpu_usage{uuid="x",deviceId="0",Hostname="m"} 12
mx_memory_used{uuid="x",deviceId="0",Hostname="m",type="vram"} 1048576
mx_memory_used{uuid="x",deviceId="0",Hostname="m",type="xtt"} 99999999
mx_board_power{uuid="x",deviceId="0",Hostname="m"} 65500
mlu_utilization{uuid="y",mlu="0",node="c"} 80
mlu_memory_used{uuid="y",mlu="0",node="c"} 2147483648
dcu_utilizationrate{device_id="TSNB1",minor_number="0",node="d"} 3
dcu_usedmemory_bytes{device_id="TSNB1",minor_number="0",node="d"} 1073741824
vdcu_usedmemory_bytes{device_id="TSNB1",minor_number="0",node="d",dcu_pod_namespace="ai",dcu_pod_name="p",container="c"} 1048576
neuroncore_utilization_ratio{neuroncore="0",node="i"} 0.5
neuroncore_utilization_ratio{neuroncore="1",node="i"} 0.25
"#;
    let usage = usage(&[metax, mlu, dcu, neuron], text);
    let figures: Vec<_> = usage
        .gpus
        .iter()
        .map(|usage| (usage.utilization, usage.memory_used_mib, usage.power))
        .collect();
    assert_eq!(
        figures,
        [
            (Some(12.0), Some(1024), Some(65.5)),
            (Some(80.0), Some(2048), None),
            (Some(3.0), Some(1024), None),
            (Some(37.5), None, None)
        ]
    );
    assert_eq!(usage.containers[0].id(), "ai/p/c/DCU-TSNB1");
    assert_eq!(usage.containers[0].memory_used_mib, Some(1));
    assert_eq!(usage.unregistered.1, 0);
}

#[test]
fn a_series_without_a_container_is_no_share() {
    let text = format!("hami_vgpu_memory_used_bytes{{device_uuid=\"{A800}\",namespace=\"monitoring\"}} 5\n");
    assert_eq!(usage(&[gpu("n", A800)], &text).containers, []);
}

#[test]
fn without_a_source_everything_is_unknown_with_its_code() {
    let record = unknown("n/GPU-1", "nvidia", "KTA-MON-001");
    assert_eq!(record.gpu, "n/GPU-1");
    assert!(record.unknown.values().all(|code| code == "KTA-MON-001"));
    assert_eq!((record.utilization, record.at), (None, None));
    // The same fields that a record names of which no metric speaks.
    for vendor in ["nvidia", "huawei"] {
        let device = Gpu {
            vendor: vendor.to_owned(),
            ..gpu("n", A800)
        };
        let fields: Vec<_> = unknown("n/GPU-1", vendor, "KTA-MON-001")
            .unknown
            .into_keys()
            .collect();
        let named: Vec<_> = usage(&[device], "").gpus[0].unknown.keys().cloned().collect();
        assert_eq!(fields, named);
    }
}

proptest! {
    /// Whatever exporters say, a record has a figure or names it, and no order or repetition of samples changes it.
    #[test]
    fn a_figure_is_there_or_named(
        lines in proptest::collection::vec((0..names::METRICS.len(), 0u8..3, 0u8..3, -2.0f64..1e6), 0..40),
    ) {
        let text: Vec<_> = lines.iter().map(|(row, card, instance, value)| {
            let metric = &names::METRICS[*row];
            let more = match metric.only {
                Some((label, value)) => format!(",{label}=\"{value}\""),
                None => String::new(),
            };
            let mig = if *instance > 0 { format!(",GPU_I_ID=\"{instance}\",GPU_I_PROFILE=\"1g.5gb\"") } else { String::new() };
            format!("{}{{UUID=\"GPU-{card}\",pod=\"p\",namespace=\"n\",container=\"c\"{more}{mig}}} {value}", metric.name)
        }).collect();
        let gpus = [gpu("n", "GPU-0"), gpu("n", "GPU-1")];
        let first = usage(&gpus, &text.join("\n"));
        for record in &first.gpus {
            let named = |field: &str| record.unknown.contains_key(field);
            prop_assert_eq!(record.utilization.is_none(), named("utilization"));
            prop_assert_eq!(record.memory_used_mib.is_none(), named("memoryUsedMib"));
            prop_assert_eq!(record.temperature.is_none(), named("temperature"));
            prop_assert_eq!(record.power.is_none(), named("power"));
            prop_assert_eq!(record.xid.is_none(), named("xid"));
            prop_assert!(record.utilization.is_none_or(|value| value >= 0.0));
        }
        let mut again = text.clone();
        again.reverse();
        again.extend(text);
        let second = usage(&gpus, &again.join("\n"));
        let about = |usage: &Usage| usage.containers.clone();
        prop_assert_eq!(about(&first), about(&second));
        for (one, two) in first.gpus.iter().zip(&second.gpus) {
            let sum = |usage: &GpuUsage| usage.utilization.unwrap_or(-1.0);
            prop_assert!((sum(one) - sum(two)).abs() < 1e-6 * sum(one).abs().max(1.0));
            prop_assert_eq!((one.memory_used_mib, one.temperature), (two.memory_used_mib, two.temperature));
        }
    }
}
