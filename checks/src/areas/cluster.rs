//! K8S and VER: the agent's cluster, and whether the versions fit.

rows! {
    K8S_001 = "KTA-K8S-001", Required,
        title: { en: "The cluster's API server cannot be reached", zh: "无法访问集群的 API Server" },
        cause: {
            en: "The API server is down or restarting, a network policy blocks the agent's pod, or its service account token is not accepted.",
            zh: "API Server 停机或正在重启，NetworkPolicy 阻断了 Agent 所在 Pod，或者其 ServiceAccount 令牌不被接受。"
        },
        remedy: {
            en: "Check with kubectl get --raw /readyz inside the cluster, and that the agent's pod may reach the kubernetes Service in the default namespace.",
            zh: "在集群内执行 kubectl get --raw /readyz 检查，并确认 Agent 的 Pod 可以访问 default 命名空间中的 kubernetes Service。"
        };
    VER_001 = "KTA-VER-001", Required,
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
