//! MON: the cluster's Prometheus and the metrics in it.

rows! {
    MON_001 = "KTA-MON-001", Required,
        check: { en: "Prometheus", zh: "Prometheus" },
        title: { en: "The cluster's Prometheus cannot be queried", zh: "无法查询集群的 Prometheus" },
        cause: {
            en: "No Prometheus or VictoriaMetrics was found, its address is wrong, it wants a user name and password, a network policy keeps the agent out, or it does not answer in time.",
            zh: "没有找到 Prometheus 或 VictoriaMetrics，地址有误，需要用户名和密码，NetworkPolicy 阻断了 Agent，或者没有及时响应。"
        },
        remedy: {
            en: "Check from inside the cluster that <address>/-/healthy answers, and give the agent address and credentials in its values where they are not found by themselves.",
            zh: "在集群内确认 <地址>/-/healthy 可以访问；若无法自动发现，请在 Agent 的 values 中填写地址和凭据。"
        };
    MON_002 = "KTA-MON-002", Required,
        check: { en: "Version of Prometheus", zh: "Prometheus 版本" },
        title: { en: "The version of Prometheus is too old", zh: "Prometheus 版本过低" },
        cause: {
            en: "The platform needs Prometheus 2.37 or newer. VictoriaMetrics reports a fixed old version and is not measured by it.",
            zh: "平台要求 Prometheus 2.37 或更高版本。VictoriaMetrics 返回的是固定的旧版本号，不按此判断。"
        },
        remedy: {
            en: "Upgrade Prometheus, for example with kube-prometheus-stack 75.15.1 or newer.",
            zh: "升级 Prometheus，例如使用 kube-prometheus-stack 75.15.1 或更高版本。"
        };
    MON_003 = "KTA-MON-003", Required,
        check: { en: "Scraping of the exporters", zh: "指标采集目标" },
        title: { en: "An exporter is not scraped", zh: "有 Exporter 未被采集" },
        cause: {
            en: "No ServiceMonitor or PodMonitor leads to the exporter's Service and port, or its target is down. HAMi makes ServiceMonitors only with prometheus.enabled=true, the GPU Operator only with dcgmExporter.serviceMonitor.enabled=true.",
            zh: "没有 ServiceMonitor 或 PodMonitor 指向该 Exporter 的 Service 和端口，或者采集目标不可用。HAMi 需设置 prometheus.enabled=true，GPU Operator 需设置 dcgmExporter.serviceMonitor.enabled=true 才会创建 ServiceMonitor。"
        },
        remedy: {
            en: "Turn on the ServiceMonitor of the chart that is named, or correct its selector and port name.",
            zh: "在所列 chart 中启用 ServiceMonitor，或修正其选择器和端口名称。"
        };
    MON_004 = "KTA-MON-004", Required,
        check: { en: "Metrics of DCGM", zh: "DCGM 指标" },
        title: { en: "There is no fresh DCGM_FI_DEV_GPU_UTIL", zh: "没有最新的 DCGM_FI_DEV_GPU_UTIL 指标" },
        cause: {
            en: "The DCGM exporter is scraped but does not give this metric: another set of counters is configured, or the driver does not support it. Devices in MIG mode have none by design.",
            zh: "已采集 DCGM Exporter，但其中没有该指标：配置了其他计数器集合，或驱动不支持。处于 MIG 模式的设备本来就没有该指标。"
        },
        remedy: {
            en: "Use the counter file dcp-metrics-included.csv of the exporter, and look at its log for metrics that are not enabled.",
            zh: "使用 Exporter 自带的计数器文件 dcp-metrics-included.csv，并在其日志中查看未启用的指标。"
        };
    MON_005 = "KTA-MON-005", Required,
        check: { en: "Metrics of HAMi's device plugin", zh: "HAMi 设备插件指标" },
        title: { en: "There is no fresh HostCoreUtilization or hami_host_gpu_utilization_ratio", zh: "没有最新的 HostCoreUtilization 或 hami_host_gpu_utilization_ratio 指标" },
        cause: {
            en: "The vgpu-monitor container of HAMi's device plugin is scraped but gives no samples of devices: it cannot read NVML, or the pod has just started.",
            zh: "已采集 HAMi 设备插件的 vgpu-monitor 容器，但没有设备数据：无法访问 NVML，或 Pod 刚刚启动。"
        },
        remedy: {
            en: "Read the log of the container vgpu-monitor in the device plugin's pods.",
            zh: "查看设备插件 Pod 中 vgpu-monitor 容器的日志。"
        };
    MON_006 = "KTA-MON-006", Required,
        check: { en: "Metrics of HAMi's scheduler", zh: "HAMi 调度器指标" },
        title: { en: "There is no fresh GPUDeviceCoreAllocated or hami_gpu_core_allocated_ratio", zh: "没有最新的 GPUDeviceCoreAllocated 或 hami_gpu_core_allocated_ratio 指标" },
        cause: {
            en: "HAMi's scheduler is scraped but gives no samples of devices: no node has registered devices, or the replica that is scraped does not lead.",
            zh: "已采集 HAMi 调度器，但没有设备数据：没有节点注册设备，或被采集的副本不是主副本。"
        },
        remedy: {
            en: "Check the registration of the nodes (KTA-HAMI-003) and read the log of the container vgpu-scheduler-extender.",
            zh: "检查节点的设备注册信息（KTA-HAMI-003），并查看 vgpu-scheduler-extender 容器的日志。"
        };
    MON_007 = "KTA-MON-007", Required,
        check: { en: "Selectors of Prometheus", zh: "Prometheus 选择器" },
        title: { en: "Prometheus does not select a ServiceMonitor", zh: "Prometheus 没有选中某个 ServiceMonitor" },
        cause: {
            en: "The labels or the namespace of the ServiceMonitor do not match the selectors of the Prometheus object. kube-prometheus-stack selects only those with release: <its own release> unless it is told otherwise.",
            zh: "ServiceMonitor 的标签或命名空间与 Prometheus 对象的选择器不匹配。kube-prometheus-stack 默认只选择带有 release: <其 release 名> 标签的 ServiceMonitor。"
        },
        remedy: {
            en: "Give the ServiceMonitor the label that Prometheus asks for, through the values of the chart that made it, or let Prometheus select all.",
            zh: "通过创建它的 chart 的 values 为 ServiceMonitor 添加 Prometheus 要求的标签，或让 Prometheus 选择全部 ServiceMonitor。"
        };
}
