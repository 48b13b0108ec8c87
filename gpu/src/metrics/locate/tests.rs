use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;

fn service(
    namespace: &str,
    name: &str,
    ip: &str,
    ports: &[(&str, i32)],
    selector: serde_json::Value,
) -> Service {
    let ports: Vec<_> = ports
        .iter()
        .map(|(name, port)| json!({"name": name, "port": port}))
        .collect();
    let mut object = json!({
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": ip, "ports": ports},
    });
    object["spec"]["selector"] = selector;
    serde_json::from_value(object).unwrap()
}

fn managed<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

fn urls(objects: &Objects) -> Vec<String> {
    candidates(objects)
        .into_iter()
        .map(|candidate| candidate.url)
        .collect()
}

#[test]
fn kube_prometheus_stack_under_either_name_then_the_operators_service() {
    let object: Prometheus = managed(include_str!(
        "../../../../tests/fixtures/platform/prometheus-selector-release.json"
    ));
    let (name, namespace) = (
        object.metadata.name.clone().unwrap(),
        object.metadata.namespace.clone().unwrap(),
    );
    let own = json!({"app.kubernetes.io/name": "prometheus", "operator.prometheus.io/name": name});
    let all = json!({"app.kubernetes.io/name": "prometheus"});
    let objects = Objects {
        services: vec![
            service(
                &namespace,
                "prometheus-operated",
                "None",
                &[("http-web", 9090)],
                all,
            ),
            service(
                &namespace,
                "prometheus-kube-prometheus-alertmanager",
                "10.1.0.1",
                &[("http-web", 9093)],
                json!({}),
            ),
            service(
                &namespace,
                "prometheus-kube-prometheus-prometheus",
                "10.1.0.2",
                &[("reloader-web", 8080), ("http-web", 9090)],
                own,
            ),
            service("kube-system", "kube-dns", "10.1.0.3", &[("dns", 53)], json!({})),
        ],
        prometheuses: vec![object],
        ..Objects::default()
    };
    let found = candidates(&objects);
    assert_eq!(found[0].url, "http://10.1.0.2:9090");
    assert_eq!(
        found[0].found_by,
        format!("Service {namespace}/prometheus-kube-prometheus-prometheus (Prometheus {name})")
    );
    assert_eq!(
        found[1].url,
        format!("http://prometheus-operated.{namespace}.svc:9090")
    );
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn tls_and_a_prefix_of_the_object() {
    let object = managed(
        r#"{"metadata": {"name": "k8s", "namespace": "m"}, "spec": {"routePrefix": "/prom", "portName": "https",
            "web": {"tlsConfig": {"cert": {}}}}}"#,
    );
    let objects = Objects {
        services: vec![service(
            "m",
            "prometheus-k8s",
            "10.1.0.2",
            &[("https", 9443)],
            json!({"prometheus": "k8s"}),
        )],
        prometheuses: vec![object],
        ..Objects::default()
    };
    // The name, because the certificate has no address.
    assert_eq!(urls(&objects)[0], "https://prometheus-k8s.m.svc:9443/prom");
}

#[test]
fn victoria_metrics() {
    fn of<T: DeserializeOwned>(name: &str, spec: &str) -> T {
        managed(&format!(
            r#"{{"metadata": {{"name": "{name}", "namespace": "vm"}}, "spec": {spec}}}"#
        ))
    }
    let objects = Objects {
        services: vec![
            service("vm", "vmsingle-main", "10.2.0.1", &[("http", 8429)], json!({})),
            service("vm", "vmselect-big", "None", &[("http", 8481)], json!({})),
        ],
        vm_singles: vec![of("main", "{}")],
        vm_clusters: vec![
            of("big", r#"{"vmselect": {"replicaCount": 2}}"#),
            of("no-select", "{}"),
        ],
        ..Objects::default()
    };
    assert_eq!(
        urls(&objects),
        [
            "http://10.2.0.1:8429",
            "http://vmselect-big.vm.svc:8481/select/0/prometheus"
        ]
    );
}

#[test]
fn well_known_names_without_an_operator() {
    let objects = Objects {
        services: vec![
            service(
                "a",
                "my-prometheus",
                "fd00::1",
                &[("x", 9090), ("y", 1)],
                json!({}),
            ),
            service("b", "prometheus-server", "10.3.0.1", &[("http", 80)], json!({})),
            service(
                "b",
                "prometheus-pushgateway",
                "10.3.0.2",
                &[("http", 9091)],
                json!({}),
            ),
            service(
                "c",
                "vm-victoria-metrics-single-server",
                "10.3.0.3",
                &[("http", 8428)],
                json!({}),
            ),
            service(
                "d",
                "rel-kube-prometheus-stack-prometheus",
                "10.3.0.4",
                &[("http-web", 9090)],
                json!({}),
            ),
        ],
        ..Objects::default()
    };
    assert_eq!(
        urls(&objects),
        [
            "http://10.3.0.4:9090",
            "http://10.3.0.1:80",
            "http://10.3.0.3:8428",
            "http://[fd00::1]:9090"
        ]
    );
}

#[test]
fn what_anybody_may_make_leads_nowhere_outside_and_is_bounded() {
    let mut external = service("x", "prometheus-server", "", &[("http", 80)], json!({}));
    external.spec.kind = Some("ExternalName".to_owned());
    let mut services = vec![external];
    for n in 0..100 {
        services.push(service(
            "x",
            &format!("p{n}-prometheus"),
            &format!("10.4.0.{n}"),
            &[("http", 80)],
            json!({}),
        ));
    }
    let objects = Objects {
        services,
        ..Objects::default()
    };
    let urls = urls(&objects);
    assert_eq!(urls.len(), MAX_CANDIDATES);
    assert!(urls.iter().all(|url| url.starts_with("http://10.4.0.")));
}
