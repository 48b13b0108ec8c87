//! The rows. Keys, units and constants are those of HAMi 2.4 to 2.10 (`pkg/device/*`), and of the vendors' own device plugins.

use super::row::{
    CAMBRICON_SELECT, ENFLAME_SELECT, HYGON_SELECT, KUNLUN_SELECT, METAX_SELECT, NO_RESOURCES, NO_SELECT,
    PLAIN, capacity, hami, pod, pod_of_vendor,
};
use super::{
    CapacityRule, CardMemory, Cards, ConfigKeys, CoreUnit, Grammar, Memory, MemoryUnit, PodKeys, Register,
    Resources, Scheme, Select, Slots, Vendor,
};
use crate::inventory::Mode;

/// Every kind of device that is known. Rows whose keys are exact come before those with patterns that could match the same key.
pub static VENDORS: &[Vendor] = &[
    Vendor {
        id: "nvidia",
        name: "nvidia",
        keywords: &["NVIDIA"],
        register: &[hami("hami.io/node-nvidia-register")],
        handshake: Some("hami.io/node-handshake"),
        label: Some(("gpu", "on")),
        resources: Resources {
            count: "nvidia.com/gpu",
            count_aliases: &["nvidia.com/vgpu", "nvidia.com/gpu.hami"],
            memory: Some("nvidia.com/gpumem"),
            memory_percent: Some("nvidia.com/gpumem-percentage"),
            cores: Some("nvidia.com/gpucores"),
            priority: Some("nvidia.com/priority"),
            ..NO_RESOURCES
        },
        pod: &[
            pod(
                "hami.io/vgpu-devices-allocated",
                "hami.io/vgpu-devices-to-allocate",
            ),
            PodKeys {
                scheme: Scheme::FourPd,
                allocated: "4pd.io/vgpu-ids-new",
                to_allocate: Some("4pd.io/devices-to-allocate"),
                reports_success: false,
            },
        ],
        select: Select {
            use_type: Some("nvidia.com/use-gputype"),
            no_use_type: Some("nvidia.com/nouse-gputype"),
            use_uuid: &["nvidia.com/use-gpuuuid"],
            no_use_uuid: &["nvidia.com/nouse-gpuuuid"],
            other: &["nvidia.com/numa-bind", "nvidia.com/vgpu-mode"],
        },
        config: Some(ConfigKeys::standard("nvidia")),
        model_prefix: Some("NVIDIA-"),
        has_stock_plugin: true,
        dra_drivers: &["gpu.nvidia.com", "hami-core-gpu.project-hami.io"],
        ..PLAIN
    },
    Vendor {
        id: "volcano-vgpu",
        name: "nvidia",
        register: &[Register::Annotation {
            key: "volcano.sh/node-vgpu-register",
            grammar: Grammar::Volcano,
        }],
        resources: Resources {
            count: "volcano.sh/vgpu-number",
            memory: Some("volcano.sh/vgpu-memory"),
            memory_percent: Some("volcano.sh/vgpu-memory-percentage"),
            cores: Some("volcano.sh/vgpu-cores"),
            ..NO_RESOURCES
        },
        pod: &[PodKeys {
            scheme: Scheme::Volcano,
            allocated: "volcano.sh/vgpu-ids-new",
            to_allocate: Some("volcano.sh/devices-to-allocate"),
            reports_success: true,
        }],
        select: Select {
            other: &["volcano.sh/vgpu-mode"],
            ..NO_SELECT
        },
        model_prefix: Some("NVIDIA-"),
        lock: "volcano.sh/mutex.lock",
        ..PLAIN
    },
    Vendor {
        id: "hygon-dcu",
        name: "hygon",
        keywords: &["DCU"],
        register: &[hami("hami.io/node-dcu-register")],
        handshake: Some("hami.io/node-handshake-dcu"),
        label: Some(("dcu", "on")),
        resources: Resources {
            count: "hygon.com/dcunum",
            memory: Some("hygon.com/dcumem"),
            cores: Some("hygon.com/dcucores"),
            ..NO_RESOURCES
        },
        mode: Some(Mode::Slice),
        pod: &[pod(
            "hami.io/dcu-devices-allocated",
            "hami.io/dcu-devices-to-allocate",
        )],
        select: Select {
            use_type: Some("hygon.com/use-dcutype"),
            no_use_type: Some("hygon.com/nouse-dcutype"),
            ..HYGON_SELECT
        },
        config: Some(ConfigKeys::standard("hygon")),
        model_prefix: Some("DCU-"),
        dra_drivers: &["dra.hygon.com"],
        ..PLAIN
    },
    Vendor {
        id: "hygon-hcu",
        name: "hygon",
        keywords: &["HCU"],
        register: &[hami("hami.io/node-hcu-register")],
        handshake: Some("hami.io/node-handshake-hcu"),
        label: Some(("hcu", "on")),
        resources: Resources {
            count: "hygon.com/hcunum",
            memory: Some("hygon.com/hcumem"),
            cores: Some("hygon.com/hcucores"),
            ..NO_RESOURCES
        },
        mode: Some(Mode::Slice),
        pod: &[pod(
            "hami.io/hcu-devices-allocated",
            "hami.io/hcu-devices-to-allocate",
        )],
        select: Select {
            use_type: Some("hygon.com/use-hcutype"),
            no_use_type: Some("hygon.com/nouse-hcutype"),
            ..HYGON_SELECT
        },
        config: Some(ConfigKeys::standard("hygon")),
        model_prefix: Some("HCU-"),
        ..PLAIN
    },
    Vendor {
        id: "cambricon",
        name: "cambricon",
        keywords: &["MLU"],
        register: &[
            capacity(
                Cards::CoresPerCard(100),
                CardMemory::Shared,
                Slots::Fixed(100, 100),
                "-cambricon-mlu-",
            ),
            // Legacy; may be left on nodes that were upgraded.
            hami("hami.io/node-mlu-register"),
        ],
        handshake: Some("hami.io/node-handshake-mlu"),
        label: Some(("mlu", "on")),
        resources: Resources {
            count: "cambricon.com/vmlu",
            count_aliases: &["cambricon.com/mlu"],
            memory: Some("cambricon.com/mlu.smlu.vmemory"),
            memory_unit: MemoryUnit::Mib(256),
            cores: Some("cambricon.com/mlu.smlu.vcore"),
            ..NO_RESOURCES
        },
        mode: Some(Mode::Slice),
        pod: &[pod_of_vendor(
            "hami.io/cambricon-mlu-devices-allocated",
            Some("hami.io/cambricon-mlu-devices-to-allocate"),
        )],
        select: CAMBRICON_SELECT,
        config: Some(ConfigKeys::standard("cambricon")),
        lock: "cambricon.com/dsmlu.lock",
        ..PLAIN
    },
    Vendor {
        id: "cambricon-mlu370",
        name: "cambricon",
        register: &[capacity(
            Cards::CoresPerCard(100),
            CardMemory::Shared,
            Slots::Fixed(100, 100),
            "-cambricon-mlu-",
        )],
        label: Some(("mlu", "on")),
        resources: Resources {
            count: "cambricon.com/real-mlu-counts",
            memory: Some("cambricon.com/mlu370.smlu.vmemory"),
            memory_unit: MemoryUnit::Mib(256),
            cores: Some("cambricon.com/mlu370.smlu.vcore"),
            ..NO_RESOURCES
        },
        mode: Some(Mode::Slice),
        select: CAMBRICON_SELECT,
        ..PLAIN
    },
    Vendor {
        id: "mthreads",
        name: "mthreads",
        keywords: &["Mthreads"],
        register: &[capacity(
            Cards::CoresPerCard(16),
            CardMemory::Shared,
            Slots::Fixed(100, 16),
            "-mthreads-",
        )],
        resources: Resources {
            count: "mthreads.com/vgpu",
            per_container: true,
            memory: Some("mthreads.com/sgpu-memory"),
            memory_unit: MemoryUnit::Mib(512),
            cores: Some("mthreads.com/sgpu-core"),
            ..NO_RESOURCES
        },
        cores: CoreUnit::Sixteenths,
        mode: Some(Mode::Slice),
        pod: &[pod_of_vendor(
            "hami.io/mthreads-vgpu-devices-allocated",
            Some("hami.io/mthreads-vgpu-devices-to-allocate"),
        )],
        select: Select {
            use_uuid: &["mthreads.ai/use-gpuuuid"],
            no_use_uuid: &["mthreads.ai/nouse-gpuuuid"],
            ..NO_SELECT
        },
        config: Some(ConfigKeys::standard("mthreads")),
        ..PLAIN
    },
    Vendor {
        id: "metax-gpu",
        name: "metax",
        keywords: &["Metax-GPU"],
        register: &[capacity(
            Cards::Count,
            CardMemory::Constant(65536),
            Slots::Fixed(1, 100),
            "-metax-",
        )],
        label: Some(("metax-tech.com/gpu.installed", "true")),
        resources: Resources {
            count: "metax-tech.com/gpu",
            ..NO_RESOURCES
        },
        mode: Some(Mode::Whole),
        pod: &[pod_of_vendor(
            "hami.io/metax-gpu-devices-allocated",
            Some("hami.io/metax-gpu-devices-to-allocate"),
        )],
        select: METAX_SELECT,
        config: Some(ConfigKeys::standard("metax")),
        ..PLAIN
    },
    Vendor {
        id: "metax-sgpu",
        name: "metax",
        keywords: &["Metax-SGPU"],
        register: &[Register::Annotation {
            key: "metax-tech.com/node-gpu-devices",
            grammar: Grammar::MetaxSgpu,
        }],
        label: Some(("metax-tech.com/gpu.installed", "true")),
        resources: Resources {
            count: "metax-tech.com/sgpu",
            memory: Some("metax-tech.com/vmemory"),
            memory_unit: MemoryUnit::BytesOrGib,
            cores: Some("metax-tech.com/vcore"),
            ..NO_RESOURCES
        },
        mode: Some(Mode::Slice),
        pod: &[pod_of_vendor(
            "hami.io/metax-sgpu-devices-allocated",
            Some("hami.io/metax-sgpu-devices-to-allocate"),
        )],
        select: METAX_SELECT,
        config: Some(ConfigKeys {
            count: "resourceVCountName",
            memory: "resourceVMemoryName",
            cores: "resourceVCoreName",
            ..ConfigKeys::standard("metax")
        }),
        memory_is_built_in: true,
        ..PLAIN
    },
    Vendor {
        id: "enflame-drs",
        name: "enflame",
        keywords: &["Enflame"],
        register: &[Register::Annotation {
            key: "enflame.com/gcu-drs-capacity",
            grammar: Grammar::EnflameDrs,
        }],
        resources: Resources {
            count: "enflame.com/drs-gcu",
            count_is_slices: true,
            count_optional: true,
            memory: Some("enflame.com/gcu-memory"),
            memory_unit: MemoryUnit::GibOrMib,
            cores: Some("enflame.com/gcu-core"),
            ..NO_RESOURCES
        },
        mode: Some(Mode::Slice),
        pod: &[pod_of_vendor(
            "hami.io/enflame-vgpu-devices-allocated",
            Some("hami.io/enflame-vgpu-devices-to-allocate"),
        )],
        select: ENFLAME_SELECT,
        config: Some(ConfigKeys {
            count: "resourceNameDRSGCU",
            memory: "resourceNameGCUMemory",
            cores: "resourceNameGCUCore",
            ..ConfigKeys::standard("enflame")
        }),
        ..PLAIN
    },
    Vendor {
        id: "enflame-gcu",
        name: "enflame",
        keywords: &["GCU"],
        register: &[capacity(
            Cards::Count,
            CardMemory::Unknown,
            Slots::Fixed(1, 100),
            "-GCU-",
        )],
        resources: Resources {
            count: "enflame.com/gcu",
            ..NO_RESOURCES
        },
        memory: Memory::Percent,
        mode: Some(Mode::Whole),
        pod: &[pod_of_vendor(
            "hami.io/enflame-gcu-devices-allocated",
            Some("hami.io/enflame-gcu-devices-to-allocate"),
        )],
        select: ENFLAME_SELECT,
        config: Some(ConfigKeys {
            count: "resourceNameGCU",
            ..ConfigKeys::standard("enflame")
        }),
        ..PLAIN
    },
    // HAMi 2.9 and before.
    Vendor {
        id: "enflame-vgcu",
        name: "enflame",
        register: &[capacity(
            Cards::Resource("enflame.com/gcu-count"),
            CardMemory::Unknown,
            Slots::Fixed(100, 100),
            "-enflame-",
        )],
        resources: Resources {
            count: "enflame.com/vgcu",
            count_aliases: &["enflame.com/shared-gcu"],
            memory_percent: Some("enflame.com/vgcu-percentage"),
            ..NO_RESOURCES
        },
        memory: Memory::Percent,
        mode: Some(Mode::Slice),
        select: ENFLAME_SELECT,
        config: Some(ConfigKeys {
            count: "resourceNameVGCU",
            memory_percent: "resourceNameVGCUPercentage",
            ..ConfigKeys::standard("enflame")
        }),
        ..PLAIN
    },
    Vendor {
        id: "kunlun",
        name: "kunlun",
        keywords: &["kunlun"],
        register: &[Register::Capacity(CapacityRule {
            cards: Cards::Count,
            memory: CardMemory::Constant(98304),
            slots: Slots::Fixed(100, 100),
            infix: "-kunlun-",
            numa_halves: true,
        })],
        resources: Resources {
            count: "kunlunxin.com/xpu",
            ..NO_RESOURCES
        },
        mode: Some(Mode::Whole),
        pod: &[pod_of_vendor("hami.io/kunlun-allocated", None)],
        select: KUNLUN_SELECT,
        config: Some(ConfigKeys::standard("kunlun")),
        ..PLAIN
    },
    Vendor {
        id: "kunlun-vxpu",
        name: "kunlun",
        keywords: &["XPU"],
        register: &[hami("hami.io/node-register-xpu")],
        handshake: Some("hami.io/node-handshake-xpu"),
        resources: Resources {
            count: "kunlunxin.com/vxpu",
            memory: Some("kunlunxin.com/vxpu-memory"),
            ..NO_RESOURCES
        },
        mode: Some(Mode::Slice),
        pod: &[pod(
            "hami.io/xpu-devices-allocated",
            "hami.io/xpu-devices-to-allocate",
        )],
        select: KUNLUN_SELECT,
        config: Some(ConfigKeys {
            count: "resourceVCountName",
            memory: "resourceVMemoryName",
            ..ConfigKeys::standard("kunlun")
        }),
        ..PLAIN
    },
    Vendor {
        id: "aws-neuron",
        name: "aws-neuron",
        keywords: &["AWSNeuron"],
        register: &[capacity(
            Cards::Count,
            CardMemory::Unknown,
            Slots::PerCore,
            "-AWSNeuron-",
        )],
        resources: Resources {
            count: "aws.amazon.com/neuron",
            count_optional: true,
            cores: Some("aws.amazon.com/neuroncore"),
            ..NO_RESOURCES
        },
        cores: CoreUnit::Bitmask,
        memory: Memory::None,
        mode: Some(Mode::Slice),
        pod: &[pod_of_vendor("hami.io/aws-neuron-devices-allocated", None)],
        select: Select {
            use_uuid: &["aws.amazon.com/use-neuron-uuid"],
            no_use_uuid: &["aws.amazon.com/nouse-neuron-uuid"],
            ..NO_SELECT
        },
        config: Some(ConfigKeys::standard("awsneuron")),
        ..PLAIN
    },
    Vendor {
        id: "amd",
        name: "amd",
        keywords: &["AMD"],
        register: &[
            hami("hami.io/node-amd-register"),
            // Before HAMi 2.10, which took every card for an MI300X.
            capacity(
                Cards::Count,
                CardMemory::Unknown,
                Slots::Fixed(1, 100),
                "-AMDGPU-",
            ),
        ],
        resources: Resources {
            count: "amd.com/gpu",
            memory: Some("amd.com/gpumem"),
            cores: Some("amd.com/gpucores"),
            ..NO_RESOURCES
        },
        cores: CoreUnit::ComputeUnits,
        pod: &[pod_of_vendor(
            "hami.io/amd-devices-allocated",
            Some("hami.io/amd-devices-to-allocate"),
        )],
        select: Select {
            use_type: Some("amd.com/use-gputype"),
            no_use_type: Some("amd.com/nouse-gputype"),
            use_uuid: &["amd.com/use-gpu-uuid"],
            no_use_uuid: &["amd.com/nouse-gpu-uuid"],
            other: &[],
        },
        config: Some(ConfigKeys::standard("amd")),
        memory_is_built_in: true,
        model_label: Some("amd.com/gpu.product-name"),
        dra_drivers: &["gpu.amd.com"],
        ..PLAIN
    },
    Vendor {
        id: "vastai",
        name: "vastai",
        keywords: &["Vastai"],
        register: &[hami("hami.io/node-va-register")],
        handshake: Some("hami.io/node-handshake-va"),
        resources: Resources {
            count: "vastaitech.com/va",
            ..NO_RESOURCES
        },
        cores: CoreUnit::None,
        mode: Some(Mode::Whole),
        pod: &[pod(
            "hami.io/Vastai-devices-allocated",
            "hami.io/Vastai-devices-to-allocate",
        )],
        select: Select {
            use_type: Some("vastaitech.com/use-va"),
            no_use_type: Some("vastaitech.com/nouse-va"),
            use_uuid: &["vastaitech.com/use-gpuuuid"],
            no_use_uuid: &["vastaitech.com/nouse-gpuuuid"],
            other: &[],
        },
        config: Some(ConfigKeys::standard("vastai")),
        ..PLAIN
    },
    Vendor {
        id: "biren",
        name: "biren",
        keywords: &["Biren"],
        register: &[hami("hami.io/node-biren-register")],
        handshake: Some("hami.io/node-handshake-biren"),
        resources: Resources {
            count: "birentech.com/gpu",
            ..NO_RESOURCES
        },
        cores: CoreUnit::None,
        mode: Some(Mode::Whole),
        pod: &[pod(
            "hami.io/Biren-devices-allocated",
            "hami.io/Biren-devices-to-allocate",
        )],
        select: Select {
            use_type: Some("birentech.com/use-biren"),
            no_use_type: Some("birentech.com/nouse-biren"),
            use_uuid: &["birentech.com/use-gpuuuid"],
            no_use_uuid: &["birentech.com/nouse-gpuuuid"],
            other: &[],
        },
        config: Some(ConfigKeys::standard("biren")),
        ..PLAIN
    },
    // Before HAMi 2.7.1.
    Vendor {
        id: "iluvatar-vcuda",
        name: "iluvatar",
        keywords: &["Iluvatar"],
        register: &[capacity(
            Cards::CoresPerCard(100),
            CardMemory::Shared,
            Slots::Fixed(100, 100),
            "-iluvatar-",
        )],
        resources: Resources {
            count: "iluvatar.ai/vgpu",
            memory: Some("iluvatar.ai/vcuda-memory"),
            memory_unit: MemoryUnit::Mib(256),
            cores: Some("iluvatar.ai/vcuda-core"),
            ..NO_RESOURCES
        },
        mode: Some(Mode::Slice),
        pod: &[pod_of_vendor(
            "hami.io/iluvatar-vgpu-devices-allocated",
            Some("hami.io/iluvatar-vgpu-devices-to-allocate"),
        )],
        select: Select {
            use_uuid: &["iluvatar.ai/use-gpuuuid"],
            no_use_uuid: &["iluvatar.ai/nouse-gpuuuid"],
            ..NO_SELECT
        },
        config: Some(ConfigKeys::standard("iluvatar")),
        ..PLAIN
    },
    Vendor {
        id: "ascend",
        name: "ascend",
        words: &[
            "Ascend910A",
            "Ascend910B",
            "Ascend910B2",
            "Ascend910B3",
            "Ascend910B4",
            "Ascend910B4-1",
            "Ascend910C",
            "Ascend310P",
        ],
        word_prefixes: &["Ascend"],
        register: &[hami("hami.io/node-register-{}")],
        handshake: Some("hami.io/node-handshake-{}"),
        label: Some(("ascend", "on")),
        resources: Resources {
            count: "huawei.com/{}",
            memory: Some("huawei.com/{}-memory"),
            cores: Some("huawei.com/{}-core"),
            ..NO_RESOURCES
        },
        cores: CoreUnit::AiCores,
        mode: Some(Mode::Slice),
        pod: &[pod(
            "hami.io/{}-devices-allocated",
            "hami.io/{}-devices-to-allocate",
        )],
        select: Select {
            use_uuid: &["hami.io/use-{}-uuid"],
            no_use_uuid: &["hami.io/no-use-{}-uuid"],
            other: &["huawei.com/vnpu-mode"],
            ..NO_SELECT
        },
        config: Some(ConfigKeys {
            count: "resourceName",
            ..ConfigKeys::standard("vnpus")
        }),
        ..PLAIN
    },
    Vendor {
        id: "iluvatar",
        name: "iluvatar",
        words: &["MR-V100", "MR-V50", "BI-V150", "BI-V100"],
        word_prefixes: &["MR-", "BI-"],
        register: &[hami("hami.io/node-{}-register")],
        handshake: Some("hami.io/node-handshake-{}"),
        resources: Resources {
            count: "iluvatar.ai/{}-vgpu",
            memory: Some("iluvatar.ai/{}.vMem"),
            memory_unit: MemoryUnit::Mib(256),
            cores: Some("iluvatar.ai/{}.vCore"),
            ..NO_RESOURCES
        },
        mode: Some(Mode::Slice),
        pod: &[pod(
            "hami.io/{}-devices-allocated",
            "hami.io/{}-devices-to-allocate",
        )],
        select: Select {
            use_uuid: &["hami.io/use-{}-uuid"],
            no_use_uuid: &["hami.io/no-use-{}-uuid"],
            ..NO_SELECT
        },
        config: Some(ConfigKeys::standard("iluvatars")),
        ..PLAIN
    },
];
