//! Every node among the fixtures against what it is documented to be. The expected values were written down from the grammars and the provenance
//! notes beside the fixtures, not taken from a run.

use std::collections::BTreeSet;

use super::*;

/// A device as it should be read.
#[derive(Debug, Clone, PartialEq)]
struct G {
    uuid: String,
    index: Option<u32>,
    vendor: &'static str,
    model: Option<&'static str>,
    mode: Option<Mode>,
    slots: Option<u32>,
    memory: Option<u64>,
    cores: Option<u32>,
    physical: Option<u64>,
    numa: Option<i32>,
    healthy: Option<bool>,
    stale: bool,
    cordoned: bool,
    source: GpuSource,
}

/// An NVIDIA device that HAMi registered and that works.
fn nvidia(uuid: &str, index: u32, model: &'static str, memory: u64) -> G {
    G {
        uuid: uuid.to_owned(),
        index: Some(index),
        vendor: "nvidia",
        model: Some(model),
        mode: Some(HamiCore),
        slots: Some(10),
        memory: Some(memory),
        cores: Some(100),
        physical: None,
        numa: Some(0),
        healthy: Some(true),
        stale: false,
        cordoned: false,
        source: Annotation,
    }
}

/// Devices that HAMi makes up from a node's capacity: the vendor does not say if they work.
fn implied(
    prefix: &str,
    count: u32,
    vendor: &'static str,
    mode: Mode,
    slots: u32,
    memory: Option<u64>,
    cores: u32,
) -> Vec<G> {
    (0..count)
        .map(|n| G {
            uuid: format!("{prefix}{n}"),
            index: Some(n),
            vendor,
            model: None,
            mode: Some(mode),
            slots: Some(slots),
            memory,
            cores: Some(cores),
            healthy: None,
            source: Capacity,
            ..nvidia("", 0, "", 0)
        })
        .collect()
}

struct Expected {
    file: &'static str,
    runtime: &'static str,
    driver: Option<&'static str>,
    enabled: bool,
    gpus: Vec<G>,
    findings: &'static [&'static str],
}

const CONTAINERD: &str = "containerd 1.7.24";
const NOT_REGISTERED: &str = "HAMI-003 not-registered";

fn node(file: &'static str, gpus: Vec<G>) -> Expected {
    Expected {
        file,
        runtime: CONTAINERD,
        driver: None,
        enabled: false,
        gpus,
        findings: &[],
    }
}

/// A node labelled `gpu=on` or the vendor's label.
fn labelled(file: &'static str, gpus: Vec<G>) -> Expected {
    Expected {
        enabled: true,
        ..node(file, gpus)
    }
}

