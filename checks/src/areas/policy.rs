//! POL: what the agent refuses by itself, whatever the gateway sends.

rows! {
    POL_001 = "KTA-POL-001", Request,
        title: { en: "The cluster's owner does not allow this", zh: "集群所有者不允许此操作" },
        cause: {
            en: "The owner of the cluster has set limits for everybody in the agent's chart values: profile, namespaces, exec, logs, port-forward, proxy, Services. The message names the one that forbids it.",
            zh: "集群所有者在 Agent 的 chart values 中为所有人设置了限制：模式、命名空间、exec、日志、端口转发、proxy、Service。消息中给出了禁止此操作的设置项。"
        },
        remedy: {
            en: "Ask the owner of the cluster to change the value that the message names, such as access.exec, with helm upgrade. Nobody can change it from the gateway.",
            zh: "请集群所有者通过 helm upgrade 修改消息中给出的设置项（例如 access.exec）。该设置无法在网关侧修改。"
        };
    POL_002 = "KTA-POL-002", Request,
        title: { en: "The agent refuses what the role does not include", zh: "Agent 拒绝了角色不包含的操作" },
        cause: {
            en: "The gateway let a request through that the role and namespaces it names do not include. Gateway and agent are of releases with different rules, or the gateway was changed.",
            zh: "网关放行了其所声明的角色和命名空间不包含的请求。网关与 Agent 的版本规则不同，或者网关被改动。"
        },
        remedy: {
            en: "Upgrade gateway and agent to the same release. If they are, look at the gateway as at a machine that may have been taken over.",
            zh: "将网关与 Agent 升级到同一版本。如果版本一致，应将该网关视为可能已被入侵的主机进行排查。"
        };
    POL_003 = "KTA-POL-003", Request,
        title: { en: "The gateway does not say properly who asks", zh: "网关未正确说明请求者身份" },
        cause: {
            en: "A header with the user, role, namespaces, organisation or request id is missing, doubled or malformed in what the gateway sent to the agent.",
            zh: "网关发送给 Agent 的请求中，用户、角色、命名空间、组织或请求 ID 的请求头缺失、重复或格式错误。"
        },
        remedy: {
            en: "Upgrade gateway and agent to the same release. If they are, look at the gateway as at a machine that may have been taken over.",
            zh: "将网关与 Agent 升级到同一版本。如果版本一致，应将该网关视为可能已被入侵的主机进行排查。"
        };
}
