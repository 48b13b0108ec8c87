//! SRV: answers of the gateway.

rows! {
    SRV_001 = "KTA-SRV-001", Request,
        title: { en: "The cluster is not connected", zh: "集群未连接" },
        cause: {
            en: "The agent does not run, or cannot reach the gateway at the moment.",
            zh: "Agent 没有运行，或者当前无法连接网关。"
        },
        remedy: {
            en: "Look at the agent in its cluster: kubectl -n kantaloupe-system get pods, and its log.",
            zh: "在该集群中查看 Agent：kubectl -n kantaloupe-system get pods，并查看其日志。"
        };
    SRV_002 = "KTA-SRV-002", Request,
        title: { en: "You have no permission for this", zh: "没有权限执行此操作" },
        cause: {
            en: "None of your roles includes this action there, the token's scope leaves it out, or the request tried to act as somebody else.",
            zh: "您在此处的角色不包含此操作，令牌的范围（scope）不包含它，或者请求试图以他人身份执行。"
        },
        remedy: {
            en: "Ask an administrator for a role that includes it; kubectl --as takes a right of its own (POST /api/v1/impersonators), and --as-group passes for nobody.",
            zh: "请管理员授予包含此操作的角色；kubectl --as 需要单独授权（POST /api/v1/impersonators），--as-group 对任何人都不开放。"
        };
    SRV_003 = "KTA-SRV-003", Request,
        title: { en: "There are too many requests or streams at once", zh: "并发请求或流过多" },
        cause: {
            en: "The limit of open streams of the cluster, or of attempts in a short time, is reached.",
            zh: "已达到该集群的并发流上限，或短时间内的尝试次数上限。"
        },
        remedy: {
            en: "Close watches and streams that are not needed, and try again a little later.",
            zh: "关闭不需要的 watch 和流，稍后重试。"
        };
    SRV_004 = "KTA-SRV-004", Request,
        title: { en: "The agent is too old for this call", zh: "Agent 版本过旧，不支持此调用" },
        cause: {
            en: "The call needs something that this release of the agent cannot do.",
            zh: "此调用所需的功能在该版本的 Agent 中不存在。"
        },
        remedy: {
            en: "Upgrade the agent: helm upgrade --reuse-values --version <version>.",
            zh: "升级 Agent：helm upgrade --reuse-values --version <版本>。"
        };
    SRV_005 = "KTA-SRV-005", Request,
        title: { en: "The request path or method is not allowed", zh: "请求路径或方法不被允许" },
        cause: {
            en: "The path can be read in more than one way (//, .., encoded slashes, backslashes), or the method is not one of the Kubernetes API.",
            zh: "路径可能有多种解读（//、..、编码的斜杠、反斜杠），或者该方法不属于 Kubernetes API。"
        },
        remedy: {
            en: "Send the path in its plain form, as kubectl does.",
            zh: "请像 kubectl 那样以规范形式发送路径。"
        };
    SRV_006 = "KTA-SRV-006", Request,
        title: { en: "The gateway could not store or read its data", zh: "网关无法读写数据" },
        cause: {
            en: "The data folder is a wrong path, its disk is full or not writable, or the database file is damaged.",
            zh: "数据目录路径有误，所在磁盘已满或不可写，或者数据库文件已损坏。"
        },
        remedy: {
            en: "Correct the path or the rights of the data folder, free space, or replace a damaged gateway.db from a backup. A gateway that runs goes on by itself.",
            zh: "修正数据目录的路径或权限，清理磁盘空间，或用备份替换损坏的 gateway.db。正在运行的网关会自动恢复。"
        };
    SRV_007 = "KTA-SRV-007", Required,
        title: { en: "The listen address cannot be used", zh: "监听地址无法使用" },
        cause: {
            en: "Another process has the port, the address is not of this machine, or the port needs more rights.",
            zh: "端口已被其他进程占用，该地址不属于本机，或者使用该端口需要更高权限。"
        },
        remedy: {
            en: "Find the other process with ss -ltnp, or choose another address.",
            zh: "用 ss -ltnp 查找占用端口的进程，或者更换监听地址。"
        };
    SRV_008 = "KTA-SRV-008", Request,
        title: { en: "The request's content cannot be used", zh: "请求内容无效" },
        cause: {
            en: "The body is no valid JSON, a field is missing or too long, or a name breaks the naming rules or is taken.",
            zh: "请求体不是合法的 JSON，缺少字段或字段过长，或者名称不符合规则或已被占用。"
        },
        remedy: {
            en: "Correct what the detail names. Names are lower-case letters, digits and hyphens, at most 63 characters.",
            zh: "按详情提示修正。名称只能包含小写字母、数字和连字符，且不超过 63 个字符。"
        };
    SRV_009 = "KTA-SRV-009", Request,
        title: { en: "There is nothing with this name or id", zh: "没有此名称或 ID 对应的对象" },
        cause: {
            en: "It was deleted, or the name or the URL is misspelt.",
            zh: "该对象已被删除，或者名称或地址拼写有误。"
        },
        remedy: {
            en: "List what there is, such as GET /api/v1/clusters, and check the name.",
            zh: "列出现有对象（例如 GET /api/v1/clusters），并核对名称。"
        };
    SRV_010 = "KTA-SRV-010", Request,
        title: { en: "You are not signed in", zh: "未登录或凭据无效" },
        cause: {
            en: "There is no API token in the request, or it is wrong, expired or deleted.",
            zh: "请求中没有 API 令牌，或者令牌有误、已过期或已被删除。"
        },
        remedy: {
            en: "Send a valid token as Authorization: Bearer kta_..., or download the kubeconfig again.",
            zh: "在请求头中发送有效令牌（Authorization: Bearer kta_...），或重新下载 kubeconfig。"
        };
    SRV_011 = "KTA-SRV-011", Request,
        title: { en: "A part of a cluster's inventory could not be taken", zh: "无法接收集群清单的一部分" },
        cause: {
            en: "The agent is of a newer release than the gateway and sends what the gateway does not know, or the inventory has more records than the gateway takes of one cluster.",
            zh: "Agent 版本比网关新，发送了网关不认识的内容；或者清单的记录数超过了网关对单个集群的上限。"
        },
        remedy: {
            en: "Upgrade the gateway. GET /api/v1/clusters/<name>/inventory counts what was not taken and names one of the records; the limit is --inventory-records.",
            zh: "升级网关。GET /api/v1/clusters/<名称>/inventory 会给出未接收的数量和其中一条记录；上限由 --inventory-records 设置。"
        };
}
