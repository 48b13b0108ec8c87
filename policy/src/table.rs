//! The one table of rules: role, group, resource, verbs. The chart's ClusterRoles are the same (`tests/chart.rs` beside this holds them together).

use kantaloupe_proto::request::{RequestInfo, Verb};

use crate::role::Role;

use Verb::{Connect, Create, Delete, Get, List, Patch, Update, Watch};

/// One row: a role and every higher one may do this. Everything else takes the role admin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The least role.
    pub role: Role,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resources, `resource/subresource` for a subresource.
    pub resources: &'static [&'static str],
    /// What may be done to them. [`Verb::Connect`] is `create` and `get` in RBAC: exec, attach and port-forward are a
    /// POST over SPDY and a GET over WebSocket.
    pub verbs: Verbs,
}

/// Verbs of a row.
pub type Verbs = &'static [Verb];

const READ: Verbs = &[Get, List, Watch];

/// Paths without a resource that every role may get, as Kubernetes lets every authenticated user
/// (`system:discovery`). A star stands for the rest of a path.
pub const DISCOVERY: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];

const fn viewer(group: &'static str, resources: &'static [&'static str], verbs: Verbs) -> Rule {
    Rule {
        role: Role::Viewer,
        group,
        resources,
        verbs,
    }
}

const fn operator(group: &'static str, resources: &'static [&'static str], verbs: Verbs) -> Rule {
    Rule {
        role: Role::Operator,
        group,
        resources,
        verbs,
    }
}

/// All rows. A new one goes into the chart's `_access.tpl` as well.
pub const fn table() -> &'static [Rule] {
    TABLE
}

const SELF_REVIEWS: [(&str, &[&str]); 2] = [
    ("authentication.k8s.io", &["selfsubjectreviews"]),
    (
        "authorization.k8s.io",
        &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    ),
];

#[rustfmt::skip]
const TABLE: &[Rule] = &[
    viewer("", &["endpoints", "events", "limitranges", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes",
        "pods", "replicationcontrollers", "resourcequotas", "services"], READ),
    viewer("events.k8s.io", &["events"], READ),
    viewer("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"], READ),
    viewer("batch", &["cronjobs", "jobs"], READ),
    viewer("autoscaling", &["horizontalpodautoscalers"], READ),
    viewer("policy", &["poddisruptionbudgets"], READ),
    viewer("discovery.k8s.io", &["endpointslices"], READ),
    viewer("networking.k8s.io", &["ingressclasses", "ingresses", "networkpolicies"], READ),
    viewer("storage.k8s.io", &["storageclasses"], READ),
    viewer("scheduling.k8s.io", &["priorityclasses"], READ),
    viewer("node.k8s.io", &["runtimeclasses"], READ),
    viewer("resource.k8s.io", &["deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"], READ),
    viewer("gateway.networking.k8s.io", &["gatewayclasses", "gateways", "httproutes"], READ),
    viewer("monitoring.coreos.com", &["podmonitors", "servicemonitors"], READ),
    viewer("metrics.k8s.io", &["nodes", "pods"], &[Get, List]),
    viewer("apiextensions.k8s.io", &["customresourcedefinitions"], READ),
    viewer(SELF_REVIEWS[0].0, SELF_REVIEWS[0].1, &[Create]),
    viewer(SELF_REVIEWS[1].0, SELF_REVIEWS[1].1, &[Create]),
    operator("", &["pods/log"], &[Get]),
    operator("", &["pods/attach", "pods/exec", "pods/portforward"], &[Connect]),
    operator("", &["pods"], &[Delete]),
    operator("", &["pods/eviction"], &[Create]),
    operator("", &["nodes"], &[Patch]),
    operator("", &["configmaps"], &[Create, Delete, Get, List, Patch, Update, Watch]),
    operator("apps", &["daemonsets", "deployments", "statefulsets"], &[Patch]),
    operator("apps", &["deployments/scale", "replicasets/scale", "statefulsets/scale"], &[Get, Patch, Update]),
];

/// The least role that may do this.
pub(crate) fn least_role(info: &RequestInfo) -> Role {
    if !info.is_resource_request {
        let open = info.verb == Get && DISCOVERY.iter().any(|pattern| path_matches(pattern, &info.path));
        return if open { Role::Viewer } else { Role::Admin };
    }
    TABLE
        .iter()
        .filter(|rule| rule.allows(info))
        .map(|rule| rule.role)
        .min()
        .unwrap_or(Role::Admin)
}

impl Rule {
    fn allows(&self, info: &RequestInfo) -> bool {
        self.group == info.api_group
            && self.verbs.contains(&info.verb)
            && self.resources.iter().any(|resource| {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                resource == info.resource && subresource == info.subresource
            })
    }
}

/// Reviews in which a caller asks about himself. They belong to no namespace and change nothing.
pub(crate) fn is_about_oneself(info: &RequestInfo) -> bool {
    info.verb == Create
        && info.subresource.is_empty()
        && info.namespace.is_empty()
        && SELF_REVIEWS
            .iter()
            .any(|(group, resources)| *group == info.api_group && resources.contains(&info.resource.as_str()))
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == path, |prefix| path.starts_with(prefix))
}