fn table() -> Vec<Expected> {
    vec![
        node(
            "amd-v210",
            vec![G {
                vendor: "amd",
                // The registration has the vendor's word only; the label has the product.
                model: Some("AMD_Instinct_MI300X_VF"),
                mode: Some(Whole),
                slots: Some(1),
                physical: Some(8192),
                ..nvidia("GPU-0", 0, "", 8192)
            }],
        ),
        labelled(
            "ascend-910b4-hard-slice",
            vec![G {
                vendor: "ascend",
                mode: Some(Slice),
                slots: Some(4),
                cores: Some(20),
                ..nvidia(
                    "C43DA66C-012042DB-63088372-CC500485-104301E3",
                    0,
                    "Ascend910B4",
                    32768,
                )
            }],
        ),
        // 16 devices with 2 of 32 cores each. Memory is not counted.
        node(
            "aws-neuron",
            implied(
                "ip-10-0-1-5.ec2.internal-AWSNeuron-",
                16,
                "aws-neuron",
                Slice,
                2,
                None,
                2,
            ),
        ),
        // 800 cores are 8 cards; 1440 * 256 MiB * 100 / 800 for each.
        labelled(
            "cambricon-mlu-capacity",
            implied(
                "mlu-1-cambricon-mlu-",
                8,
                "cambricon",
                Slice,
                100,
                Some(46080),
                100,
            ),
        ),
        // 100 stands for all of a card, and not for MiB.
        node(
            "enflame-gcu-whole",
            implied("enflame-2-GCU-", 8, "enflame", Whole, 1, None, 100),
        ),
        Expected {
            findings: &[NOT_REGISTERED],
            ..labelled("gpu-on-but-not-registered", vec![])
        },
        labelled(
            "hygon-dcu-csv7-no-index",
            ["DCU-0", "DCU-1"]
                .map(|uuid| G {
                    vendor: "hygon",
                    index: None,
                    slots: Some(4),
                    ..nvidia(uuid, 0, "K100_AI", 65520)
                })
                .to_vec(),
        ),
        labelled(
            "hygon-dcu-csv9",
            [("DCU-MOCK-0", 0, Some(0)), ("DCU-MOCK-1", 1, Some(1))]
                .map(|(uuid, index, numa)| G {
                    vendor: "hygon",
                    slots: Some(2),
                    numa,
                    ..nvidia(uuid, index, "Z100L", 16384)
                })
                .to_vec(),
        ),
        node(
            "iluvatar-csv9",
            vec![G {
                vendor: "iluvatar",
                ..nvidia("GPU-ix-0", 0, "MR-V100", 32768)
            }],
        ),
        node("kunlun-xpu", {
            let mut gpus = implied("kunlun-1-kunlun-", 8, "kunlun", Whole, 100, Some(98304), 100);
            gpus.iter_mut().skip(4).for_each(|gpu| gpu.numa = Some(1));
            gpus
        }),
        labelled(
            "metax-gpu-topology",
            implied("metax-2-metax-", 8, "metax", Whole, 1, Some(65536), 100),
        ),
        // 16 sixteenths are one card; 96 * 512 MiB.
        node(
            "mthreads-capacity",
            implied("mt-1-mthreads-", 1, "mthreads", Slice, 100, Some(49152), 16),
        ),
        node("no-gpu-cpu-only", vec![]),
        Expected {
            runtime: "containerd 2.1.4-k3s1",
            driver: Some("615.71.09"),
            ..node(
                "nvidia-gpu-operator-only-no-hami",
                vec![G {
                    mode: Some(Whole),
                    slots: Some(1),
                    cores: None,
                    physical: Some(15360),
                    numa: None,
                    healthy: None,
                    source: Labels,
                    ..nvidia("hami-workshop-nvidia-0", 0, "Tesla-T4", 15360)
                }],
            )
        },
        Expected {
            findings: &[
                "GPU-005 unhealthy-device",
                "HAMI-003 unknown-cordon",
                "HAMI-004 leaked-lock",
            ],
            ..labelled(
                "nvidia-lock-cordon-score",
                vec![
                    G {
                        mode: None,
                        ..nvidia("GPU-0", 0, "Tesla P4", 8192)
                    },
                    G {
                        mode: None,
                        numa: Some(1),
                        healthy: Some(false),
                        cordoned: true,
                        ..nvidia("GPU-1", 1, "Tesla P4", 8192)
                    },
                ],
            )
        },
        // The kubelet is gone and so allocatable is as it was.
        labelled(
            "nvidia-notready-node",
            vec![G {
                healthy: Some(false),
                ..nvidia(
                    "GPU-995b8cf7-2da8-4410-1d54-0176dae35e47",
                    0,
                    "NVIDIA A800 80GB PCIe",
                    81920,
                )
            }],
        ),
        Expected {
            driver: Some("418.87.01"),
            findings: &[NOT_REGISTERED],
            ..labelled(
                "nvidia-old-driver-below-440",
                vec![G {
                    mode: None,
                    cores: None,
                    physical: Some(7611),
                    numa: None,
                    healthy: None,
                    source: Labels,
                    ..nvidia("old-driver-nvidia-0", 0, "Tesla-P4", 7611)
                }],
            )
        },
        Expected {
            driver: Some("550.144.03"),
            ..labelled(
                "nvidia-p4-driver-550-144-03",
                vec![G {
                    physical: Some(8192),
                    ..nvidia("GPU-ebe7c3f7-303d-558d-435e-99a160631fe4", 0, "Tesla P4", 7680)
                }],
            )
        },
        Expected {
            runtime: "docker 24.0.7",
            findings: &["HAMI-003 stale-registration", "HAMI-004 leaked-lock"],
            ..labelled(
                "nvidia-stale-requesting-allocatable0",
                vec![G {
                    healthy: Some(false),
                    stale: true,
                    ..nvidia(
                        "GPU-b7c4eb59-dd76-ca5a-8482-56fd796b0a75",
                        0,
                        "NVIDIA A100-PCIE-40GB",
                        40960,
                    )
                }],
            )
        },
        // The handshake is old and the node works. The labels are of a Tesla T4: they say nothing of the memory of an L40S.
        Expected {
            runtime: "containerd 2.1.4-k3s1",
            driver: Some("615.71.09"),
            ..labelled(
                "nvidia-v210-json-l40s-stale-requesting-healthy",
                vec![nvidia(
                    "GPU-4dc50575-f241-9f14-1e6e-ecb4a93c3299",
                    0,
                    "NVIDIA L40S",
                    46068,
                )],
            )
        },
        labelled(
            "nvidia-v210-json-mig-profiles",
            vec![G {
                mode: Some(Mig),
                slots: Some(7),
                physical: Some(40960),
                ..nvidia("GPU-0", 0, "A100-SXM4-40GB", 40960)
            }],
        ),
        labelled(
            "nvidia-v24-csv7-t4-requesting",
            vec![nvidia(
                "GPU-a02b30b8-5b20-131c-0e47-6bc99948e264",
                0,
                "Tesla T4",
                15360,
            )],
        ),
        Expected {
            runtime: "docker 20.10.17",
            ..labelled(
                "nvidia-v24-csv7-two-v100",
                [
                    "GPU-00552014-5c87-89ac-b1a6-7b53aa24b0ec",
                    "GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448",
                ]
                .map(|uuid| G {
                    index: None,
                    ..nvidia(uuid, 0, "Tesla V100-PCIE-32GB", 32768)
                })
                .to_vec(),
            )
        },
        Expected {
            runtime: "cri-o 1.28.6",
            ..labelled(
                "nvidia-v25-csv9-h100-hami-core",
                [
                    ("GPU-d5ce9128-646c-649e-3008-e1eaf764f229", 0),
                    ("GPU-c3699744-0b88-6a13-641d-4f12bed5c1e0", 6),
                    ("GPU-f33046e8-f8ce-e356-9bd5-dc371cd3440c", 7),
                ]
                .map(|(uuid, index)| nvidia(uuid, index, "NVIDIA H100 80GB HBM3", 81559))
                .to_vec(),
            )
        },
        labelled(
            "nvidia-v25-csv9-h100nvl-mig",
            vec![G {
                mode: Some(Mig),
                physical: Some(95830),
                ..nvidia(
                    "GPU-3ef99f5d-fe9f-a0cb-4eae-42f654a5f64d",
                    0,
                    "NVIDIA H100 NVL",
                    95830,
                )
            }],
        ),
        labelled(
            "nvidia-v27-csv9-gtx1050-topology-score",
            [
                ("GPU-c68a7b57-2e7c-82e7-5544-ba780116e140", 0),
                ("GPU-331e028c-15b8-e878-7c68-0c2d231b0932", 1),
            ]
            .map(|(uuid, index)| nvidia(uuid, index, "NVIDIA GeForce GTX 1050", 4096))
            .to_vec(),
        ),
        // The second has neither index (0) nor health (unhealthy).
        Expected {
            findings: &["GPU-005 unhealthy-device"],
            ..labelled(
                "nvidia-v28-json-devicepairscore",
                vec![
                    G {
                        numa: Some(1),
                        healthy: Some(false),
                        ..nvidia(
                            "GPU-df0a741a-2e3b-58f3-27fc-f4634535d0e8",
                            0,
                            "NVIDIA GeForce GTX 1080 Ti",
                            11264,
                        )
                    },
                    nvidia(
                        "GPU-04a90fc9-760b-01f8-ddbc-3552cc34a050",
                        1,
                        "NVIDIA GeForce GTX 1080 Ti",
                        11264,
                    ),
                ],
            )
        },
        node(
            "vastai",
            vec![G {
                vendor: "vastai",
                model: None,
                mode: Some(Whole),
                slots: Some(1),
                cores: None,
                ..nvidia("7-0", 0, "", 32768)
            }],
        ),
    ]
}

