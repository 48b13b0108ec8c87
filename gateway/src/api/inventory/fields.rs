//! What each kind can be filtered and sorted by, and its columns as CSV.

use kantaloupe_gpu::inventory::Kind;

use crate::store::inventory::{Column, Sort, SortBy};

/// How a filter's values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// One of the values, letter by letter.
    In,
    /// The field is a list, and one of the values is in it.
    Listed,
    /// Contains the value, whatever its case.
    Contains,
    /// `true`, `false` or `unknown`.
    Flag,
    /// `true` or `false` of a flag that is kept the other way round.
    Not,
    /// `<kind>/<name>`, or the name alone.
    Owner,
}

type Filter = (&'static str, Column, How);

/// The filters of a kind, besides `cluster` and `text`.
pub(super) const fn filters(kind: Kind) -> &'static [Filter] {
    match kind {
        Kind::Node => &[
            ("node", Column::Node, How::In),
            ("vendor", Column::Vendor, How::Listed),
            ("ready", Column::Healthy, How::Flag),
            ("schedulable", Column::Cordoned, How::Not),
        ],
        Kind::Gpu => &[
            ("id", Column::Id, How::In),
            ("node", Column::Node, How::In),
            ("uuid", Column::Gpu, How::In),
            ("vendor", Column::Vendor, How::In),
            ("model", Column::Model, How::Contains),
            ("mode", Column::Mode, How::In),
            ("healthy", Column::Healthy, How::Flag),
            ("cordoned", Column::Cordoned, How::Flag),
            ("stale", Column::Stale, How::Flag),
        ],
        Kind::Allocation => &[
            ("id", Column::Id, How::In),
            ("node", Column::Node, How::In),
            ("uuid", Column::Gpu, How::In),
            ("vendor", Column::Vendor, How::In),
            ("namespace", Column::Namespace, How::In),
            ("pod", Column::Name, How::In),
            ("workload", Column::Workload, How::Owner),
            ("state", Column::State, How::In),
            ("profile", Column::Mode, How::In),
            ("held", Column::Held, How::Flag),
        ],
        Kind::Workload => &[
            ("namespace", Column::Namespace, How::In),
            ("workload", Column::Workload, How::Owner),
            ("vendor", Column::Vendor, How::Listed),
        ],
        Kind::Finding => &[
            ("code", Column::Code, How::In),
            ("level", Column::State, How::In),
            ("node", Column::Node, How::In),
            ("namespace", Column::Namespace, How::In),
            ("name", Column::Name, How::In),
        ],
        Kind::Check => &[
            ("code", Column::Code, How::In),
            ("verdict", Column::State, How::In),
        ],
        Kind::Cluster | Kind::GpuUsage | Kind::ContainerUsage => &[],
    }
}

const fn text(name: &'static str, expression: &'static str) -> Sort {
    Sort {
        name,
        by: SortBy::Text(expression),
        descending: false,
    }
}

const fn figure(name: &'static str, expression: &'static str) -> Sort {
    Sort {
        name,
        by: SortBy::Number(expression),
        descending: false,
    }
}

/// A figure of the live use of what `r` is, from its own row.
const GPU_UTILIZATION: &str = "(SELECT u.utilization FROM inventory_records u \
     WHERE u.kind = 7 AND u.cluster_id = r.cluster_id AND u.id = r.usage_id)";
const GPU_MEMORY: &str = "(SELECT u.memory_used FROM inventory_records u \
     WHERE u.kind = 7 AND u.cluster_id = r.cluster_id AND u.id = r.usage_id)";
const CONTAINER_UTILIZATION: &str = "(SELECT u.utilization FROM inventory_records u \
     WHERE u.kind = 8 AND u.cluster_id = r.cluster_id AND u.id = r.usage_id)";
const CONTAINER_MEMORY: &str = "(SELECT u.memory_used FROM inventory_records u \
     WHERE u.kind = 8 AND u.cluster_id = r.cluster_id AND u.id = r.usage_id)";

/// The sorts of a kind; the first one is that of a list that asks for none.
pub(super) const fn sorts(kind: Kind) -> &'static [Sort] {
    match kind {
        Kind::Node => {
            const {
                &[
                    Sort::KEY,
                    figure("gpus", "r.slots"),
                    figure("pods", "r.pods"),
                    figure("memory", "r.memory"),
                    figure("createdAt", "r.since"),
                ]
            }
        }
        Kind::Gpu => {
            const {
                &[
                    Sort::KEY,
                    text("node", "r.node"),
                    text("vendor", "r.vendor"),
                    text("model", "r.model"),
                    figure("memory", "r.memory"),
                    figure("memoryUsed", "r.memory_used"),
                    figure("memoryFree", "(r.memory - r.memory_used)"),
                    figure("coresUsed", "r.cores_used"),
                    figure("slotsUsed", "r.slots_used"),
                    figure("utilization", GPU_UTILIZATION),
                    figure("memoryInUse", GPU_MEMORY),
                ]
            }
        }
        Kind::Allocation => {
            const {
                &[
                    Sort::KEY,
                    text("pod", "(r.namespace || '/' || r.name)"),
                    text("node", "r.node"),
                    figure("state", "r.severity"),
                    figure("memory", "r.memory"),
                    figure("cores", "r.cores"),
                    figure("since", "r.since"),
                    figure("utilization", CONTAINER_UTILIZATION),
                    figure("memoryInUse", CONTAINER_MEMORY),
                ]
            }
        }
        Kind::Workload => {
            const {
                &[
                    Sort::KEY,
                    text("name", "r.name"),
                    figure("gpus", "r.slots"),
                    figure("pods", "r.pods"),
                    figure("memory", "r.memory"),
                ]
            }
        }
        Kind::Finding => {
            const {
                &[
                    figure("level", "r.severity"),
                    Sort::KEY,
                    text("code", "r.code"),
                    figure("since", "r.since"),
                ]
            }
        }
        Kind::Check => const { &[figure("verdict", "r.severity"), Sort::KEY, text("code", "r.code")] },
        Kind::Cluster | Kind::GpuUsage | Kind::ContainerUsage => &[Sort::KEY],
    }
}

