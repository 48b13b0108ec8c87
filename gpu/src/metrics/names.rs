//! The table of metrics: every name of every exporter that is read, with its unit.

#[cfg(test)]
mod tests;

use kantaloupe_checks::Code;

use super::{Sample, labels};

/// Who exposes a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exporter {
    /// NVIDIA's dcgm-exporter.
    Dcgm,
    /// HAMi's vGPUmonitor and its Ascend device plugin, names from 2.9 on.
    Hami,
    /// HAMi's vGPUmonitor, older names; Volcano's monitor has them too.
    HamiLegacy,
    /// HAMi's scheduler, names from 2.9 on.
    Scheduler,
    /// HAMi's scheduler, older names.
    SchedulerLegacy,
    /// HAMi-DRA's monitor.
    Dra,
    /// Ascend's npu-exporter.
    Npu,
    /// MetaX' mx-exporter.
    Metax,
    /// Cambricon's mlu-exporter.
    Cambricon,
    /// Hygon's exporter while cards were DCUs.
    Dcu,
    /// Hygon's exporter since cards are HCUs.
    Hcu,
    /// AWS' neuron-monitor.
    Neuron,
}

impl Exporter {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Dcgm,
        Self::Hami,
        Self::HamiLegacy,
        Self::Scheduler,
        Self::SchedulerLegacy,
        Self::Dra,
        Self::Npu,
        Self::Metax,
        Self::Cambricon,
        Self::Dcu,
        Self::Hcu,
        Self::Neuron,
    ];

    /// The name in records: [`crate::inventory::GpuUsage::source`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dcgm => "dcgm",
            Self::Hami => "hami",
            Self::HamiLegacy => "hami-legacy",
            Self::Scheduler => "hami-scheduler",
            Self::SchedulerLegacy => "hami-scheduler-legacy",
            Self::Dra => "hami-dra",
            Self::Npu => "npu",
            Self::Metax => "metax",
            Self::Cambricon => "mlu",
            Self::Dcu => "dcu",
            Self::Hcu => "hcu",
            Self::Neuron => "neuron",
        }
    }

    /// The vendor of its devices, as the table of vendors names it; `None` if they may be of any.
    pub const fn vendor(self) -> Option<&'static str> {
        match self {
            Self::Dcgm => Some("nvidia"),
            Self::Npu => Some("ascend"),
            Self::Metax => Some("metax"),
            Self::Cambricon => Some("cambricon"),
            Self::Dcu | Self::Hcu => Some("hygon"),
            Self::Neuron => Some("aws-neuron"),
            Self::Hami | Self::HamiLegacy | Self::Scheduler | Self::SchedulerLegacy | Self::Dra => None,
        }
    }

    /// Labels that hold the device's identifier.
    pub const fn uuid(self) -> &'static [&'static str] {
        match self {
            // A serial number, which HAMi registers with a prefix, or the index.
            Self::Dcu | Self::Hcu => &["device_id"],
            Self::Neuron => &[],
            _ => labels::UUID,
        }
    }

    /// Labels that hold the device's position on its node.
    pub const fn index(self) -> &'static [&'static str] {
        match self {
            Self::Dcgm => &["gpu"],
            Self::Hami | Self::HamiLegacy | Self::Scheduler | Self::SchedulerLegacy | Self::Dra => {
                &["deviceidx", "device_index"]
            }
            Self::Npu => &["id"],
            Self::Metax => &["deviceId"],
            Self::Cambricon => &["mlu"],
            Self::Dcu | Self::Hcu => &["minor_number", "device_id"],
            Self::Neuron => &["neuroncore"],
        }
    }
}