fn as_read(gpu: &Gpu, vendor: &'static str, model: Option<&'static str>) -> G {
    assert_eq!(gpu.vendor, vendor);
    assert_eq!(gpu.model.as_deref(), model);
    G {
        uuid: gpu.uuid.clone(),
        index: gpu.index,
        vendor,
        model,
        mode: gpu.mode,
        slots: gpu.capacity.slots,
        memory: gpu.capacity.memory_mib,
        cores: gpu.capacity.cores,
        physical: gpu.physical_memory_mib,
        numa: gpu.numa,
        healthy: gpu.healthy,
        stale: gpu.stale,
        cordoned: gpu.cordoned,
        source: gpu.source.unwrap(),
    }
}

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/nodes")
}

fn load(file: &str) -> serde_json::Value {
    let path = folder().join(format!("{file}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_node() {
    let table = table();
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    let expected: BTreeSet<String> = table.iter().map(|node| node.file.to_owned()).collect();
    assert_eq!(files, expected, "every file has expected values");
    for expected in table {
        let file = expected.file;
        let facts = read_json(load(file));
        let node = &facts.node;
        assert_eq!(node.ready, Some(file != "nvidia-notready-node"), "{file}");
        let runtime = node.runtime.as_ref().unwrap();
        assert_eq!(
            format!("{} {}", runtime.name, runtime.version),
            expected.runtime,
            "{file}"
        );
        assert_eq!(node.driver_version.as_deref(), expected.driver, "{file}");
        assert_eq!(node.hami_enabled, expected.enabled, "{file}");
        assert_eq!(node.gpus as usize, expected.gpus.len(), "{file}");
        assert_eq!(
            node.unknown.contains_key("driverVersion"),
            expected.driver.is_none() && !expected.gpus.is_empty(),
            "{file}"
        );
        assert_eq!(
            (node.cpu_millis, node.memory_mib),
            (Some(64_000), Some(257_672)),
            "{file}"
        );
        assert_eq!(node.addresses, ["10.0.0.10"], "{file}");
        assert!(node.schedulable, "{file}");
        let vendors: BTreeSet<_> = expected.gpus.iter().map(|gpu| gpu.vendor).collect();
        assert_eq!(node.vendors, vendors.into_iter().collect::<Vec<_>>(), "{file}");
        assert_eq!(reasons(&facts), expected.findings, "{file}: {:?}", facts.findings);
        assert_eq!(facts.gpus.len(), expected.gpus.len(), "{file}");
        for (gpu, expected) in facts.gpus.iter().zip(&expected.gpus) {
            assert_eq!(as_read(gpu, expected.vendor, expected.model), *expected, "{file}");
            assert_eq!(gpu.id, format!("{}/{}", node.name, gpu.uuid));
            assert_eq!(
                gpu.unhealthy_reason.is_some(),
                gpu.healthy == Some(false),
                "{file}"
            );
            for (field, none) in [
                ("model", gpu.model.is_none()),
                ("mode", gpu.mode.is_none()),
                ("index", gpu.index.is_none()),
                ("capacity.slots", gpu.capacity.slots.is_none()),
            ] {
                assert_eq!(
                    gpu.unknown.contains_key(field),
                    none,
                    "{file}: what is missing is named: {field}"
                );
            }
        }
    }
}

#[test]
fn more_of_some_nodes() {
    let lock = read_json(load("nvidia-lock-cordon-score"));
    assert_eq!(lock.gpus[0].facts["peerScores"], "1=100");
    let leaked = lock
        .findings
        .iter()
        .find(|finding| finding.reason == reason::LEAKED_LOCK)
        .unwrap();
    assert!(
        leaked.message.contains("default/ubuntu-684fc95568-2jh7s"),
        "{}",
        leaked.message
    );
    assert_eq!(leaked.since, Some("2025-06-18T09:06:27Z".parse().unwrap()));
    let cordon = lock
        .findings
        .iter()
        .find(|finding| finding.reason == reason::UNKNOWN_CORDON)
        .unwrap();
    assert!(
        cordon.message.ends_with("does not have: GPU-9."),
        "{}",
        cordon.message
    );

    let down = read_json(load("nvidia-notready-node"));
    assert_eq!(down.node.not_ready_reason.as_deref(), Some("NodeStatusUnknown"));
    assert_eq!(
        down.gpus[0].unhealthy_reason.as_deref(),
        Some("the node is not ready: NodeStatusUnknown")
    );

    let mig = read_json(load("nvidia-v210-json-mig-profiles"));
    assert_eq!(mig.gpus[0].mig_profiles, ["1g.5gb"]);

    let stale = read_json(load("nvidia-stale-requesting-allocatable0"));
    let finding = stale
        .findings
        .iter()
        .find(|finding| finding.reason == reason::STALE)
        .unwrap();
    assert_eq!(finding.evidence["nvidia.com/gpu"], "0");
    assert_eq!(
        finding.evidence["hami.io/node-handshake"],
        "Requesting_2024.05.20 11:44:46"
    );

    let l40s = read_json(load("nvidia-v210-json-l40s-stale-requesting-healthy"));
    assert_eq!(l40s.gpus[0].unknown["physicalMemoryMib"], "KTA-GPU-004");
}

#[test]
fn configured_names_tell_the_memory_of_ascend() {
    let map: serde_json::Value = serde_json::from_slice(
        &std::fs::read(folder().join("../platform/hami-scheduler-device-configmap.json")).unwrap(),
    )
    .unwrap();
    let names =
        ResourceNames::from_device_config(map["data"]["device-config.yaml"].as_str().unwrap()).unwrap();
    let facts = read_named(load("ascend-910b4-hard-slice"), &names);
    assert_eq!(facts.gpus[0].physical_memory_mib, Some(32768));
}
