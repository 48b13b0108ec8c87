//! From Service to Prometheus.

use super::super::scrape::{Way, way};
use super::*;

/// The upstream charts as their documents install them: kube-prometheus-stack selects `release: prometheus`, and neither HAMi's
/// nor the GPU Operator's monitors carry it.
#[test]
fn the_documented_installation_is_not_selected() {
    let mut objects = sound();
    objects.retain(|object| {
        object["metadata"]["namespace"] != "monitoring" || object["kind"] != "ServiceMonitor"
    });
    objects.extend(objects_in("platform/hami-servicemonitors-upstream-v2.10.json"));
    let mut facts = facts(&objects);
    facts.prometheus = None;
    let parsed = &facts.objects;
    for exporter in Exporter::ALL {
        let Way::NotSelected(found) = way(parsed, exporter) else {
            panic!("{exporter:?}: {:?}", way(parsed, exporter));
        };
        assert_eq!(
            found.prometheus,
            "monitoring/prometheus-kube-prometheus-prometheus"
        );
        assert_eq!(found.selector, "release=prometheus");
        assert_eq!(
            found.needed,
            [("release".to_owned(), "prometheus".to_owned())].into()
        );
    }
    let outcomes = checks::run(&facts);
    let outcome = outcomes
        .iter()
        .find(|outcome| outcome.code == "KTA-MON-007")
        .unwrap();
    assert_eq!(
        outcome.commands,
        [
            "helm upgrade hami hami-charts/hami -n hami-system --reuse-values --set global.labels.release=prometheus",
            "helm upgrade gpu-operator-1742198988 nvidia/gpu-operator -n gpu-operator --reuse-values \
             --set dcgmExporter.serviceMonitor.additionalLabels.release=prometheus",
        ]
    );
}

#[test]
fn selectors_mean_what_the_operator_reads_in_them() {
    for (file, selected) in [
        ("platform/prometheus-selector-release.json", true),
        ("platform/prometheus-selector-empty-all.json", true),
        ("platform/prometheus-old-2.36.json", true),
    ] {
        let mut objects = sound();
        objects.retain(|object| object["kind"] != "Prometheus");
        objects.extend(objects_in(file));
        let way = way(&parse(&objects), Exporter::HamiScheduler);
        assert_eq!(matches!(way, Way::Selected { .. }), selected, "{file}: {way:?}");
    }
    // All selectors absent: somebody else writes the configuration, and nothing can be said.
    let mut objects = sound();
    objects.retain(|object| object["kind"] != "Prometheus");
    objects.extend(objects_in("platform/prometheus-selector-null-none.json"));
    let way = way(&parse(&objects), Exporter::HamiScheduler);
    assert!(matches!(way, Way::Unknown(_)), "{way:?}");
}

#[test]
fn a_pod_monitor_will_do() {
    let mut objects = sound();
    objects.retain(|object| object["kind"] != "ServiceMonitor");
    objects.push(json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
        "metadata": {"name": "hami", "namespace": "hami-system", "labels": {"release": "prometheus"}},
        "spec": {"selector": {"matchLabels": {"app.kubernetes.io/component": "hami-scheduler"}},
                 "podMetricsEndpoints": [{"port": "metrics"}]}
    }));
    for object in &mut objects {
        if object["kind"] == "Prometheus" {
            object["spec"]["podMonitorSelector"] = json!({"matchLabels": {"release": "prometheus"}});
            object["spec"]["podMonitorNamespaceSelector"] = json!({});
        }
    }
    let way = way(&parse(&objects), Exporter::HamiScheduler);
    assert!(
        matches!(&way, Way::Selected { monitor, .. } if monitor == "PodMonitor hami-system/hami"),
        "{way:?}"
    );
}

#[test]
fn victoria_metrics_reads_absent_selectors_in_its_own_way() {
    let base = || {
        let mut objects = sound();
        objects.retain(|object| object["kind"] != "Prometheus" && object["kind"] != "ServiceMonitor");
        objects.push(json!({
            "apiVersion": "operator.victoriametrics.com/v1beta1", "kind": "VMServiceScrape",
            "metadata": {"name": "hami-scheduler", "namespace": "monitoring"},
            "spec": {"selector": {"matchLabels": {"app.kubernetes.io/component": "hami-scheduler"}},
                     "namespaceSelector": {"any": true}, "endpoints": [{"port": "monitor"}]}
        }));
        objects
    };
    for (spec, selected) in [
        (json!({"selectAllByDefault": true}), true),
        (json!({}), false),
        (json!({"serviceScrapeNamespaceSelector": {}}), true),
        (json!({"serviceScrapeSelector": {}}), false),
        (
            json!({"serviceScrapeSelector": {}, "serviceScrapeNamespaceSelector": {}}),
            true,
        ),
    ] {
        let mut objects = base();
        objects.push(json!({
            "apiVersion": "operator.victoriametrics.com/v1beta1", "kind": "VMAgent",
            "metadata": {"name": "vmagent", "namespace": "vm"}, "spec": spec.clone()
        }));
        let way = way(&parse(&objects), Exporter::HamiScheduler);
        assert_eq!(matches!(way, Way::Selected { .. }), selected, "{spec}: {way:?}");
    }
}
