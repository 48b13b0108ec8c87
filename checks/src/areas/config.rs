//! CFG: what the agent or gateway was told.

rows! {
    CFG_001 = "KTA-CFG-001", Required,
        check: { en: "Configuration", zh: "配置文件" },
        title: { en: "The configuration cannot be used", zh: "配置无法使用" },
        cause: {
            en: "A file is missing or cannot be read, a key or flag is misspelt or unknown, or a value has the wrong form.",
            zh: "文件缺失或无法读取，键名或参数拼写错误或不被识别，或者某个值的格式不正确。"
        },
        remedy: {
            en: "Correct what the message names (the agent's through the chart's values, the gateway's by its flags or KANTALOUPE_GATEWAY_ variables) and start again.",
            zh: "按提示逐一修正（Agent 通过 chart 的 values 修改，网关通过命令行参数或 KANTALOUPE_GATEWAY_ 环境变量修改），然后重新启动。"
        };
    CFG_002 = "KTA-CFG-002", Required,
        check: { en: "URL of the gateway", zh: "网关地址" },
        title: { en: "The gateway's URL cannot be used", zh: "网关地址无法使用" },
        cause: {
            en: "The URL has no https scheme or no host, or carries a user name, a query or a fragment.",
            zh: "地址缺少 https 协议头或主机名，或者带有用户名、查询参数或片段（#）。"
        },
        remedy: {
            en: "Set controlPlane.url to the form https://host[:port][/prefix], as the install command shows it.",
            zh: "将 controlPlane.url 设置为 https://主机[:端口][/前缀] 的形式，可直接复制安装命令中的地址。"
        };
    CFG_003 = "KTA-CFG-003", Required,
        check: { en: "Identity or enrolment token", zh: "身份凭据或接入令牌" },
        title: { en: "There is neither an identity nor an enrolment token", zh: "既没有身份凭据，也没有接入令牌" },
        cause: {
            en: "This is the first start and no token was given, or the identity Secret was deleted after enrolment.",
            zh: "这是首次启动但没有提供令牌，或者接入完成后身份 Secret 被删除。"
        },
        remedy: {
            en: "Make a new enrolment token for the cluster and run helm upgrade with --set enrollment.token=<token>.",
            zh: "为该集群重新生成接入令牌，然后执行 helm upgrade 并加上 --set enrollment.token=<令牌>。"
        };
}