/// All parameters of a kind's list, for messages.
pub(super) fn names(kind: Kind) -> String {
    let mut names = vec!["cluster", "text"];
    names.extend(filters(kind).iter().map(|(name, ..)| *name));
    names.extend(["sort", "limit", "cursor", "format"]);
    names.join(", ")
}

/// Name of a column and where its value is in the record.
pub(super) type CsvColumn = (&'static str, &'static str);

/// The columns of a kind as CSV, behind those of the cluster.
pub(super) const fn csv(kind: Kind) -> &'static [CsvColumn] {
    match kind {
        Kind::Node => &[
            ("node", "/name"),
            ("ready", "/ready"),
            ("schedulable", "/schedulable"),
            ("gpus", "/gpus"),
            ("vendors", "/vendors"),
            ("driver_version", "/driverVersion"),
            ("runtime", "/runtime/name"),
            ("runtime_version", "/runtime/version"),
            ("kubelet_version", "/kubeletVersion"),
            ("os_image", "/osImage"),
            ("kernel_version", "/kernelVersion"),
            ("architecture", "/architecture"),
            ("instance_type", "/instanceType"),
            ("zone", "/zone"),
            ("addresses", "/addresses"),
            ("cpu_millis", "/cpuMillis"),
            ("memory_mib", "/memoryMib"),
            ("pods", "/pods"),
            ("unknown", "/unknown"),
        ],
        Kind::Gpu => &[
            ("node", "/node"),
            ("index", "/index"),
            ("uuid", "/uuid"),
            ("vendor", "/vendor"),
            ("model", "/model"),
            ("mode", "/mode"),
            ("healthy", "/healthy"),
            ("cordoned", "/cordoned"),
            ("stale", "/stale"),
            ("slots", "/capacity/slots"),
            ("slots_used", "/used/slots"),
            ("memory_mib", "/capacity/memoryMib"),
            ("memory_used_mib", "/used/memoryMib"),
            ("cores", "/capacity/cores"),
            ("cores_used", "/used/cores"),
            ("physical_memory_mib", "/physicalMemoryMib"),
            ("driver_version", "/driverVersion"),
            ("utilization_percent", "/usage/utilization"),
            ("memory_in_use_mib", "/usage/memoryUsedMib"),
            ("temperature_celsius", "/usage/temperature"),
            ("power_watts", "/usage/power"),
            ("usage_at", "/usage/at"),
            ("unknown", "/unknown"),
        ],
        Kind::Allocation => &[
            ("namespace", "/namespace"),
            ("pod", "/pod"),
            ("container", "/container"),
            ("workload_kind", "/workload/kind"),
            ("workload", "/workload/name"),
            ("node", "/node"),
            ("uuid", "/uuid"),
            ("vendor", "/vendor"),
            ("profile", "/profile"),
            ("state", "/state"),
            ("held", "/held"),
            ("memory_mib", "/memoryMib"),
            ("cores", "/cores"),
            ("requested_count", "/requested/count"),
            ("requested_memory_mib", "/requested/memoryMib"),
            ("requested_memory_percent", "/requested/memoryPercent"),
            ("requested_cores", "/requested/cores"),
            ("phase", "/phase"),
            ("reason", "/reason"),
            ("since", "/since"),
            ("utilization_percent", "/usage/utilization"),
            ("memory_in_use_mib", "/usage/memoryUsedMib"),
            ("usage_at", "/usage/at"),
            ("unknown", "/unknown"),
        ],
        Kind::Workload => &[
            ("namespace", "/namespace"),
            ("kind", "/owner/kind"),
            ("name", "/owner/name"),
            ("pods", "/pods"),
            ("running", "/running"),
            ("waiting", "/waiting"),
            ("gpus", "/gpus"),
            ("memory_mib", "/memoryMib"),
            ("cores", "/cores"),
            ("nodes", "/nodes"),
            ("vendors", "/vendors"),
        ],
        Kind::Finding => &[
            ("level", "/level"),
            ("code", "/code"),
            ("reason", "/reason"),
            ("kind", "/object/kind"),
            ("namespace", "/object/namespace"),
            ("name", "/object/name"),
            ("message", "/message"),
            ("since", "/since"),
        ],
        Kind::Check => &[
            ("verdict", "/verdict"),
            ("code", "/code"),
            ("message", "/message"),
            ("commands", "/commands"),
            ("blocked_by", "/blockedBy"),
        ],
        Kind::Cluster | Kind::GpuUsage | Kind::ContainerUsage => &[],
    }
}
