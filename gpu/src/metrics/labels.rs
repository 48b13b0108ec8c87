//! Under which names exporters say what a series is about.
//!
//! Exporters changed their labels over time, and Prometheus renames a label to `exported_<label>` where it collides with one of the
//! target's own and `honorLabels` is off. So `exported_*` comes first: where it is there, the plain one is the exporter's own pod.

/// The device's own identifier.
pub const UUID: &[&str] = &["deviceuuid", "device_uuid", "UUID", "gpu_uuid", "uuid", "vdie_id"];
/// Names of the node. Which of them is right depends on the scrape configuration, so all are tried.
pub const NODE: &[&str] = &[
    "exported_node",
    "nodeid",
    "nodename",
    "nmodename", // a misspelling of k8s-vgpu 2.0
    "Hostname",
    "hostname",
    "node",
    "kubernetes_node",
];
/// Namespace of the pod that uses the device.
pub const NAMESPACE: &[&str] = &[
    "podnamespace",
    "exported_namespace",
    "dcu_pod_namespace",
    "hcu_pod_namespace",
    "pod_namespace",
    "namespace",
];
/// The pod that uses the device.
pub const POD: &[&str] = &[
    "podname",
    "exported_pod",
    "dcu_pod_name",
    "hcu_pod_name",
    "pod_name",
    "pod",
];
/// The container that uses the device. `container` collides only where the exporter's pod declares the port.
pub const CONTAINER: &[&str] = &[
    "ctrname",
    "exported_container",
    "dcu_container_name",
    "hcu_container_name",
    "container_name",
    "container",
];
/// Names HAMi-DRA's monitor alone has; HAMi's scheduler uses some of its metrics' names for values in another unit.
pub const DRA: &[&str] = &["devicebrand", "deviceproductname", "devicename", "device_name"];
/// The scrape's address.
pub const INSTANCE: &str = "instance";
/// DCGM: number of the MIG instance.
pub const MIG_ID: &str = "GPU_I_ID";
/// DCGM: profile of the MIG instance.
pub const MIG_PROFILE: &str = "GPU_I_PROFILE";
/// HAMi: number of the MIG instance that a container has.
pub const MIG_OWNED: &[&str] = &["gpu_instance_id", "instanceid", "instance_id"];
