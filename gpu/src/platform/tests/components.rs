//! What is found to be installed.

use super::super::{distribution, helm};
use super::*;
use crate::inventory::{Component, ComponentKind, InstalledBy};

fn one(components: &[Component], kind: ComponentKind) -> &Component {
    let found: Vec<_> = components
        .iter()
        .filter(|component| component.kind == kind)
        .collect();
    assert_eq!(found.len(), 1, "{kind:?}: {components:#?}");
    found[0]
}

#[test]
fn a_whole_platform() {
    let mut objects = sound();
    objects.extend(objects_in("platform/helm-release-secret-gpu-operator.json"));
    objects.extend(objects_in("platform/helm-release-secret-kps-75.15.1.json"));
    let components = parse(&objects).components();
    let hami = one(&components, ComponentKind::Hami);
    assert_eq!(
        (
            hami.name.as_str(),
            hami.namespace.as_deref(),
            hami.version.as_deref(),
            hami.healthy
        ),
        ("hami-scheduler", Some("hami-system"), Some("2.10.0"), Some(true))
    );
    assert_eq!(hami.facts["metrics"], "new");
    assert_eq!(hami.facts["webhook"], "ok");
    assert_eq!(
        hami.installed_by,
        Some(InstalledBy::Helm {
            release: "hami".to_owned(),
            chart: Some("hami".to_owned()),
            chart_version: Some("2.10.0".to_owned()),
        })
    );
    let operator = one(&components, ComponentKind::GpuOperator);
    assert_eq!(
        (operator.version.as_deref(), operator.healthy),
        (Some("25.3.0"), Some(true))
    );
    for (fact, value) in [
        ("devicePlugin", "off"),
        ("dcgmExporter", "on"),
        ("dcgmServiceMonitor", "on"),
        ("driverVersion", "550.144.03"),
    ] {
        assert_eq!(operator.facts[fact], value, "{fact}");
    }
    assert_eq!(
        operator.installed_by,
        Some(InstalledBy::Helm {
            release: "gpu-operator-1742198988".to_owned(),
            chart: Some("gpu-operator".to_owned()),
            chart_version: Some("v25.3.0".to_owned()),
        })
    );
    let dcgm = one(&components, ComponentKind::DcgmExporter);
    assert_eq!(dcgm.version.as_deref(), Some("4.1.1-4.0.4-ubuntu22.04"));
    let prometheus = one(&components, ComponentKind::Prometheus);
    assert_eq!(
        (prometheus.version.as_deref(), prometheus.healthy),
        (Some("3.5.0"), Some(true))
    );
    assert_eq!(prometheus.facts["serviceMonitorSelector"], "release=prometheus");
    let Some(InstalledBy::Helm { chart_version, .. }) = &prometheus.installed_by else {
        panic!("{prometheus:?}");
    };
    assert_eq!(chart_version.as_deref(), Some("75.15.1"));
    let api = one(&components, ComponentKind::GatewayApi);
    assert_eq!((api.version.as_deref(), api.healthy), (Some("1.4.1"), Some(true)));
    assert_eq!(api.facts["channel"], "standard");
    let gateway = one(&components, ComponentKind::Gateway);
    assert_eq!(
        (gateway.healthy, gateway.facts["addresses"].as_str()),
        (Some(true), "10.7.0.20")
    );
    assert!(
        !components
            .iter()
            .any(|component| component.kind == ComponentKind::NvidiaDevicePlugin)
    );
}

#[test]
fn names_of_metrics_follow_version_and_flag() {
    let legacy = parse(&objects_in("platform/hami-install-v2.10.0-legacy-metrics.json")).components();
    assert_eq!(one(&legacy, ComponentKind::Hami).facts["metrics"], "both");
    let mut old = objects_in("platform/hami-install-v2.10.0.json");
    let image = |object: &mut Value, tag: &str| {
        for container in object["spec"]["template"]["spec"]["containers"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            if container["image"]
                .as_str()
                .is_some_and(|image| image.contains("hami"))
            {
                container["image"] = json!(format!("registry.example.com:5000/mirror/hami:{tag}"));
            }
        }
    };
    for (tag, version, metrics) in [
        ("v2.8.1", "2.8.1", "legacy"),
        ("v2.9.0", "2.9.0", "new"),
        ("latest", "2.10.0", "new"),
    ] {
        for object in &mut old {
            image(object, tag);
        }
        let components = parse(&old).components();
        let hami = one(&components, ComponentKind::Hami);
        assert_eq!(hami.version.as_deref(), Some(version), "{tag}");
        assert_eq!(hami.facts["metrics"], metrics, "{tag}");
    }
}

