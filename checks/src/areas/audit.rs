//! AUDIT: the gateway's record of who did what.

rows! {
    AUDIT_001 = "KTA-AUDIT-001", Request,
        title: { en: "The audit cannot be written", zh: "无法写入审计日志" },
        cause: {
            en: "The disk of the gateway's data folder is full or not writable, so requests are refused that could not be traced later.",
            zh: "网关数据目录所在磁盘已满或不可写。为避免出现无法追溯的操作，请求被拒绝。"
        },
        remedy: {
            en: "Free space in the data folder, or lower --audit-max-mib. The gateway goes on by itself. --audit-failure allow lets requests pass meanwhile.",
            zh: "清理数据目录所在磁盘，或调小 --audit-max-mib，网关会自动恢复。如需在此期间放行请求，可设置 --audit-failure allow。"
        };
    AUDIT_002 = "KTA-AUDIT-002", Required,
        title: { en: "The audit was changed", zh: "审计日志被改动" },
        cause: {
            en: "An entry was changed, removed, put in or put elsewhere after it had been written, or the disk damaged it.",
            zh: "有条目在写入之后被修改、删除、插入或移动，或者因磁盘故障而损坏。"
        },
        remedy: {
            en: "Keep a copy of the data folder as it is. Entries before the one that is named are sound. Compare with exports, backups and the agents' own logs.",
            zh: "先原样备份数据目录。所指条目之前的内容是可信的。请与导出文件、备份以及 Agent 自身的日志进行比对。"
        };
    AUDIT_003 = "KTA-AUDIT-003", Required,
        title: { en: "The audit and the agent's own log differ", zh: "审计日志与 Agent 自身的日志不一致" },
        cause: {
            en: "The agent let something through that the gateway did not write down, or the two say different things of one request.",
            zh: "Agent 放行了网关没有记录的请求，或者两者对同一请求的记录不同。"
        },
        remedy: {
            en: "Look at the requests that are named. A request that only the agent has was sent by somebody who could use the gateway's tunnel without its audit.",
            zh: "检查列出的请求。仅 Agent 有记录的请求，说明有人绕过网关的审计使用了隧道。"
        };
    AUDIT_004 = "KTA-AUDIT-004", Request,
        title: { en: "A terminal session cannot be recorded", zh: "无法录制终端会话" },
        cause: {
            en: "Terminal sessions are recorded here, and the disk of the gateway's data folder is full or not writable, or the session has reached the size that one recording may have.",
            zh: "此网关会录制终端会话，但其数据目录所在磁盘已满或不可写，或者会话已达到单个录像允许的大小。"
        },
        remedy: {
            en: "Free space in the data folder, lower --recordings-max-mib or raise --recording-session-mib. --audit-failure allow lets sessions go on without their recording, --record-terminals off switches recordings off.",
            zh: "清理数据目录所在磁盘，调小 --recordings-max-mib，或调大 --recording-session-mib。设置 --audit-failure allow 时会话可在不录制的情况下继续；--record-terminals off 关闭录制。"
        };
    AUDIT_005 = "KTA-AUDIT-005", Request,
        title: { en: "The client's terminal protocol cannot be recorded", zh: "客户端的终端协议无法录制" },
        cause: {
            en: "Terminal sessions are recorded here, and this client speaks a protocol that the gateway cannot read along, or something that is not Kubernetes' protocol at all.",
            zh: "此网关会录制终端会话，而该客户端使用的协议无法被网关解读，或根本不是 Kubernetes 的协议。"
        },
        remedy: {
            en: "Use kubectl exec or attach, any version. Other clients have to offer v5.channel.k8s.io, v4.channel.k8s.io or channel.k8s.io over WebSocket, or SPDY/3.1. Or an administrator of the gateway sets --record-terminals off.",
            zh: "请使用任意版本的 kubectl exec 或 attach。其他客户端需通过 WebSocket 提供 v5.channel.k8s.io、v4.channel.k8s.io 或 channel.k8s.io，或使用 SPDY/3.1。也可由网关管理员设置 --record-terminals off。"
        };
    AUDIT_006 = "KTA-AUDIT-006", Required,
        title: { en: "A recording was changed or is missing", zh: "终端录像被改动或缺失" },
        cause: {
            en: "The file of a recording does not have the length and SHA-256 that the audit names, or is gone without retention having removed it.",
            zh: "录像文件的长度或 SHA-256 与审计日志中的记录不符，或者文件在保留期清理之外消失。"
        },
        remedy: {
            en: "Keep a copy of the data folder as it is. The audit itself is sound: it still says who was in the session, when and for how long. Look for the file in backups.",
            zh: "先原样备份数据目录。审计日志本身可信，仍能说明会话的人员、时间和时长。请在备份中查找该文件。"
        };
}
