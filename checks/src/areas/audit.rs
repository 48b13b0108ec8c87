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
}