/// What a metric says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// How busy a device is.
    Utilization,
    /// How busy a device or MIG instance is, by DCGM's profiling; the only figure with MIG.
    EngineActive,
    /// How busy one core of a device is.
    CoreUtilization,
    /// Memory of a device in use.
    MemoryUsed,
    /// Memory of a device in use, where the device may have another memory that matters more.
    SecondMemoryUsed,
    /// Temperature of the chip.
    Temperature,
    /// Power draw.
    Power,
    /// Number of the last XID error.
    Xid,
    /// How busy a device is with a container's work.
    ContainerUtilization,
    /// Memory of a device that a container uses.
    ContainerMemoryUsed,
    /// How much memory of a device a container may use.
    ContainerMemoryLimit,
    /// Which MIG instance a container has; the labels say it.
    ContainerMig,
    /// Memory of a device that HAMi's scheduler has given out.
    MemoryAllocated,
    /// Cores of a device that HAMi's scheduler has given out.
    CoresAllocated,
}

impl Quantity {
    /// Whether it is about a container's share.
    pub const fn of_container(self) -> bool {
        matches!(
            self,
            Self::ContainerUtilization
                | Self::ContainerMemoryUsed
                | Self::ContainerMemoryLimit
                | Self::ContainerMig
        )
    }
}

/// The unit that a metric is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// 0 to 100.
    Percent,
    /// 0 to 1.
    Ratio,
    /// Bytes.
    Bytes,
    /// 1024 bytes.
    KiB,
    /// 1024 KiB, also where an exporter calls it MB.
    MiB,
    /// Degrees.
    Celsius,
    /// Watts.
    Watts,
    /// Thousandths of a watt.
    Milliwatts,
    /// A number without unit.
    Number,
}

