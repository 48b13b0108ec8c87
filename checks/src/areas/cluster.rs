//! K8S and VER: the agent's cluster, and whether the versions fit.

rows! {
    K8S_001 = "KTA-K8S-001", Required,
        check: { en: "API server", zh: "集群 API Server" },
        title: { en: "The cluster's API server cannot be reached", zh: "无法访问集群的 API Server" },
        cause: {
            en: "The API server is down or restarting, a network policy blocks the agent's pod, or its service account token is not accepted.",
            zh: "API Server 停机或正在重启，NetworkPolicy 阻断了 Agent 所在 Pod，或者其 ServiceAccount 令牌不被接受。"
        },
        remedy: {
            en: "Check with kubectl get --raw /readyz inside the cluster, and that the agent's pod may reach the kubernetes Service in the default namespace.",
            zh: "在集群内执行 kubectl get --raw /readyz 检查，并确认 Agent 的 Pod 可以访问 default 命名空间中的 kubernetes Service。"
        };
    K8S_002 = "KTA-K8S-002", Required,
        check: { en: "Version of Kubernetes", zh: "Kubernetes 版本" },
        title: { en: "This version of Kubernetes is too old", zh: "Kubernetes 版本过低" },
        cause: {
            en: "The API server is older than 1.26, the oldest that the agent is made for.",
            zh: "API Server 版本低于 1.26，即 Agent 支持的最低版本。"
        },
        remedy: {
            en: "Upgrade the cluster to a version that Kubernetes still maintains.",
            zh: "将集群升级到 Kubernetes 社区仍在维护的版本。"
        };
    K8S_003 = "KTA-K8S-003", Info,
        check: { en: "Distribution of Kubernetes", zh: "Kubernetes 发行版" },
        title: { en: "The distribution of Kubernetes is not known", zh: "未能识别 Kubernetes 发行版" },
        cause: {
            en: "Neither the version nor the nodes carry a mark of a distribution that is known here. Everything works as on plain Kubernetes.",
            zh: "版本号和节点上都没有已知发行版的标记，系统将按原生 Kubernetes 处理，功能不受影响。"
        },
        remedy: {
            en: "Nothing has to be done.",
            zh: "无需处理。"
        };
    K8S_004 = "KTA-K8S-004", Required,
        check: { en: "Rights of the agent", zh: "Agent 的权限" },
        title: { en: "The agent's rights are not those of its profile", zh: "Agent 的权限与所选模式不一致" },
        cause: {
            en: "The chart's ClusterRole or its binding was changed, removed or never made (rbac.create=false), or another binding gives the service account more than the profile says. What the agent may not read is shown as unknown.",
            zh: "chart 创建的 ClusterRole 或绑定被修改、删除，或从未创建（rbac.create=false），或者其他绑定赋予了该 ServiceAccount 超出所选模式的权限。Agent 无权读取的内容会显示为未知。"
        },
        remedy: {
            en: "Run helm upgrade again, which restores role and binding. For rights that are too wide, find the other binding with kubectl get clusterrolebindings,rolebindings -A -o wide and remove it.",
            zh: "重新执行 helm upgrade 以恢复角色和绑定。若权限过宽，请用 kubectl get clusterrolebindings,rolebindings -A -o wide 找到多余的绑定并删除。"
        };
    K8S_006 = "KTA-K8S-006", Info,
        check: { en: "Optional APIs", zh: "可选 API" },
        title: { en: "Some optional APIs are not installed", zh: "部分可选 API 未安装" },
        cause: {
            en: "metrics.k8s.io, gateway.networking.k8s.io, monitoring.coreos.com or resource.k8s.io is not served by this cluster. What needs it is left out.",
            zh: "该集群未提供 metrics.k8s.io、gateway.networking.k8s.io、monitoring.coreos.com 或 resource.k8s.io，依赖它们的功能将不可用。"
        },
        remedy: {
            en: "Install metrics-server, the Gateway API, the Prometheus Operator or a DRA driver if you want what they give.",
            zh: "如需相应功能，请安装 metrics-server、Gateway API、Prometheus Operator 或 DRA 驱动。"
        };
    K8S_007 = "KTA-K8S-007", Recommended,
        check: { en: "Nodes", zh: "节点状态" },
        title: { en: "Nodes are not ready, or GPU nodes take no pods", zh: "有节点未就绪，或 GPU 节点不可调度" },
        cause: {
            en: "The kubelet of a node has stopped or has lost the API server, or a node with GPUs is cordoned.",
            zh: "节点上的 kubelet 已停止或无法连接 API Server，或者带有 GPU 的节点被设置为不可调度。"
        },
        remedy: {
            en: "Look at the node with kubectl describe node <name>, and let a cordoned one take pods again with kubectl uncordon <name>.",
            zh: "用 kubectl describe node <名称> 查看节点，并用 kubectl uncordon <名称> 恢复被隔离的节点。"
        };
    VER_001 = "KTA-VER-001", Required,
        check: { en: "Version of the protocol", zh: "协议版本" },
        title: { en: "Agent and gateway do not speak the same protocol version", zh: "Agent 与网关的协议版本不兼容" },
        cause: {
            en: "One of them is much older than the other.",
            zh: "其中一方的版本明显旧于另一方。"
        },
        remedy: {
            en: "Upgrade the older one: the agent with helm upgrade --reuse-values --version <version>, the gateway with its own release.",
            zh: "升级版本较旧的一方：Agent 使用 helm upgrade --reuse-values --version <版本>，网关则更新到新版本。"
        };
}
