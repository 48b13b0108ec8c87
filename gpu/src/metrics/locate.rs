//! Where the cluster's Prometheus is, from its objects: addresses that are worth a try, best first.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::object::{ObjectMeta, Prometheus, Service, ServicePort};
use crate::platform::Objects;

/// More than these are not tried: what is found comes from objects that anybody in the cluster may make.
pub const MAX_CANDIDATES: usize = 16;

/// The kinds of [`Objects`] that lead to one.
pub const KINDS: [&str; 4] = ["services", "prometheuses", "vmsingles", "vmclusters"];

/// An address worth a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Base URL, without a slash at its end.
    pub url: String,
    /// Why: the object that it comes from, for people.
    pub found_by: String,
}

/// Addresses from the objects, best first: what an operator manages, then Services with names that installations have.
pub fn candidates(objects: &Objects) -> Vec<Candidate> {
    let mut found = Found::default();
    for object in &objects.prometheuses {
        of_prometheus(object, &objects.services, &mut found);
    }
    for object in &objects.vm_singles {
        let what = ("VMSingle", "vmsingle-", "");
        of_victoria(&object.metadata, what, &objects.services, &mut found);
    }
    let clusters = objects.vm_clusters.iter();
    for object in clusters.filter(|object| object.spec.vmselect.is_some()) {
        // 0 is the tenant of who has made none.
        let what = ("VMCluster", "vmselect-", "/select/0/prometheus");
        of_victoria(&object.metadata, what, &objects.services, &mut found);
    }
    let mut named: Vec<_> = objects
        .services
        .iter()
        .filter_map(|service| {
            let (rank, path) = rank(service.metadata.name.as_deref()?)?;
            Some((rank, service, path))
        })
        .collect();
    named.sort_by_key(|(rank, service, _)| {
        (
            *rank,
            service.metadata.namespace.clone(),
            service.metadata.name.clone(),
        )
    });
    for (_, service, path) in named {
        found.add(service, None, false, path, "the Service's name");
    }
    found.candidates.truncate(MAX_CANDIDATES);
    found.candidates
}

/// Of several Services in front of a Prometheus the one made for it alone comes first, then the one that its operator makes for all
/// in the namespace.
fn of_prometheus(object: &Prometheus, services: &[Service], found: &mut Found) {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let own = |(key, value): (&str, &str)| {
        matches!(key, "operator.prometheus.io/name" | "prometheus") && value == name
    };
    let in_namespace = services
        .iter()
        .filter(|service| service.metadata.namespace == object.metadata.namespace);
    let mut fitting: Vec<_> = in_namespace
        .filter_map(|service| {
            let operated = service.metadata.name.as_deref() == Some("prometheus-operated");
            let mut selector = service.spec.selector.iter();
            let fits = operated || selector.any(|(key, value)| own((key, value)));
            fits.then_some((operated, service))
        })
        .collect();
    fitting.sort_by_key(|(operated, service)| (*operated, service.metadata.name.clone()));
    let tls = object
        .spec
        .web
        .as_ref()
        .is_some_and(|web| web.tls_config.is_some());
    let path = object.spec.route_prefix.as_deref().unwrap_or_default();
    for (_, service) in fitting {
        let why = format!("Prometheus {name}");
        found.add(
            service,
            object.spec.port_name.as_deref().or(Some("web")),
            tls,
            path,
            &why,
        );
    }
}

/// `what`: kind, what the operator puts before the object's name in that of its Service, path of the API.
fn of_victoria(
    meta: &ObjectMeta,
    (kind, prefix, path): (&str, &str, &str),
    services: &[Service],
    found: &mut Found,
) {
    let name = meta.name.as_deref().unwrap_or_default();
    let wanted = format!("{prefix}{name}");
    let service = services.iter().find(|service| {
        service.metadata.namespace == meta.namespace
            && service.metadata.name.as_deref() == Some(wanted.as_str())
    });
    if let Some(service) = service {
        found.add(service, Some("http"), false, path, &format!("{kind} {name}"));
    }
}

/// How good a name is, 0 the best, and the path to the API behind it.
fn rank(name: &str) -> Option<(u8, &'static str)> {
    const ENDINGS: [(&str, u8, &str); 9] = [
        ("kube-prometheus-stack-prometheus", 0, ""),
        ("kube-prometheus-prometheus", 0, ""),
        ("prometheus-k8s", 1, ""),
        ("prometheus-operated", 2, ""),
        ("prometheus-server", 3, ""),
        ("victoria-metrics-single-server", 4, ""),
        ("victoria-metrics-cluster-vmselect", 4, "/select/0/prometheus"),
        ("-prometheus", 5, ""),
        ("prometheus", 5, ""),
    ];
    // The chart of kube-prometheus-stack cuts its name, so that the end of a long release name changes it.
    let stack = name.contains("kube-prometheus-st") && name.ends_with("-prometheus");
    if stack {
        return Some((0, ""));
    }
    if name.starts_with("vmsingle-") {
        return Some((4, ""));
    }
    if name.starts_with("vmselect-") {
        return Some((4, "/select/0/prometheus"));
    }
    let ending = ENDINGS.iter().find(|(ending, ..)| name.ends_with(ending))?;
    Some((ending.1, ending.2))
}

#[derive(Default)]
struct Found {
    candidates: Vec<Candidate>,
    seen: BTreeSet<String>,
}

impl Found {
    fn add(&mut self, service: &Service, port: Option<&str>, tls: bool, path: &str, why: &str) {
        let (Some(name), Some(namespace)) = (&service.metadata.name, &service.metadata.namespace) else {
            return;
        };
        let spec = &service.spec;
        // A name outside of the cluster is not the cluster's Prometheus: it is followed only where somebody configured it.
        if spec.kind.as_deref() == Some("ExternalName") {
            return;
        }
        let Some(port) = web_port(&spec.ports, port) else {
            return;
        };
        let tls = tls || port.name.as_deref() == Some("https") || matches!(port.port, 443 | 9091 | 8443);
        let scheme = if tls { "https" } else { "http" };
        let address = spec.cluster_ip.as_deref();
        let host = match address.filter(|ip| !tls && !matches!(*ip, "" | "None")) {
            Some(ip) if ip.contains(':') => format!("[{ip}]"),
            Some(ip) => ip.to_owned(),
            // Certificates name Services, and a headless one has no address of its own.
            None => format!("{name}.{namespace}.svc"),
        };
        let path = path.trim_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        let url = format!("{scheme}://{host}:{}{slash}{path}", port.port);
        if self.seen.insert(url.clone()) {
            self.candidates.push(Candidate {
                url,
                found_by: format!("Service {namespace}/{name} ({why})"),
            });
        }
    }
}

/// The port of the API: by its name, else by its number, else the only one.
fn web_port<'a>(ports: &'a [ServicePort], name: Option<&str>) -> Option<&'a ServicePort> {
    const NAMES: [&str; 4] = ["http-web", "web", "http", "https"];
    const NUMBERS: [i32; 5] = [9090, 8429, 8428, 8481, 80];
    let by_name = |name: &str| ports.iter().find(|port| port.name.as_deref() == Some(name));
    name.and_then(by_name)
        .or_else(|| NAMES.iter().find_map(|name| by_name(name)))
        .or_else(|| {
            NUMBERS
                .iter()
                .find_map(|number| ports.iter().find(|port| port.port == *number))
        })
        .or_else(|| ports.first().filter(|_| ports.len() == 1))
}
