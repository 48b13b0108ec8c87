//! TLS and TIME: whether the gateway is the one that it should be, and whether the clocks agree.

rows! {
    TLS_001 = "KTA-TLS-001", Required,
        check: { en: "The gateway's certificate", zh: "网关证书" },
        title: { en: "The gateway's certificate is not trusted", zh: "网关证书不受信任" },
        cause: {
            en: "The certificate comes from a private CA, is for another name, or has expired; or something on the way inspects TLS.",
            zh: "证书由私有 CA 签发、与主机名不符或已过期；也可能是途中有设备在做 TLS 审查。"
        },
        remedy: {
            en: "Give the agent the CA with --set-file tls.caBundle=ca.pem, or pin the gateway's key with controlPlane.caPin from the install command. Exempt the gateway from TLS inspection.",
            zh: "通过 --set-file tls.caBundle=ca.pem 提供 CA 证书，或使用安装命令中的 controlPlane.caPin 固定网关公钥；并将网关地址加入 TLS 审查的例外名单。"
        };
    TLS_002 = "KTA-TLS-002", Required,
        check: { en: "The gateway's pinned key", zh: "网关公钥固定值" },
        title: { en: "The gateway's key is not the pinned one", zh: "网关公钥与固定值不符" },
        cause: {
            en: "The gateway got a new certificate with a new key, controlPlane.caPin was copied wrongly, or another server answers at this address.",
            zh: "网关更换了证书和密钥，controlPlane.caPin 复制有误，或者该地址上应答的是另一台服务器。"
        },
        remedy: {
            en: "Take the pin from a fresh install command and run helm upgrade with it. If nobody changed the gateway's key, do not go on: find out who answers.",
            zh: "从新的安装命令中获取固定值并执行 helm upgrade。如果没有人更换过网关密钥，请不要继续，先查明是谁在应答。"
        };
    TIME_001 = "KTA-TIME-001", Required,
        check: { en: "Clocks", zh: "时钟偏差" },
        title: { en: "The clocks of cluster and gateway differ too much", zh: "集群与网关的时钟相差过大" },
        cause: {
            en: "The node's clock is off by more than 300 seconds, mostly because time synchronisation does not run.",
            zh: "节点时钟偏差超过 300 秒，通常是因为时间同步服务没有运行。"
        },
        remedy: {
            en: "Set up NTP or chrony on the node (timedatectl shows the state); the agent tries again by itself.",
            zh: "在节点上启用 NTP 或 chrony（可用 timedatectl 查看状态），Agent 会自动重试。"
        };
}
