//! RT and GPU: container runtimes, devices and their drivers, and the GPU Operator.

rows! {
    RT_001 = "KTA-RT-001", Required,
        check: { en: "Container runtimes", zh: "容器运行时" },
        title: { en: "A GPU node's container runtime is not supported", zh: "GPU 节点的容器运行时不受支持" },
        cause: {
            en: "The platform needs containerd or Docker on GPU nodes; this node reports another runtime, such as CRI-O, or none.",
            zh: "平台要求 GPU 节点使用 containerd 或 Docker，而该节点报告的是其他运行时（例如 CRI-O），或没有报告运行时。"
        },
        remedy: {
            en: "Set the node up again with containerd, and keep the GPU workloads away from it until then: kubectl cordon <name>.",
            zh: "使用 containerd 重新部署该节点；在此之前用 kubectl cordon <名称> 避免 GPU 工作负载调度到该节点。"
        };
    RT_002 = "KTA-RT-002", Required,
        check: { en: "NVIDIA runtime", zh: "NVIDIA 运行时" },
        title: { en: "There is no RuntimeClass for NVIDIA devices", zh: "缺少用于 NVIDIA 设备的 RuntimeClass" },
        cause: {
            en: "Containers see NVIDIA devices only through the NVIDIA container runtime. Either no RuntimeClass leads to it, or it is the default runtime of the nodes, which cannot be seen from here.",
            zh: "容器只有通过 NVIDIA 容器运行时才能访问 NVIDIA 设备。可能没有对应的 RuntimeClass，也可能它是节点的默认运行时，而这一点无法从集群内看到。"
        },
        remedy: {
            en: "Install the NVIDIA container toolkit (the GPU Operator does it), or check on a node that the default runtime of containerd is nvidia.",
            zh: "安装 NVIDIA 容器工具包（GPU Operator 会自动完成），或在节点上确认 containerd 的默认运行时为 nvidia。"
        };
    GPU_001 = "KTA-GPU-001", Required,
        check: { en: "GPU nodes", zh: "GPU 节点" },
        title: { en: "Nodes with GPUs are not given to HAMi", zh: "有 GPU 节点未纳入 HAMi 管理" },
        cause: {
            en: "HAMi's device plugin runs only on nodes with its label, which is gpu=on unless it was changed. A node without it offers none of its devices; without any node with devices there is nothing to share.",
            zh: "HAMi 设备插件只在带有指定标签（默认为 gpu=on）的节点上运行，没有该标签的节点不会提供任何设备。若没有任何 GPU 节点，则没有可切分的设备。"
        },
        remedy: {
            en: "Label each node whose devices are to be shared: kubectl label node <name> gpu=on.",
            zh: "为需要共享设备的节点添加标签：kubectl label node <名称> gpu=on。"
        };
    GPU_002 = "KTA-GPU-002", Required,
        check: { en: "GPU drivers", zh: "GPU 驱动版本" },
        title: { en: "A GPU driver is too old", zh: "GPU 驱动版本过低" },
        cause: {
            en: "The platform needs an NVIDIA driver of at least 440. Where the version is unknown, neither the node's labels nor the driver's own objects tell it.",
            zh: "平台要求 NVIDIA 驱动版本不低于 440。版本未知时，说明节点标签和驱动相关对象均未提供版本信息。"
        },
        remedy: {
            en: "Upgrade the driver of the nodes, or let the GPU Operator install it. GPU Feature Discovery labels nodes with the version.",
            zh: "升级节点上的驱动，或由 GPU Operator 安装驱动。GPU Feature Discovery 会将驱动版本写入节点标签。"
        };
    GPU_003 = "KTA-GPU-003", Required,
        check: { en: "Stock device plugin", zh: "原生设备插件" },
        title: { en: "NVIDIA's own device plugin runs beside HAMi's", zh: "NVIDIA 原生设备插件与 HAMi 同时运行" },
        cause: {
            en: "Both register nvidia.com/gpu at the kubelet, and whichever came last wins: devices are then given out whole, or not at all. The GPU Operator runs its plugin unless it is told not to.",
            zh: "两个插件都会向 kubelet 注册 nvidia.com/gpu，后注册者生效，导致设备按整卡分配或无法分配。GPU Operator 默认会启动自带的设备插件。"
        },
        remedy: {
            en: "Turn the GPU Operator's off: helm upgrade <release> nvidia/gpu-operator -n <namespace> --reuse-values --set devicePlugin.enabled=false; delete the DaemonSet of a plugin that was installed by itself.",
            zh: "关闭 GPU Operator 的设备插件：helm upgrade <release> nvidia/gpu-operator -n <命名空间> --reuse-values --set devicePlugin.enabled=false；若设备插件是单独安装的，请删除其 DaemonSet。"
        };
    GPU_004 = "KTA-GPU-004", Required,
        check: { en: "DCGM exporter", zh: "DCGM Exporter" },
        title: { en: "The DCGM exporter does not run on all GPU nodes", zh: "DCGM Exporter 未在所有 GPU 节点上运行" },
        cause: {
            en: "It is not installed, is turned off in the GPU Operator, or its pods do not start: mostly because the driver or the container toolkit is not ready on the node.",
            zh: "DCGM Exporter 未安装、在 GPU Operator 中被关闭，或其 Pod 无法启动（通常是节点上的驱动或容器工具包尚未就绪）。"
        },
        remedy: {
            en: "Look at its pods with kubectl get pods -A -l app=nvidia-dcgm-exporter -o wide, and turn it on with --set dcgmExporter.enabled=true in the GPU Operator's release.",
            zh: "用 kubectl get pods -A -l app=nvidia-dcgm-exporter -o wide 查看其 Pod，并在 GPU Operator 的 release 中设置 --set dcgmExporter.enabled=true。"
        };
    GPU_005 = "KTA-GPU-005", Recommended,
        check: { en: "State of the devices", zh: "设备状态" },
        title: { en: "Devices report faults", zh: "有设备报告故障" },
        cause: {
            en: "The device plugin registered a device as unhealthy, or DCGM reports an XID error. Overheating, memory faults and a lost device look like this.",
            zh: "设备插件将设备标记为不健康，或 DCGM 报告了 XID 错误，常见于过热、显存故障或掉卡。"
        },
        remedy: {
            en: "Look at the device on its node with nvidia-smi -q and at the kernel's log for NVRM: Xid; drain the node before resetting or replacing the device.",
            zh: "在节点上用 nvidia-smi -q 查看设备，并在内核日志中查找 NVRM: Xid；重置或更换设备前请先排空节点。"
        };
    GPU_006 = "KTA-GPU-006", Required,
        check: { en: "GPU Operator", zh: "GPU Operator" },
        title: { en: "The GPU Operator is missing or not ready", zh: "GPU Operator 缺失或未就绪" },
        cause: {
            en: "It is not installed, its ClusterPolicy reports an operand that is not ready, or the labels of Node Feature Discovery are missing, so that it finds no GPU node.",
            zh: "GPU Operator 未安装，其 ClusterPolicy 报告有组件未就绪，或者缺少 Node Feature Discovery 标签而找不到 GPU 节点。"
        },
        remedy: {
            en: "Read the conditions with kubectl get clusterpolicy -o yaml and the pods of its namespace; with drivers, toolkit and exporter installed by other means it is not needed.",
            zh: "用 kubectl get clusterpolicy -o yaml 查看状态条件，并检查其命名空间中的 Pod；若驱动、工具包和 Exporter 已通过其他方式安装，则不需要 GPU Operator。"
        };
}
