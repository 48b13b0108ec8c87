//! Whether an exporter is scraped, as far as objects say: from Service to monitor to Prometheus, the way that the
//! Prometheus Operator goes.
//!
//! A ServiceMonitor reaches a Service if its namespace is in scope, its selector matches the labels of the *Service*, and
//! an endpoint names a port of it. Prometheus takes the ServiceMonitor if both of its selectors match: the one for
//! labels, where absent means none, and the one for namespaces, where absent means its own.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::detect::hami::Hami;
use super::detect::{monitoring::describe, nvidia};
use super::{Objects, helm, name, namespace};
use crate::object::{
    ContainerPort, LabelSelector, Labels, MonitorSpec, ObjectMeta, PrometheusSpec, Service, VmAgentSpec,
    WorkloadSpec, namespace_labels,
};

/// What has to be scraped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exporter {
    /// HAMi's scheduler.
    HamiScheduler,
    /// The monitor in HAMi's device plugin.
    HamiMonitor,
    /// NVIDIA's DCGM exporter.
    Dcgm,
}

impl Exporter {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HamiScheduler, Self::HamiMonitor, Self::Dcgm];

    /// What messages call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HamiScheduler => "hami-scheduler",
            Self::HamiMonitor => "hami-device-plugin",
            Self::Dcgm => "dcgm-exporter",
        }
    }
}

/// How far the way from an exporter to a Prometheus goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Nothing of the exporter is there.
    NotInstalled,
    /// No Service with the port of the metrics.
    NoService,
    /// No monitor selects the Service.
    NoMonitor {
        /// `namespace/name`.
        service: String,
        /// Name or number of the port with the metrics.
        port: String,
    },
    /// A monitor selects the Service, but names no port of it.
    NoPort {
        /// `namespace/name`.
        service: String,
        /// `namespace/name`, with the kind.
        monitor: String,
        /// What it names.
        wanted: String,
        /// Ports that the Service has.
        has: String,
    },
    /// No Prometheus selects the monitor.
    NotSelected(Box<NotSelected>),
    /// Scraped by this one: `namespace/name`.
    Selected {
        /// The monitor.
        monitor: String,
        /// Who scrapes.
        by: String,
    },
    /// Why it cannot be said.
    Unknown(String),
}

/// A monitor that no Prometheus selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSelected {
    /// Kind as in the API: `ServiceMonitor`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who could scrape it: `namespace/name`.
    pub prometheus: String,
    /// Their selector of labels, as `kubectl` writes it.
    pub selector: String,
    /// The labels do not match.
    pub labels: bool,
    /// The namespace is not selected.
    pub namespaces: bool,
    /// Labels that would make it match, beyond those that it has.
    pub needed: Labels,
    /// Something else made the monitor and would undo a label: which chart's value gives it labels.
    pub owner: Option<String>,
}

/// Something that takes monitors in.
struct Taker<'a> {
    path: String,
    namespace: &'a str,
    services: Selectors<'a>,
    pods: Selectors<'a>,
    own_namespace_only: bool,
    victoria: bool,
}

#[derive(Clone, Copy)]
struct Selectors<'a> {
    labels: Option<&'a LabelSelector>,
    namespaces: Option<&'a LabelSelector>,
}

/// The kinds that have to be readable for an answer.
const KINDS: &[&str] = &["services", "servicemonitors", "prometheuses"];

/// Whether objects of the Prometheus or VictoriaMetrics Operator decide what is scraped. Without them somebody wrote the
/// configuration of Prometheus by hand, and only Prometheus itself can tell.
pub fn is_managed(objects: &Objects) -> bool {
    !takers(objects).is_empty()
}

/// The way of each exporter.
pub fn ways(objects: &Objects) -> BTreeMap<Exporter, Way> {
    Exporter::ALL
        .into_iter()
        .map(|exporter| (exporter, way(objects, exporter)))
        .collect()
}

/// The way of one exporter.
pub fn way(objects: &Objects, exporter: Exporter) -> Way {
    let workloads = workloads(objects, exporter);
    if workloads.is_empty() {
        return Way::NotInstalled;
    }
    if let Some(why) = objects.first_missing(KINDS) {
        return Way::Unknown(why);
    }
    let takers = takers(objects);
    let mut best: Option<Way> = None;
    let mut improve = |way: Way| {
        if best.as_ref().is_none_or(|best| rank(&way) > rank(best)) {
            best = Some(way);
        }
    };
    for (meta, spec) in workloads {
        let services = objects
            .services
            .iter()
            .filter(|service| selects(service, meta, spec));
        let mut any = false;
        for service in services {
            if let Some(port) = metrics_port(service, exporter) {
                any = true;
                improve(from_service(objects, &takers, service, &port));
            }
        }
        if let Some(way) = from_pods(objects, &takers, meta, spec) {
            improve(way);
        } else if !any {
            improve(Way::NoService);
        }
    }
    best.unwrap_or(Way::NotInstalled)
}

