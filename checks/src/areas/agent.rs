//! AGT and SEC: the agent's own pod and its surroundings.

rows! {
    AGT_001 = "KTA-AGT-001", Required,
        check: { en: "Memory of the agent", zh: "Agent 内存" },
        title: { en: "The agent is short of memory", zh: "Agent 内存不足" },
        cause: {
            en: "The agent uses more than 80 % of its memory limit, or was ended by the kernel for lack of memory: the limit is too small for the number of nodes and pods.",
            zh: "Agent 的内存使用超过限制的 80%，或曾因内存不足被内核终止：内存限制对于节点和 Pod 的数量来说过小。"
        },
        remedy: {
            en: "Raise resources.limits.memory in the chart's values.",
            zh: "在 chart 的 values 中调大 resources.limits.memory。"
        };
    AGT_002 = "KTA-AGT-002", Recommended,
        check: { en: "Agent", zh: "Agent 运行状态" },
        title: { en: "The agent is not connected or restarts often", zh: "Agent 未连接或频繁重启" },
        cause: {
            en: "No tunnel to the gateway is up; the message names the code of the reason. Or the agent's container has ended several times.",
            zh: "到网关的隧道未建立（消息中给出原因的错误码），或者 Agent 容器多次退出。"
        },
        remedy: {
            en: "Follow the code in the message, and read the agent's log: kubectl -n kantaloupe-system logs deploy/kantaloupe-agent, with --previous after a restart.",
            zh: "按消息中的错误码处理，并查看 Agent 日志：kubectl -n kantaloupe-system logs deploy/kantaloupe-agent，重启后可加 --previous。"
        };
    SEC_001 = "KTA-SEC-001", Recommended,
        check: { en: "Pod security of the namespace", zh: "命名空间的 Pod 安全级别" },
        title: { en: "The agent's namespace admits privileged pods", zh: "Agent 所在命名空间允许特权 Pod" },
        cause: {
            en: "The namespace is labelled pod-security.kubernetes.io/enforce=privileged, so whoever may create pods in it can take the agent's rights. The agent itself runs under the restricted standard.",
            zh: "该命名空间带有 pod-security.kubernetes.io/enforce=privileged 标签，能在其中创建 Pod 的人可以获得 Agent 的权限。Agent 自身符合 restricted 标准。"
        },
        remedy: {
            en: "Label the namespace: kubectl label namespace <namespace> pod-security.kubernetes.io/enforce=restricted --overwrite.",
            zh: "为命名空间设置标签：kubectl label namespace <命名空间> pod-security.kubernetes.io/enforce=restricted --overwrite。"
        };
    SEC_002 = "KTA-SEC-002", Recommended,
        check: { en: "Network policies", zh: "网络策略" },
        title: { en: "A network policy does not let the agent out", zh: "网络策略不允许 Agent 出站" },
        cause: {
            en: "A NetworkPolicy selects the agent's pods for egress, and no policy allows the way to the gateway's port. Whether it is enforced depends on the cluster's network plugin.",
            zh: "有 NetworkPolicy 对 Agent 的 Pod 限制出站，且没有策略放通到网关端口的流量。是否生效取决于集群的网络插件。"
        },
        remedy: {
            en: "Allow egress from the agent's pods to the gateway's port, to DNS and to the API server.",
            zh: "放通 Agent 的 Pod 到网关端口、DNS 和 API Server 的出站流量。"
        };
}
