//! From the steps of the way to the gateway to outcomes.

use std::fs;

use kantaloupe_checks::{Code, Outcome, Verdict};
use kantaloupe_gpu::platform::checks::{bad, skipped};
use url::Url;

use crate::control_plane::{Probed, Step};

/// In the order in which a connect passes them.
const WAY: [Code; 7] = [
    Code::NET_002,
    Code::NET_003,
    Code::TLS_002,
    Code::TLS_001,
    Code::NET_007,
    Code::TIME_001,
    Code::VER_001,
];
/// Where the resolver's configuration is.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Outcomes of the whole way, also of the steps that could not be tried.
pub(super) fn way(probed: &Probed, pinned: bool, url: &Url) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut blocker = None;
    for code in WAY {
        let step = probed.steps.iter().find(|step| step.code == code);
        let outcome = match (step, blocker) {
            (Some(step), _) => {
                if step.result.is_err() && code != Code::TIME_001 {
                    blocker = Some(code);
                }
                of_step(step, url)
            }
            (None, _) if code == Code::TLS_002 && !pinned => Outcome::new(
                code,
                Verdict::Skip,
                "no pin is configured; the certificate decides",
            ),
            // The pin and the certificate are one handshake: the code that it failed with comes later in this order.
            (None, None) => {
                let failed = probed.steps.iter().find(|step| step.result.is_err());
                skipped(code, failed.map_or(Code::NET_007, |step| step.code))
            }
            (None, Some(blocker)) => skipped(code, blocker),
        };
        outcomes.push(outcome);
    }
    outcomes
}

/// Every step is skipped, since the configuration cannot be used or does not exist.
pub(super) fn not_tried(blocker: Code) -> Vec<Outcome> {
    WAY.iter().map(|&code| skipped(code, blocker)).collect()
}

fn of_step(step: &Step, url: &Url) -> Outcome {
    let took = u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX);
    let mut outcome = match &step.result {
        Ok(text) if step.doubtful => Outcome::new(step.code, Verdict::Warn, text.clone()),
        Ok(text) => Outcome::new(step.code, Verdict::Pass, text.clone()),
        Err(fault) => {
            let mut outcome = bad(step.code, fault.what_and_detail());
            if fault.code() != step.code {
                outcome = outcome.evidence("fault", fault.code().as_str());
            }
            outcome
        }
    };
    if outcome.verdict != Verdict::Pass {
        outcome.commands = commands(step.code, url);
    }
    outcome.duration_ms = took;
    outcome
}

fn commands(code: Code, url: &Url) -> Vec<String> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let base = url.as_str().trim_end_matches('/');
    let command = match code {
        Code::NET_002 => {
            return vec![
                format!(
                    "kubectl run kantaloupe-probe -it --rm --restart=Never --image=busybox -- nslookup {host}"
                ),
                "kubectl -n kube-system logs -l k8s-app=kube-dns --tail=20".to_owned(),
            ];
        }
        Code::NET_003 => format!("curl -v -m 5 -k {base}/healthz"),
        Code::TLS_001 | Code::TLS_002 => {
            format!("openssl s_client -connect {host}:{port} -servername {host} -showcerts </dev/null")
        }
        Code::TIME_001 => "timedatectl status".to_owned(),
        Code::VER_001 => {
            "helm upgrade kantaloupe-agent <chart> --reuse-values --version <version>".to_owned()
        }
        _ => format!("curl -sS -m 5 -k -i {base}/agent/v1/challenge"),
    };
    vec![command]
}

/// The pod's resolver, from its file.
pub(super) fn resolver(in_pod: bool) -> Outcome {
    let code = Code::NET_001;
    if !in_pod {
        return Outcome::new(code, Verdict::Skip, "this is not a pod");
    }
    match fs::read_to_string(RESOLV_CONF) {
        Ok(text) => judge_resolver(&text),
        Err(error) => bad(code, format!("{RESOLV_CONF} cannot be read: {error}")),
    }
}

fn judge_resolver(text: &str) -> Outcome {
    let code = Code::NET_001;
    let words = |key: &str| -> Vec<&str> {
        text.lines()
            .filter_map(|line| line.trim().strip_prefix(key))
            .flat_map(str::split_whitespace)
            .collect()
    };
    let servers = words("nameserver ");
    let search = words("search ");
    let loopback = servers.iter().any(|server| {
        server
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
    });
    let outcome = if servers.is_empty() {
        bad(code, format!("{RESOLV_CONF} names no server"))
            .command("kubectl -n kube-system get configmap kubelet-config -o yaml | grep -A2 clusterDNS")
    } else if loopback {
        bad(
            code,
            format!("a server is at a loopback address: {}", servers.join(", ")),
        )
        .command("kubectl -n kube-system get configmap kubelet-config -o yaml | grep resolvConf")
    } else {
        Outcome::new(code, Verdict::Pass, servers.join(", "))
    };
    outcome
        .evidence("nameservers", servers.join(" "))
        .evidence("search", search.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers() {
        for (text, verdict) in [
            (
                "nameserver 10.96.0.10\nsearch a.svc.cluster.local\noptions ndots:5\n",
                Verdict::Pass,
            ),
            ("nameserver 169.254.20.10\n", Verdict::Pass),
            ("search x\n", Verdict::Warn),
            ("# nameserver 1.2.3.4\n", Verdict::Warn),
            ("nameserver 127.0.0.53\n", Verdict::Warn),
            ("nameserver 10.96.0.10\nnameserver ::1\n", Verdict::Warn),
        ] {
            assert_eq!(judge_resolver(text).verdict, verdict, "{text}");
        }
    }
}
