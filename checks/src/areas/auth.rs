//! AUTH: enrolment and identity of the agent.

rows! {
    AUTH_001 = "KTA-AUTH-001", Required,
        check: { en: "Enrolment token", zh: "接入令牌" },
        title: { en: "The enrolment token is damaged", zh: "接入令牌不完整或已损坏" },
        cause: {
            en: "The token was not copied as a whole, or a character changed on the way.",
            zh: "令牌没有完整复制，或者在传递过程中有字符发生了改变。"
        },
        remedy: {
            en: "Copy the whole token again, from kte_ to the last character, and run the install command again.",
            zh: "重新完整复制令牌（从 kte_ 到最后一个字符），并再次执行安装命令。"
        };
    AUTH_002 = "KTA-AUTH-002", Required,
        title: { en: "The gateway does not know this token or identity", zh: "网关不认识该令牌或身份" },
        cause: {
            en: "It was made by another gateway, the cluster was deleted since, or a newer token replaced it.",
            zh: "它由另一个网关签发，或者对应的集群已被删除，或者已被更新的令牌取代。"
        },
        remedy: {
            en: "Check controlPlane.url, then make a new enrolment token for this cluster and run the new install command.",
            zh: "核对 controlPlane.url，然后为该集群重新生成接入令牌并执行新的安装命令。"
        };
    AUTH_003 = "KTA-AUTH-003", Required,
        title: { en: "The enrolment token has expired", zh: "接入令牌已过期" },
        cause: {
            en: "An enrolment token is good for 60 minutes, and more time has passed since it was made.",
            zh: "接入令牌的有效期为 60 分钟，现已超过有效期。"
        },
        remedy: {
            en: "Make a new enrolment token and run helm upgrade with --set enrollment.token=<token>.",
            zh: "重新生成接入令牌，然后执行 helm upgrade 并加上 --set enrollment.token=<令牌>。"
        };
    AUTH_004 = "KTA-AUTH-004", Required,
        title: { en: "The enrolment token was already used", zh: "接入令牌已被使用" },
        cause: {
            en: "Another agent enrolled with it: the command ran against another cluster, or the identity Secret was deleted or the agent was uninstalled and the command ran again.",
            zh: "已有另一个 Agent 使用该令牌完成接入：安装命令曾在其他集群执行，或者在删除身份 Secret 或卸载 Agent 之后再次执行。"
        },
        remedy: {
            en: "Check that kubectl config current-context is the cluster that you mean, then make a new enrolment token.",
            zh: "用 kubectl config current-context 确认当前集群无误，然后重新生成接入令牌。"
        };
    AUTH_005 = "KTA-AUTH-005", Required,
        check: { en: "Identity belongs to this cluster", zh: "身份与集群一致" },
        title: { en: "This is not the cluster that enrolled", zh: "这不是当初接入的集群" },
        cause: {
            en: "The UID of the kube-system namespace has changed: the cluster was rebuilt or cloned, and the identity Secret was copied with it.",
            zh: "kube-system 命名空间的 UID 已改变：集群被重建或克隆，而身份 Secret 被一并复制。"
        },
        remedy: {
            en: "Make an enrolment token for this cluster (a clone is a cluster of its own) and run its install command here; the agent then makes a new identity.",
            zh: "为该集群生成接入令牌（克隆出的集群应作为新集群接入），并在此集群执行对应的安装命令，Agent 会生成新的身份。"
        };
    AUTH_006 = "KTA-AUTH-006", Recommended,
        title: { en: "The cluster is already connected by another agent", zh: "该集群已由另一个 Agent 接入" },
        cause: {
            en: "Two agents run with one identity, or the same cluster was added twice under different names.",
            zh: "有两个 Agent 使用同一身份运行，或者同一集群以不同名称被接入了两次。"
        },
        remedy: {
            en: "Find both with kubectl get pods -A -l app.kubernetes.io/name=kantaloupe-agent and uninstall the one that is not wanted.",
            zh: "用 kubectl get pods -A -l app.kubernetes.io/name=kantaloupe-agent 找到这两个 Agent，并卸载不需要的一个。"
        };
    AUTH_007 = "KTA-AUTH-007", Required,
        check: { en: "Identity at the gateway", zh: "身份有效性" },
        title: { en: "The agent's identity is refused", zh: "Agent 身份被拒绝" },
        cause: {
            en: "The cluster was revoked or deleted at the gateway, or the signature does not fit the enrolled key.",
            zh: "该集群已在网关侧被吊销或删除，或者签名与接入时的密钥不匹配。"
        },
        remedy: {
            en: "If the cluster is to be connected again, make a new enrolment token and run the new install command; otherwise remove the agent with helm uninstall.",
            zh: "如需重新接入，请生成新的接入令牌并执行新的安装命令；否则请用 helm uninstall 卸载 Agent。"
        };
    AUTH_008 = "KTA-AUTH-008", Required,
        check: { en: "Identity Secret", zh: "身份 Secret" },
        title: { en: "The identity Secret cannot be read or written", zh: "无法读写身份 Secret" },
        cause: {
            en: "The Secret was deleted, the agent's Role does not allow get, update and patch on it, or an admission policy refuses the change.",
            zh: "该 Secret 已被删除，或者 Agent 的 Role 没有授予对它的 get、update、patch 权限，或者修改被准入策略拒绝。"
        },
        remedy: {
            en: "Run helm upgrade again, which makes the Secret and the Role; with rbac.create=false or identity.create=false make them yourself, for the Secret named in identity.secretName.",
            zh: "重新执行 helm upgrade 以创建该 Secret 和 Role；若设置了 rbac.create=false 或 identity.create=false，请自行创建 identity.secretName 指定的 Secret 并授予上述权限。"
        };
}
