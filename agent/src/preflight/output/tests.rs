use kantaloupe_checks::{Code, Lang, Outcome, Verdict};

use super::*;

fn report() -> Report {
    let mut blocked = Outcome::new(Code::TLS_001, Verdict::Skip, "not tried");
    blocked.blocked_by = Some("KTA-NET-003".into());
    Report {
        command: "preflight",
        run_id: "0190".to_owned(),
        started: "2026-11-01T12:00:00Z".parse().unwrap(),
        duration_ms: 1_234,
        cluster: Some(("v1.31.4".to_owned(), "rke2".to_owned())),
        outcomes: vec![
            Outcome::new(Code::NET_002, Verdict::Pass, "gw.example.com is 203.0.113.7"),
            Outcome::new(Code::NET_003, Verdict::Fail, "no \"TCP\" <connection> & more")
                .evidence("address", "203.0.113.7:443")
                .command("curl -v -m 5 -k https://gw.example.com/healthz"),
            blocked,
            Outcome::new(Code::K8S_007, Verdict::Warn, "not ready: node-a")
                .command("kubectl describe node node-a"),
            Outcome::new(Code::HELM_001, Verdict::Unknown, "cannot be seen"),
        ],
        partial: false,
    }
}

fn style(lang: Lang) -> Style {
    Style {
        lang,
        color: false,
        quiet: false,
    }
}

#[test]
fn a_table_in_english() {
    let wanted = format!(
        "\
kantaloupe-agent preflight {}   Kubernetes v1.31.4 (rke2)
Network
  ✓ NET-002 Name of the gateway: gw.example.com is 203.0.113.7
  ✗ NET-003 TCP to the gateway: no \"TCP\" <connection> & more
      problem: The gateway cannot be reached
      cause  : A firewall, security group or network policy blocks the way out, the gateway does not run, or the port is wrong.
      do     : Allow outgoing TCP from the cluster's nodes to the gateway's host and port, and check from a node: curl -v <controlPlane.url>/healthz.
      run    : curl -v -m 5 -k https://gw.example.com/healthz
TLS
  - TLS-001 The gateway's certificate: not tried, see KTA-NET-003
Cluster
  ! K8S-007 Nodes: not ready: node-a
      problem: Nodes are not ready, or GPU nodes take no pods
      cause  : The kubelet of a node has stopped or has lost the API server, or a node with GPUs is cordoned.
      do     : Look at the node with kubectl describe node <name>, and let a cordoned one take pods again with kubectl uncordon <name>.
      run    : kubectl describe node node-a
Helm
  ? HELM-001 Helm: cannot be seen
SUMMARY  1 pass, 1 fail, 1 warn, 1 skip, 1 unknown, 1.2 s
",
        crate::VERSION
    );
    assert_eq!(table(&report(), style(Lang::En)), wanted);
}

#[test]
fn a_table_in_chinese() {
    let wanted = format!(
        "\
kantaloupe-agent preflight {}   Kubernetes v1.31.4 (rke2)
网络
  ✓ NET-002 网关域名解析：gw.example.com is 203.0.113.7
  ✗ NET-003 到网关的 TCP 连接：no \"TCP\" <connection> & more
      问题：无法连接网关
      原因：防火墙、安全组或 NetworkPolicy 阻断了出站连接，或者网关没有运行，或者端口有误。
      处理：放通集群节点到网关主机和端口的出站 TCP，并在节点上验证：curl -v <controlPlane.url>/healthz。
      命令：curl -v -m 5 -k https://gw.example.com/healthz
TLS
  - TLS-001 网关证书：未执行，参见 KTA-NET-003
集群
  ! K8S-007 节点状态：not ready: node-a
      问题：有节点未就绪，或 GPU 节点不可调度
      原因：节点上的 kubelet 已停止或无法连接 API Server，或者带有 GPU 的节点被设置为不可调度。
      处理：用 kubectl describe node <名称> 查看节点，并用 kubectl uncordon <名称> 恢复被隔离的节点。
      命令：kubectl describe node node-a
Helm
  ? HELM-001 Helm：cannot be seen
汇总  通过 1，失败 1，警告 1，跳过 1，未知 1，用时 1.2 秒
",
        crate::VERSION
    );
    assert_eq!(table(&report(), style(Lang::Zh)), wanted);
}