/// Workloads whose pods export.
fn workloads(objects: &Objects, exporter: Exporter) -> Vec<(&ObjectMeta, &WorkloadSpec)> {
    match exporter {
        Exporter::Dcgm => nvidia::dcgm_exporters(objects)
            .map(|set| (&set.metadata, &set.spec))
            .collect(),
        Exporter::HamiScheduler => {
            let scheduler = Hami::find(objects).and_then(|hami| hami.scheduler);
            scheduler
                .map(|scheduler| (&scheduler.metadata, &scheduler.spec))
                .into_iter()
                .collect()
        }
        Exporter::HamiMonitor => {
            let plugins = Hami::find(objects).map(|hami| hami.plugins).unwrap_or_default();
            let monitors = plugins.into_iter().filter(|plugin| {
                let containers = &plugin.spec.template.spec.containers;
                containers
                    .iter()
                    .any(|container| container.name == "vgpu-monitor")
            });
            monitors.map(|plugin| (&plugin.metadata, &plugin.spec)).collect()
        }
    }
}

/// The Service leads to the pods of the template. HAMi labels its leader itself, so that label is no obstacle.
fn selects(service: &Service, meta: &ObjectMeta, spec: &WorkloadSpec) -> bool {
    if namespace(&service.metadata) != namespace(meta) || service.spec.selector.is_empty() {
        return false;
    }
    let labels = spec.template.metadata.labels.as_ref();
    service.spec.selector.iter().all(|(key, value)| {
        key == "hami.io/scheduler-role" || labels.and_then(|labels| labels.get(key)) == Some(value)
    })
}

/// The port with the metrics: by the names that the charts give it, else the only one.
fn metrics_port(service: &Service, exporter: Exporter) -> Option<String> {
    let (names, number): (&[&str], i32) = match exporter {
        Exporter::HamiScheduler => (&["monitor", "metrics"], 9395),
        Exporter::HamiMonitor => (&["monitorport", "metrics", "monitor"], 9394),
        Exporter::Dcgm => (&["gpu-metrics", "metrics"], 9400),
    };
    let ports = &service.spec.ports;
    let named = ports
        .iter()
        .find(|port| port.name.as_deref().is_some_and(|name| names.contains(&name)));
    let numbered = || {
        ports.iter().find(|port| {
            port.port == number
                || matches!(port.target_port, Some(IntOrString::Int(target)) if target == number)
        })
    };
    let port = named.or_else(numbered)?;
    Some(port.name.clone().unwrap_or_else(|| port.port.to_string()))
}

