//! NET: the way from the agent to the gateway.

rows! {
    NET_001 = "KTA-NET-001", Recommended,
        check: { en: "Resolver of the pod", zh: "Pod 的 DNS 配置" },
        title: { en: "The pod's DNS configuration is unusual", zh: "Pod 的 DNS 配置异常" },
        cause: {
            en: "The pod's /etc/resolv.conf names no server, or one at a loopback address, which in a pod is the pod itself: mostly systemd-resolved's 127.0.0.53, copied from the node.",
            zh: "Pod 的 /etc/resolv.conf 中没有 DNS 服务器，或服务器是回环地址（在 Pod 中即 Pod 自身），通常是从节点复制了 systemd-resolved 的 127.0.0.53。"
        },
        remedy: {
            en: "Start the kubelet with resolvConf: /run/systemd/resolve/resolv.conf, and check the pod's dnsPolicy and the clusterDNS of the kubelet.",
            zh: "为 kubelet 设置 resolvConf: /run/systemd/resolve/resolv.conf，并检查 Pod 的 dnsPolicy 与 kubelet 的 clusterDNS 配置。"
        };
    NET_002 = "KTA-NET-002", Required,
        check: { en: "Name of the gateway", zh: "网关域名解析" },
        title: { en: "The gateway's name cannot be resolved", zh: "无法解析网关域名" },
        cause: {
            en: "The host name in controlPlane.url is misspelt, or the cluster's DNS does not know it or does not answer.",
            zh: "controlPlane.url 中的主机名有误，或者集群 DNS 没有该域名的记录或没有响应。"
        },
        remedy: {
            en: "Check the name, then CoreDNS: kubectl -n kube-system logs -l k8s-app=kube-dns --tail=20. For a name that is in no DNS, use the chart's hostAliases.",
            zh: "先核对主机名，再检查 CoreDNS：kubectl -n kube-system logs -l k8s-app=kube-dns --tail=20。若该域名不在任何 DNS 中，请使用 chart 的 hostAliases。"
        };
    NET_003 = "KTA-NET-003", Required,
        check: { en: "TCP to the gateway", zh: "到网关的 TCP 连接" },
        title: { en: "The gateway cannot be reached", zh: "无法连接网关" },
        cause: {
            en: "A firewall, security group or network policy blocks the way out, the gateway does not run, or the port is wrong.",
            zh: "防火墙、安全组或 NetworkPolicy 阻断了出站连接，或者网关没有运行，或者端口有误。"
        },
        remedy: {
            en: "Allow outgoing TCP from the cluster's nodes to the gateway's host and port, and check from a node: curl -v <controlPlane.url>/healthz.",
            zh: "放通集群节点到网关主机和端口的出站 TCP，并在节点上验证：curl -v <controlPlane.url>/healthz。"
        };
    NET_007 = "KTA-NET-007", Required,
        check: { en: "Answer of the gateway", zh: "网关应答与 WebSocket" },
        title: { en: "The server did not open the tunnel", zh: "服务器没有建立隧道" },
        cause: {
            en: "The URL is not a gateway's, or a proxy or load balancer on the way removes the WebSocket upgrade.",
            zh: "该地址不是网关的地址，或者途中的代理或负载均衡器移除了 WebSocket 升级（Upgrade）请求头。"
        },
        remedy: {
            en: "Compare controlPlane.url with the install command (is this the gateway's URL?), and allow WebSocket upgrades on every proxy in between.",
            zh: "核对 controlPlane.url 与安装命令中的地址是否一致（这是网关的地址吗？），并在途中的所有代理上允许 WebSocket 升级。"
        };
}
