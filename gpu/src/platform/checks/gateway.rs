//! The Gateway API, storage, and Helm.

use kantaloupe_checks::{Code, Outcome};

use super::{absent, bad, count, list, not_applicable, pass, unknown, unreadable};
use crate::inventory::InstalledBy;
use crate::object::annotation;
use crate::platform::detect::gateway::{GROUP, GatewayState, is_accepted, state};
use crate::platform::facts::Facts;
use crate::platform::{helm, name, namespace};

pub(super) fn api(facts: &Facts) -> Outcome {
    let code = Code::GW_001;
    if let Some(outcome) = unreadable(facts, code, &["gatewayclasses"]) {
        return outcome;
    }
    let objects = &facts.objects;
    let definition = objects
        .definitions
        .iter()
        .find(|definition| definition.spec.group == GROUP);
    let bundle = definition
        .and_then(|definition| annotation(&definition.metadata, "gateway.networking.k8s.io/bundle-version"));
    let accepted: Vec<_> = objects
        .gateway_classes
        .iter()
        .filter(|class| is_accepted(class))
        .map(|class| name(&class.metadata))
        .collect();
    if !accepted.is_empty() {
        let version = bundle.map_or_else(String::new, |bundle| format!("{bundle}, "));
        return pass(code, format!("{version}GatewayClass {}", list(&accepted)));
    }
    let not_served = objects.read.get("gatewayclasses") == Some(&crate::platform::Read::Absent);
    if not_served && definition.is_none() {
        return bad(code, "the Gateway API is not installed").command(
            "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.4.1/experimental-install.yaml",
        );
    }
    let classes: Vec<_> = objects
        .gateway_classes
        .iter()
        .map(|class| name(&class.metadata))
        .collect();
    if classes.is_empty() {
        return absent(
            facts,
            code,
            "the Gateway API is installed, but there is no GatewayClass",
        )
        .command("kubectl get gatewayclass");
    }
    bad(
        code,
        format!("no controller has accepted GatewayClass {}", list(&classes)),
    )
    .command(format!("kubectl describe gatewayclass {}", classes[0]))
}

pub(super) fn programmed(facts: &Facts) -> Outcome {
    let code = Code::GW_002;
    if let Some(outcome) = unreadable(facts, code, &["gateways"]) {
        return outcome;
    }
    let gateways = &facts.objects.gateways;
    let mut programmed = Vec::new();
    let mut not = Vec::new();
    for gateway in gateways {
        let path = helm::path(&gateway.metadata);
        match state(gateway) {
            GatewayState::Programmed => {
                programmed.push(format!("{path} at {}", gateway.status.addresses[0].value));
            }
            GatewayState::Not(condition, why) => not.push((gateway, format!("{path}: {condition}: {why}"))),
        }
    }
    let Some((first, _)) = not.first() else {
        return if programmed.is_empty() {
            absent(facts, code, "there is no Gateway").command("kubectl get gateways -A")
        } else {
            pass(code, list(&programmed))
        };
    };
    let texts: Vec<_> = not.iter().map(|(_, text)| text.as_str()).collect();
    // One that works is enough; the others are worth a look.
    if !programmed.is_empty() {
        return pass(code, list(&programmed)).evidence("notProgrammed", list(&texts));
    }
    bad(code, list(&texts)).command(format!(
        "kubectl -n {} describe gateway {}",
        namespace(&first.metadata),
        name(&first.metadata)
    ))
}

/// Where programmed Gateways should answer: `address:port` of each listener over TCP.
pub fn endpoints(facts: &Facts) -> Vec<(String, u16)> {
    let mut found = Vec::new();
    for gateway in &facts.objects.gateways {
        if state(gateway) != GatewayState::Programmed {
            continue;
        }
        for address in &gateway.status.addresses {
            for listener in &gateway.spec.listeners {
                if listener.protocol != "UDP" {
                    found.push((address.value.clone(), listener.port));
                }
            }
        }
    }
    found
}

pub(super) fn answers(facts: &Facts) -> Outcome {
    let code = Code::GW_003;
    if facts.gateways.is_empty() {
        return unknown(code, "no address of a Gateway was tried");
    }
    let answer = facts.gateways.iter().find(|(_, result)| result.is_ok());
    let mut outcome = if let Some((address, Ok(took))) = answer {
        pass(code, format!("{address} answers in the cluster ({took} ms)"))
    } else {
        let addresses: Vec<_> = facts.gateways.keys().map(String::as_str).collect();
        bad(code, format!("no answer from {}", list(&addresses))).command("kubectl get services -A -o wide")
    };
    for (address, result) in &facts.gateways {
        let text = match result {
            Ok(took) => format!("{took} ms"),
            Err(why) => why.clone(),
        };
        outcome = outcome.evidence(address.clone(), text);
    }
    outcome
}

pub(super) fn storage(facts: &Facts) -> Outcome {
    let code = Code::STO_001;
    if let Some(outcome) = unreadable(facts, code, &["storageclasses"]) {
        return outcome;
    }
    let objects = &facts.objects;
    let is_nfs = |provisioner: &str| {
        matches!(
            provisioner,
            "nfs.csi.k8s.io" | "k8s-sigs.io/nfs-subdir-external-provisioner" | "fuseim.pri/ifs"
        ) || provisioner.starts_with("cluster.local/nfs-")
    };
    let nfs: Vec<_> = objects
        .storage_classes
        .iter()
        .filter(|class| is_nfs(&class.provisioner))
        .map(|class| name(&class.metadata))
        .collect();
    let default = objects.storage_classes.iter().find(|class| {
        annotation(&class.metadata, "storageclass.kubernetes.io/is-default-class") == Some("true")
    });
    let volumes = objects
        .persistent_volumes
        .iter()
        .filter(|volume| volume.spec.nfs.is_some())
        .count();
    let mut parts = Vec::new();
    if !nfs.is_empty() {
        parts.push(format!("NFS by StorageClass {}", list(&nfs)));
    }
    if volumes > 0 {
        parts.push(count(volumes, "NFS volume"));
    }
    let mut outcome = if parts.is_empty() {
        not_applicable(code, "no NFS; it is optional")
    } else {
        pass(code, parts.join(", "))
    };
    if let Some(default) = default {
        outcome = outcome.evidence("defaultStorageClass", name(&default.metadata));
    }
    outcome
}

pub(super) fn helm(facts: &Facts) -> Outcome {
    let releases: Vec<_> = facts
        .objects
        .components()
        .into_iter()
        .filter_map(|component| match component.installed_by? {
            InstalledBy::Helm {
                release,
                chart,
                chart_version,
            } => {
                let chart = chart.unwrap_or_else(|| "chart unknown".to_owned());
                let version = chart_version.map_or_else(String::new, |version| format!(" {version}"));
                Some((release, format!("{chart}{version}")))
            }
            InstalledBy::Operator { .. } | InstalledBy::Manifest => None,
        })
        .collect();
    let message = "the version of Helm is the administrator's and cannot be seen from the cluster: 3.14 or newer is needed";
    let mut outcome = unknown(Code::HELM_001, message).command("helm version --short");
    for (release, chart) in releases {
        outcome = outcome.evidence(release, chart);
    }
    outcome
}