fn from_service(objects: &Objects, takers: &[Taker<'_>], service: &Service, port: &str) -> Way {
    let path = helm::path(&service.metadata);
    let monitors = objects
        .service_monitors
        .iter()
        .map(|monitor| ("ServiceMonitor", &monitor.metadata, &monitor.spec))
        .chain(
            objects
                .vm_service_scrapes
                .iter()
                .map(|scrape| ("VMServiceScrape", &scrape.metadata, &scrape.spec)),
        );
    let mut best = Way::NoMonitor {
        service: path.clone(),
        port: port.to_owned(),
    };
    for (kind, meta, spec) in monitors {
        if !spec.selector.matches(service.metadata.labels.as_ref()) {
            continue;
        }
        let reaches = |ignore: bool| in_scope(spec, meta, namespace(&service.metadata), ignore);
        if !reaches(false) {
            continue;
        }
        let named = spec
            .endpoints
            .iter()
            .any(|endpoint| match (&endpoint.port, &endpoint.target_port) {
                (Some(wanted), _) => service
                    .spec
                    .ports
                    .iter()
                    .any(|port| port.name.as_deref() == Some(wanted)),
                (None, Some(target)) => {
                    service
                        .spec
                        .ports
                        .iter()
                        .any(|port| match (&port.target_port, target) {
                            (Some(has), wanted) => has == wanted,
                            (None, IntOrString::Int(wanted)) => port.port == *wanted,
                            (None, IntOrString::String(_)) => false,
                        })
                }
                (None, None) => false,
            });
        let way = if named {
            let usable: Vec<_> = takers
                .iter()
                .filter(|taker| {
                    (kind == "VMServiceScrape") == taker.victoria && reaches(taker.own_namespace_only)
                })
                .collect();
            selected(objects, &usable, kind, meta, |taker| taker.services)
        } else {
            Way::NoPort {
                service: path.clone(),
                monitor: format!("{kind} {}", helm::path(meta)),
                wanted: wanted_ports(spec),
                has: service
                    .spec
                    .ports
                    .iter()
                    .map(|port| port.name.clone().unwrap_or_else(|| port.port.to_string()))
                    .collect::<Vec<_>>()
                    .join(","),
            }
        };
        if rank(&way) > rank(&best) {
            best = way;
        }
    }
    best
}

/// `None` if no PodMonitor selects the pods.
fn from_pods(objects: &Objects, takers: &[Taker<'_>], meta: &ObjectMeta, spec: &WorkloadSpec) -> Option<Way> {
    let labels = spec.template.metadata.labels.as_ref();
    let ports: Vec<&ContainerPort> = spec
        .template
        .spec
        .containers
        .iter()
        .flat_map(|container| &container.ports)
        .collect();
    let mut best: Option<Way> = None;
    for monitor in &objects.pod_monitors {
        let reaches = |ignore: bool| in_scope(&monitor.spec, &monitor.metadata, namespace(meta), ignore);
        if !monitor.spec.selector.matches(labels) || !reaches(false) {
            continue;
        }
        let named = monitor.spec.endpoints.iter().any(|endpoint| {
            ports.iter().any(|port| {
                let by_name = endpoint.port.is_some() && endpoint.port == port.name;
                let by_number = endpoint.port_number == Some(port.container_port)
                    || matches!(endpoint.target_port, Some(IntOrString::Int(number)) if number == port.container_port);
                by_name || by_number
            })
        });
        let way = if named {
            let usable: Vec<_> = takers
                .iter()
                .filter(|taker| !taker.victoria && reaches(taker.own_namespace_only))
                .collect();
            selected(objects, &usable, "PodMonitor", &monitor.metadata, |taker| {
                taker.pods
            })
        } else {
            Way::NoPort {
                service: helm::path(meta),
                monitor: format!("PodMonitor {}", helm::path(&monitor.metadata)),
                wanted: wanted_ports(&monitor.spec),
                has: ports
                    .iter()
                    .map(|port| {
                        port.name
                            .clone()
                            .unwrap_or_else(|| port.container_port.to_string())
                    })
                    .collect::<Vec<_>>()
                    .join(","),
            }
        };
        if best.as_ref().is_none_or(|best| rank(&way) > rank(best)) {
            best = Some(way);
        }
    }
    best
}

fn wanted_ports(spec: &MonitorSpec) -> String {
    let ports = spec
        .endpoints
        .iter()
        .map(|endpoint| match (&endpoint.port, &endpoint.target_port) {
            (Some(port), _) | (None, Some(IntOrString::String(port))) => port.clone(),
            (None, Some(IntOrString::Int(number))) => number.to_string(),
            (None, None) => endpoint
                .port_number
                .map_or_else(|| "no port".to_owned(), |number| number.to_string()),
        });
    ports.collect::<Vec<_>>().join(",")
}

/// Whether a monitor looks into the namespace.
fn in_scope(spec: &MonitorSpec, meta: &ObjectMeta, target: &str, own_only: bool) -> bool {
    let own = namespace(meta) == target;
    if own_only {
        return own;
    }
    let scope = &spec.namespace_selector;
    scope.any || scope.match_names.iter().any(|name| name == target) || (scope.match_names.is_empty() && own)
}

fn takers(objects: &Objects) -> Vec<Taker<'_>> {
    let prometheuses = objects
        .prometheuses
        .iter()
        .map(|prometheus| (&prometheus.metadata, &prometheus.spec));
    let agents = objects
        .prometheus_agents
        .iter()
        .map(|agent| (&agent.metadata, &agent.spec));
    let mut takers: Vec<_> = prometheuses
        .chain(agents)
        // With no selector at all the operator leaves the configuration to somebody else.
        .filter(|(_, spec)| !is_unmanaged(spec))
        .map(|(meta, spec)| Taker {
            path: helm::path(meta),
            namespace: namespace(meta),
            services: Selectors {
                labels: spec.service_monitor_selector.as_ref(),
                namespaces: spec.service_monitor_namespace_selector.as_ref(),
            },
            pods: Selectors {
                labels: spec.pod_monitor_selector.as_ref(),
                namespaces: spec.pod_monitor_namespace_selector.as_ref(),
            },
            own_namespace_only: spec.ignore_namespace_selectors,
            victoria: false,
        })
        .collect();
    for agent in &objects.vm_agents {
        let services = vm_selectors(&agent.spec);
        // The operator turns ServiceMonitors into VMServiceScrapes, which are objects of their own.
        takers.push(Taker {
            path: helm::path(&agent.metadata),
            namespace: namespace(&agent.metadata),
            services,
            pods: Selectors {
                labels: None,
                namespaces: None,
            },
            own_namespace_only: false,
            victoria: true,
        });
    }
    takers
}

fn is_unmanaged(spec: &PrometheusSpec) -> bool {
    spec.service_monitor_selector.is_none()
        && spec.pod_monitor_selector.is_none()
        && spec.probe_selector.is_none()
        && spec.scrape_config_selector.is_none()
}

/// The VictoriaMetrics Operator reads absent selectors otherwise: both absent is all or none by a switch; one absent
/// follows from the other.
fn vm_selectors(spec: &VmAgentSpec) -> Selectors<'_> {
    static EVERYTHING: LabelSelector = LabelSelector {
        match_labels: BTreeMap::new(),
        match_expressions: Vec::new(),
    };
    let (labels, namespaces) = (
        spec.service_scrape_selector.as_ref(),
        spec.service_scrape_namespace_selector.as_ref(),
    );
    match (labels, namespaces) {
        (None, None) if spec.select_all_by_default => Selectors {
            labels: Some(&EVERYTHING),
            namespaces: Some(&EVERYTHING),
        },
        (None, Some(namespaces)) => Selectors {
            labels: Some(&EVERYTHING),
            namespaces: Some(namespaces),
        },
        (labels, namespaces) => Selectors { labels, namespaces },
    }
}