#[test]
fn releases_are_read_from_their_secrets() {
    for (file, name, chart, version) in [
        ("helm-release-secret-hami.json", "hami", "hami", "2.10.0"),
        (
            "helm-release-secret-gpu-operator.json",
            "gpu-operator-1742198988",
            "gpu-operator",
            "v25.3.0",
        ),
        (
            "helm-release-secret-kps-75.15.1.json",
            "prometheus",
            "kube-prometheus-stack",
            "75.15.1",
        ),
    ] {
        let objects = parse(&objects_in(&format!("platform/{file}")));
        let release = helm::release(&objects.releases[0]).unwrap();
        assert_eq!(
            (
                release.name.as_str(),
                release.chart.as_str(),
                release.version.as_str()
            ),
            (name, chart, version)
        );
        assert!(
            !format!("{:?}", objects.releases[0]).contains("H4sI"),
            "the payload shows"
        );
    }
    let commercial = parse(&objects_in("platform/helm-release-secret-hami-commercial.json"));
    assert!(helm::release(&commercial.releases[0]).is_some());
    for broken in ["", "!", "SDRzSQ==", "YWJj"] {
        let mut secret = commercial.releases[0].clone();
        secret.data.release = Some(broken.to_owned());
        assert_eq!(helm::release(&secret), None, "{broken}");
    }
}

#[test]
fn charts_and_images_name_versions() {
    let chart = |label| helm::chart(label).map(|(chart, version)| format!("{chart} {version}"));
    assert_eq!(
        chart("gpu-operator-v25.3.0").as_deref(),
        Some("gpu-operator v25.3.0")
    );
    assert_eq!(
        chart("kube-prometheus-stack-75.15.1").as_deref(),
        Some("kube-prometheus-stack 75.15.1")
    );
    assert_eq!(chart("hami-2.10.0_1").as_deref(), Some("hami 2.10.0+1"));
    assert_eq!(chart("hami"), None);
    assert_eq!(chart(""), None);
    assert_eq!(helm::image_version("projecthami/hami:v2.10.0"), Some("v2.10.0"));
    assert_eq!(helm::image_version("r.example.com:5000/hami"), None);
    assert_eq!(helm::image_version("r.example.com:5000/hami:latest"), None);
    assert_eq!(helm::image_version("hami:v1.2@sha256:abc"), Some("v1.2"));
    assert_eq!(helm::image_version("hami@sha256:abc"), None);
}

#[test]
fn policies_that_call_themselves_ready_are_read_to_the_end() {
    for (file, healthy) in [
        ("clusterpolicy-ready-deviceplugin-disabled.json", true),
        ("clusterpolicy-ready-deviceplugin-enabled.json", true),
        ("clusterpolicy-notready.json", false),
        ("clusterpolicy-no-gpu-nodes.json", false),
    ] {
        let components = parse(&objects_in(&format!("platform/{file}"))).components();
        assert_eq!(
            one(&components, ComponentKind::GpuOperator).healthy,
            Some(healthy),
            "{file}"
        );
    }
    let waiting = parse(&objects_in("platform/gateway-address-not-assigned.json")).components();
    let gateway = one(&waiting, ComponentKind::Gateway);
    assert_eq!(gateway.healthy, Some(false));
    assert!(
        gateway.facts["reason"].contains("AddressNotAssigned"),
        "{gateway:?}"
    );
}

#[test]
fn distributions() {
    let group = |name: &str| vec![name.to_owned()];
    for (version, groups, wanted) in [
        ("v1.31.4+rke2r1", vec![], "rke2"),
        ("v1.31.4+k3s1", vec![], "k3s"),
        ("v1.29.6-eks-1552ad0", vec![], "eks"),
        ("v1.30.5-gke.1443001", vec![], "gke"),
        ("v1.28.3-aliyun.1", vec![], "ack"),
        ("v1.27.5+vmware.1", vec![], "tanzu"),
        ("v1.29.8", group("config.openshift.io"), "openshift"),
        ("v1.34.4", vec![], "generic"),
    ] {
        assert_eq!(distribution(Some(version), &groups, &[]), wanted, "{version}");
    }
    assert_eq!(distribution(None, &[], &[]), "generic");
}
