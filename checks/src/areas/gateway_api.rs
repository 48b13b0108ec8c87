//! GW, STO and HELM: the way in for users' sessions, storage, and what tells of installations.

rows! {
    GW_001 = "KTA-GW-001", Recommended,
        check: { en: "Gateway API", zh: "Gateway API" },
        title: { en: "The Gateway API is not installed or its class is not accepted", zh: "Gateway API 未安装或 GatewayClass 未被接受" },
        cause: {
            en: "The cluster has no definitions of gateway.networking.k8s.io, or no controller has accepted a GatewayClass. VS Code, Jupyter and SSH sessions of users come in through it.",
            zh: "集群中没有 gateway.networking.k8s.io 的资源定义，或没有控制器接受任何 GatewayClass。用户的 VS Code、Jupyter 和 SSH 会话都经由它进入。"
        },
        remedy: {
            en: "Install the Gateway API and a controller for it, such as Envoy Gateway or Istio; SSH needs TCPRoute, which is in the experimental channel before 1.6.",
            zh: "安装 Gateway API 及其控制器（例如 Envoy Gateway 或 Istio）；SSH 需要 TCPRoute，在 1.6 之前属于 experimental 通道。"
        };
    GW_002 = "KTA-GW-002", Recommended,
        check: { en: "Gateways", zh: "Gateway 状态" },
        title: { en: "No Gateway is programmed", zh: "没有可用的 Gateway" },
        cause: {
            en: "There is no Gateway, its controller has not set it up yet, or it got no address, mostly because nothing hands out addresses to Services of type LoadBalancer.",
            zh: "没有 Gateway，控制器尚未完成配置，或没有分配到地址（通常是集群中没有为 LoadBalancer 类型 Service 分配地址的组件）。"
        },
        remedy: {
            en: "Read the conditions with kubectl describe gateway -A; install a load balancer such as MetalLB, or give spec.addresses.",
            zh: "用 kubectl describe gateway -A 查看状态条件；安装 MetalLB 等负载均衡组件，或设置 spec.addresses。"
        };
    GW_003 = "KTA-GW-003", Recommended,
        check: { en: "Address of the Gateway", zh: "Gateway 地址" },
        title: { en: "The Gateway's address does not answer in the cluster", zh: "Gateway 地址在集群内无法访问" },
        cause: {
            en: "Nothing listens at the address and port of the Gateway's listener, or the way there is blocked. Whether people reach it from outside cannot be seen from here.",
            zh: "Gateway 监听器的地址和端口上没有服务，或网络被阻断。用户能否从集群外访问无法在此判断。"
        },
        remedy: {
            en: "Check the pods and the Service of the Gateway's controller.",
            zh: "检查 Gateway 控制器的 Pod 和 Service。"
        };
    STO_001 = "KTA-STO-001", Info,
        check: { en: "Storage", zh: "存储" },
        title: { en: "There is no storage that many nodes can share", zh: "没有可供多节点共享的存储" },
        cause: {
            en: "No StorageClass of an NFS provisioner and no NFS volume was found, or no StorageClass is the default. Shared storage is optional.",
            zh: "没有找到 NFS 的 StorageClass 或 NFS 卷，或没有默认的 StorageClass。共享存储为可选项。"
        },
        remedy: {
            en: "Install an NFS provisioner such as csi-driver-nfs if workloads are to share files.",
            zh: "如果工作负载需要共享文件，请安装 csi-driver-nfs 等 NFS 存储插件。"
        };
    HELM_001 = "KTA-HELM-001", Info,
        check: { en: "Helm", zh: "Helm" },
        title: { en: "The version of Helm cannot be seen from the cluster", zh: "无法从集群内得知 Helm 客户端版本" },
        cause: {
            en: "Helm runs on the administrator's machine and leaves its version nowhere. Releases show in labels and, where the agent may read them, in release Secrets.",
            zh: "Helm 在管理员的机器上运行，不会留下版本信息。集群中只能看到 release 的标签，以及（在允许读取时）release Secret。"
        },
        remedy: {
            en: "Run helm version where you install from: 3.14 or newer is needed.",
            zh: "在执行安装的机器上运行 helm version，需要 3.14 或更高版本。"
        };
}
