//! What rows of the table are made of.

use super::{
    CapacityRule, CardMemory, Cards, CoreUnit, Grammar, Memory, MemoryUnit, PodKeys, Register, Resources,
    Scheme, Select, Slots, Vendor,
};

/// What most rows have in common: a row states what is different.
pub(super) const PLAIN: Vendor = Vendor {
    id: "",
    name: "",
    keywords: &[],
    words: &[],
    word_prefixes: &[],
    register: &[],
    handshake: None,
    label: None,
    resources: NO_RESOURCES,
    cores: CoreUnit::Percent,
    memory: Memory::Mib,
    memory_is_built_in: false,
    model_prefix: None,
    model_label: None,
    has_stock_plugin: false,
    lock: "hami.io/mutex.lock",
    mode: None,
    pod: &[],
    select: NO_SELECT,
    config: None,
    dra_drivers: &[],
};

pub(super) const NO_RESOURCES: Resources = Resources {
    count: "",
    count_aliases: &[],
    count_is_slices: false,
    count_optional: false,
    per_container: false,
    memory: None,
    memory_unit: MemoryUnit::Mib(1),
    memory_percent: None,
    cores: None,
    priority: None,
};

pub(super) const NO_SELECT: Select = Select {
    use_type: None,
    no_use_type: None,
    use_uuid: &[],
    no_use_uuid: &[],
    other: &[],
};

pub(super) const fn hami(key: &'static str) -> Register {
    Register::Annotation {
        key,
        grammar: Grammar::Hami,
    }
}

pub(super) const fn capacity(
    cards: Cards,
    memory: CardMemory,
    slots: Slots,
    infix: &'static str,
) -> Register {
    Register::Capacity(CapacityRule {
        cards,
        memory,
        slots,
        infix,
        numa_halves: false,
    })
}

/// HAMi's keys where its own device plugin hands the devices out.
pub(super) const fn pod(allocated: &'static str, to_allocate: &'static str) -> PodKeys {
    PodKeys {
        scheme: Scheme::Hami,
        allocated,
        to_allocate: Some(to_allocate),
        reports_success: true,
    }
}

/// HAMi's keys where the vendor's device plugin hands them out: it never reports success.
pub(super) const fn pod_of_vendor(allocated: &'static str, to_allocate: Option<&'static str>) -> PodKeys {
    PodKeys {
        scheme: Scheme::Hami,
        allocated,
        to_allocate,
        reports_success: false,
    }
}

pub(super) const HYGON_SELECT: Select = Select {
    use_uuid: &["hygon.com/use-gpuuuid"],
    no_use_uuid: &["hygon.com/nouse-gpuuuid"],
    ..NO_SELECT
};

pub(super) const CAMBRICON_SELECT: Select = Select {
    use_type: Some("cambricon.com/use-mlutype"),
    no_use_type: Some("cambricon.com/nouse-mlutype"),
    use_uuid: &["cambricon.com/use-gpuuuid"],
    no_use_uuid: &["cambricon.com/nouse-gpuuuid"],
    other: &[],
};

pub(super) const METAX_SELECT: Select = Select {
    use_uuid: &["metax-tech.com/use-gpuuuid"],
    no_use_uuid: &["metax-tech.com/nouse-gpuuuid"],
    other: &[
        "metax-tech.com/sgpu-qos-policy",
        "metax-tech.com/sgpu-topology-aware",
        "metax-tech.com/sgpu-app-class",
    ],
    ..NO_SELECT
};

pub(super) const ENFLAME_SELECT: Select = Select {
    use_uuid: &["enflame.com/use-gpuuuid"],
    no_use_uuid: &["enflame.com/nouse-gpuuuid"],
    ..NO_SELECT
};

pub(super) const KUNLUN_SELECT: Select = Select {
    use_uuid: &["hami.io/use-xpu-uuid", "baidu.com/use-gpuuuid"],
    no_use_uuid: &["hami.io/no-use-xpu-uuid", "baidu.com/nouse-gpuuuid"],
    ..NO_SELECT
};