#[test]
fn a_quiet_table_has_only_what_is_wrong() {
    let quiet = Style {
        quiet: true,
        ..style(Lang::En)
    };
    let text = table(&report(), quiet);
    assert!(text.contains("NET-003") && text.contains("K8S-007"), "{text}");
    assert!(
        !text.contains("NET-002") && !text.contains("TLS-001") && !text.contains("HELM-001"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'));
    let colored = Style {
        color: true,
        ..style(Lang::En)
    };
    assert!(table(&report(), colored).contains("\u{1b}[31m✗\u{1b}[0m NET-003"));
}

#[test]
fn json_has_the_documented_shape() {
    let json = report().json();
    assert_eq!(json["apiVersion"], "kantaloupe.io/preflight/v1");
    assert_eq!(json["cluster"]["distribution"], "rke2");
    assert_eq!(
        json["summary"],
        serde_json::json!({"pass": 1, "warn": 1, "fail": 1, "skip": 1, "unknown": 1})
    );
    let failed = &json["checks"][1];
    for (pointer, value) in [
        ("/code", "KTA-NET-003"),
        ("/category", "net"),
        ("/severity", "required"),
        ("/result", "fail"),
        ("/title/en", "The gateway cannot be reached"),
        ("/title/zh", "无法连接网关"),
        ("/evidence/address", "203.0.113.7:443"),
        (
            "/fix/commands/0",
            "curl -v -m 5 -k https://gw.example.com/healthz",
        ),
    ] {
        assert_eq!(
            failed.pointer(pointer).and_then(Value::as_str),
            Some(value),
            "{pointer}"
        );
    }
    assert_eq!(json["checks"][2]["blockedBy"], "KTA-NET-003");
    let yaml: Value = serde_yaml_ng::from_str(&serde_yaml_ng::to_string(&json).unwrap()).unwrap();
    assert_eq!(yaml, json);
}

/// Reads XML as far as JUnit goes: elements nest, values are quoted, nothing stands bare. Names of elements in order.
fn elements(xml: &str) -> Vec<String> {
    let mut rest = xml
        .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>")
        .unwrap();
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(
            !text.contains('>') && (!open.is_empty() || text.trim().is_empty()),
            "{text}"
        );
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("a tag ends");
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        assert!(!tag.contains('<'), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let body = tag.strip_suffix('/').unwrap_or(tag);
        let (name, values) = body.split_once(' ').unwrap_or((body, ""));
        assert_eq!(values.matches('"').count() % 2, 0, "{tag}");
        assert!(
            values.matches('=').count() >= values.matches('"').count() / 2,
            "{tag}"
        );
        seen.push(name.to_owned());
        if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{rest}");
    // An ampersand begins an entity and nothing else.
    for (at, _) in xml.match_indices('&') {
        let entity = &xml[at..];
        assert!(
            ["&amp;", "&lt;", "&gt;", "&quot;", "&#10;"]
                .iter()
                .any(|known| entity.starts_with(known)),
            "{entity}"
        );
    }
    seen
}

#[test]
fn junit_is_xml_with_one_case_for_each_check() {
    let xml = junit(&report());
    let seen = elements(&xml);
    let count = |name: &str| seen.iter().filter(|seen| *seen == name).count();
    assert_eq!(
        (
            count("testsuite"),
            count("testcase"),
            count("failure"),
            count("skipped")
        ),
        (1, 5, 1, 2),
        "{xml}"
    );
    assert!(xml.contains("tests=\"5\" failures=\"1\""), "{xml}");
    assert!(
        xml.contains("no &quot;TCP&quot; &lt;connection&gt; &amp; more"),
        "{xml}"
    );
}