fn selected<'a>(
    objects: &Objects,
    takers: &[&'a Taker<'a>],
    kind: &'static str,
    meta: &ObjectMeta,
    selectors: impl Fn(&'a Taker<'a>) -> Selectors<'a>,
) -> Way {
    let own = namespace(meta);
    let mut nearest: Option<NotSelected> = None;
    for &taker in takers {
        let Selectors { labels, namespaces } = selectors(taker);
        let by_labels = labels.is_some_and(|selector| selector.matches(meta.labels.as_ref()));
        let by_namespace = match namespaces {
            None => own == taker.namespace,
            Some(selector) => {
                selector.is_empty() || selector.matches(namespace_labels(&objects.namespaces, own))
            }
        };
        if by_labels && by_namespace {
            return Way::Selected {
                monitor: format!("{kind} {}", helm::path(meta)),
                by: taker.path.clone(),
            };
        }
        let needed = labels.map(LabelSelector::satisfying).unwrap_or_default();
        let has = |key: &str, value: &str| {
            let found = meta.labels.as_ref().and_then(|labels| labels.get(key));
            found.is_some_and(|found| found == value)
        };
        let candidate = NotSelected {
            kind,
            namespace: own.to_owned(),
            name: name(meta).to_owned(),
            prometheus: taker.path.clone(),
            selector: labels.map_or_else(|| "none".to_owned(), describe),
            labels: !by_labels,
            namespaces: !by_namespace,
            needed: needed
                .into_iter()
                .filter(|(key, value)| !has(key, value))
                .collect(),
            owner: owner(objects, meta),
        };
        // The one that lacks less is the better advice.
        let missing = |way: &NotSelected| u8::from(way.labels) + u8::from(way.namespaces);
        if nearest
            .as_ref()
            .is_none_or(|best| missing(&candidate) < missing(best))
        {
            nearest = Some(candidate);
        }
    }
    match nearest {
        Some(nearest) => Way::NotSelected(Box::new(nearest)),
        None => Way::Unknown("no object says what Prometheus scrapes".to_owned()),
    }
}

/// Who keeps the monitor as it is: a label that is put on it by hand would be taken away again.
fn owner(objects: &Objects, meta: &ObjectMeta) -> Option<String> {
    let by_policy = meta
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.kind == "ClusterPolicy");
    // Older operators set no owner; the name and the label are theirs.
    let by_name = name(meta) == "nvidia-dcgm-exporter" && !objects.cluster_policies.is_empty();
    if by_policy || by_name {
        return Some("gpu-operator".to_owned());
    }
    helm::helm_release(objects, meta).map(|(release, _)| release)
}

fn rank(way: &Way) -> u8 {
    match way {
        Way::NotInstalled => 0,
        Way::NoService => 1,
        Way::NoMonitor { .. } => 2,
        Way::NoPort { .. } => 3,
        Way::Unknown(_) => 4,
        Way::NotSelected(_) => 5,
        Way::Selected { .. } => 6,
    }
}