impl Unit {
    /// The factor to the unit of records: percent, MiB, Celsius, watts.
    pub const fn factor(self) -> f64 {
        match self {
            Self::Ratio => 100.0,
            Self::Bytes => 1.0 / 1_048_576.0,
            Self::KiB => 1.0 / 1024.0,
            Self::Milliwatts => 1.0 / 1000.0,
            Self::Percent | Self::MiB | Self::Celsius | Self::Watts | Self::Number => 1.0,
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name of the metric.
    pub name: &'static str,
    /// Who exposes it.
    pub exporter: Exporter,
    /// What it says.
    pub quantity: Quantity,
    /// In which unit.
    pub unit: Unit,
    /// Only series with this label are meant.
    pub only: Option<(&'static str, &'static str)>,
}

const fn row(name: &'static str, exporter: Exporter, quantity: Quantity, unit: Unit) -> Metric {
    Metric {
        name,
        exporter,
        quantity,
        unit,
        only: None,
    }
}

const fn vram(name: &'static str, quantity: Quantity) -> Metric {
    Metric {
        name,
        exporter: Exporter::Metax,
        quantity,
        unit: Unit::KiB,
        only: Some(("type", "vram")),
    }
}

use Exporter as E;
use Quantity as Q;

/// Every metric that is read. Names that two exporters share are there twice; [`find`] tells them apart.
pub const METRICS: &[Metric] = &[
    row("DCGM_FI_DEV_GPU_UTIL", E::Dcgm, Q::Utilization, Unit::Percent),
    row(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        E::Dcgm,
        Q::EngineActive,
        Unit::Ratio,
    ),
    row("DCGM_FI_DEV_FB_USED", E::Dcgm, Q::MemoryUsed, Unit::MiB),
    row("DCGM_FI_DEV_GPU_TEMP", E::Dcgm, Q::Temperature, Unit::Celsius),
    row("DCGM_FI_DEV_POWER_USAGE", E::Dcgm, Q::Power, Unit::Watts),
    row("DCGM_FI_DEV_XID_ERRORS", E::Dcgm, Q::Xid, Unit::Number),
    // vGPUmonitor, and from 2.9 on the same under new names.
    row(
        "HostCoreUtilization",
        E::HamiLegacy,
        Q::Utilization,
        Unit::Percent,
    ),
    row("HostGPUMemoryUsage", E::HamiLegacy, Q::MemoryUsed, Unit::Bytes),
    row(
        "Device_utilization_desc_of_container",
        E::HamiLegacy,
        Q::ContainerUtilization,
        Unit::Percent,
    ),
    row(
        "vGPU_device_memory_usage_in_bytes",
        E::HamiLegacy,
        Q::ContainerMemoryUsed,
        Unit::Bytes,
    ),
    row(
        "vGPU_device_memory_limit_in_bytes",
        E::HamiLegacy,
        Q::ContainerMemoryLimit,
        Unit::Bytes,
    ),
    row("MigInfo", E::HamiLegacy, Q::ContainerMig, Unit::Number),
    row(
        "hami_host_gpu_utilization_ratio",
        E::Hami,
        Q::Utilization,
        Unit::Percent,
    ),
    row(
        "hami_host_gpu_memory_used_bytes",
        E::Hami,
        Q::MemoryUsed,
        Unit::Bytes,
    ),
    row(
        "hami_host_gpu_temperature_celsius",
        E::Hami,
        Q::Temperature,
        Unit::Celsius,
    ),
    row("hami_host_gpu_power_usage_watts", E::Hami, Q::Power, Unit::Watts),
    row(
        "hami_container_device_utilization_ratio",
        E::Hami,
        Q::ContainerUtilization,
        Unit::Percent,
    ),
    row(
        "hami_vgpu_memory_used_bytes",
        E::Hami,
        Q::ContainerMemoryUsed,
        Unit::Bytes,
    ),
    row(
        "hami_vgpu_memory_limit_bytes",
        E::Hami,
        Q::ContainerMemoryLimit,
        Unit::Bytes,
    ),
    row("hami_mig_device_info", E::Hami, Q::ContainerMig, Unit::Number),
    // The scheduler.
    row(
        "GPUDeviceMemoryAllocated",
        E::SchedulerLegacy,
        Q::MemoryAllocated,
        Unit::Bytes,
    ),
    row(
        "GPUDeviceCoreAllocated",
        E::SchedulerLegacy,
        Q::CoresAllocated,
        Unit::Number,
    ),
    row(
        "hami_gpu_memory_allocated_bytes",
        E::Scheduler,
        Q::MemoryAllocated,
        Unit::Bytes,
    ),
    row(
        "hami_gpu_core_allocated_ratio",
        E::Scheduler,
        Q::CoresAllocated,
        Unit::Number,
    ),
    row("GPUDeviceMemoryAllocated", E::Dra, Q::MemoryAllocated, Unit::MiB),
    row("GPUDeviceCoreAllocated", E::Dra, Q::CoresAllocated, Unit::Number),
    row(
        "hami_dra_gpu_memory_allocated_bytes",
        E::Dra,
        Q::MemoryAllocated,
        Unit::Bytes,
    ),
    row(
        "hami_dra_gpu_core_allocated_ratio",
        E::Dra,
        Q::CoresAllocated,
        Unit::Ratio,
    ),
    // Other vendors' exporters.
    row(
        "npu_chip_info_overall_utilization",
        E::Npu,
        Q::Utilization,
        Unit::Percent,
    ),
    row("npu_chip_info_utilization", E::Npu, Q::Utilization, Unit::Percent),
    row("npu_chip_info_hbm_used_memory", E::Npu, Q::MemoryUsed, Unit::MiB),
    row(
        "npu_chip_info_used_memory",
        E::Npu,
        Q::SecondMemoryUsed,
        Unit::MiB,
    ),
    row("npu_chip_info_temperature", E::Npu, Q::Temperature, Unit::Celsius),
    row("npu_chip_info_power", E::Npu, Q::Power, Unit::Watts),
    row(
        "container_npu_utilization",
        E::Npu,
        Q::ContainerUtilization,
        Unit::Percent,
    ),
    row(
        "container_npu_used_memory",
        E::Npu,
        Q::ContainerMemoryUsed,
        Unit::MiB,
    ),
    row(
        "container_npu_total_memory",
        E::Npu,
        Q::ContainerMemoryLimit,
        Unit::MiB,
    ),
    row("mx_gpu_usage", E::Metax, Q::Utilization, Unit::Percent),
    vram("mx_memory_used", Q::MemoryUsed),
    row("mx_chip_hotspot_temp", E::Metax, Q::Temperature, Unit::Celsius),
    row("mx_board_power", E::Metax, Q::Power, Unit::Milliwatts),
    row("mx_sgpu_usage", E::Metax, Q::ContainerUtilization, Unit::Percent),
    row("mx_sgpu_used_memory", E::Metax, Q::ContainerMemoryUsed, Unit::KiB),
    row(
        "mx_sgpu_total_memory",
        E::Metax,
        Q::ContainerMemoryLimit,
        Unit::KiB,
    ),
    row("mlu_utilization", E::Cambricon, Q::Utilization, Unit::Percent),
    row("mlu_memory_used", E::Cambricon, Q::MemoryUsed, Unit::Bytes),
    row("mlu_temperature", E::Cambricon, Q::Temperature, Unit::Celsius),
    row("mlu_power_usage", E::Cambricon, Q::Power, Unit::Watts),
    row("dcu_utilizationrate", E::Dcu, Q::Utilization, Unit::Percent),
    row("dcu_usedmemory_bytes", E::Dcu, Q::MemoryUsed, Unit::Bytes),
    row("dcu_temp", E::Dcu, Q::Temperature, Unit::Celsius),
    row("dcu_power_usage", E::Dcu, Q::Power, Unit::Watts),
    row(
        "vdcu_utilizationrate",
        E::Dcu,
        Q::ContainerUtilization,
        Unit::Percent,
    ),
    row(
        "vdcu_usedmemory_bytes",
        E::Dcu,
        Q::ContainerMemoryUsed,
        Unit::Bytes,
    ),
    row("hcu_utilizationrate", E::Hcu, Q::Utilization, Unit::Percent),
    row("hcu_usedmemory_bytes", E::Hcu, Q::MemoryUsed, Unit::Bytes),
    row("hcu_temp", E::Hcu, Q::Temperature, Unit::Celsius),
    row("hcu_power_usage", E::Hcu, Q::Power, Unit::Watts),
    row(
        "vhcu_utilizationrate",
        E::Hcu,
        Q::ContainerUtilization,
        Unit::Percent,
    ),
    row(
        "vhcu_usedmemory_bytes",
        E::Hcu,
        Q::ContainerMemoryUsed,
        Unit::Bytes,
    ),
    row(
        "neuroncore_utilization_ratio",
        E::Neuron,
        Q::CoreUtilization,
        Unit::Ratio,
    ),
];

/// The row of a sample.
pub fn find(sample: &Sample<'_>) -> Option<&'static Metric> {
    let dra = || sample.first(labels::DRA).is_some();
    let mut rows = METRICS.iter().filter(|metric| metric.name == sample.name);
    let first = rows.next()?;
    let found = match rows.next() {
        Some(second) if dra() == (second.exporter == Exporter::Dra) => second,
        _ => first,
    };
    let meant = found
        .only
        .is_none_or(|(label, value)| sample.label(label) == Some(value));
    meant.then_some(found)
}

/// The check that a metric of this name answers: fresh samples of it, under either name.
pub fn required_by(name: &str) -> Option<Code> {
    match name {
        "DCGM_FI_DEV_GPU_UTIL" | "DCGM_FI_PROF_GR_ENGINE_ACTIVE" => Some(Code::MON_004),
        "HostCoreUtilization" | "hami_host_gpu_utilization_ratio" => Some(Code::MON_005),
        "GPUDeviceCoreAllocated" | "hami_gpu_core_allocated_ratio" => Some(Code::MON_006),
        _ => None,
    }
}
