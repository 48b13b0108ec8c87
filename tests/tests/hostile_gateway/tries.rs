//! What the hostile gateway tries, each with the word that the agent's audit log must have for its refusal.

/// One try. Without changes it comes as alice, an administrator, with a request id of its own.
pub(crate) struct Try {
    /// `METHOD path`; `websocket`, `SPDY/3.1` or another protocol before it makes an upgrade of it.
    pub(crate) request: &'static str,
    /// Headers to send instead of the usual ones: all values of each, none to leave it out.
    pub(crate) headers: &'static [(&'static str, &'static [&'static str])],
    /// Why it is refused.
    pub(crate) reason: &'static str,
}

const fn asks(request: &'static str, reason: &'static str) -> Try {
    says(request, &[], reason)
}

const fn says(
    request: &'static str,
    headers: &'static [(&'static str, &'static [&'static str])],
    reason: &'static str,
) -> Try {
    Try {
        request,
        headers,
        reason,
    }
}

const PODS: &str = "GET /kubernetes/api/v1/namespaces/team-a/pods";
const USER: &str = "kantaloupe-user";
const ROLE: &str = "kantaloupe-role";
const NAMESPACES: &str = "kantaloupe-namespaces";
const ORGANIZATION: &str = "kantaloupe-organization";

/// At an agent with profile operate, namespace team-a, organisation acme, and exec, logs and port-forward switched off.
#[rustfmt::skip]
pub(crate) const NARROW: &[Try] = &[
    // Who asks.
    says(PODS, &[(ROLE, &["root"])], "identity"),
    says(PODS, &[(ROLE, &[])], "identity"),
    says(PODS, &[(ROLE, &["viewer", "admin"])], "identity"),
    says(PODS, &[(ROLE, &["ADMIN"])], "identity"),
    says(PODS, &[(USER, &[])], "identity"),
    says(PODS, &[(USER, &["alice", "bob"])], "identity"),
    says(PODS, &[(USER, &["system:admin"])], "identity"),
    says(PODS, &[(USER, &["alice,system:masters"])], "identity"),
    says(PODS, &[(USER, &["huge"])], "identity"),
    says(PODS, &[("kantaloupe-actor", &["system:masters"])], "identity"),
    says(PODS, &[("kantaloupe-request-id", &[])], "identity"),
    says(PODS, &[("kantaloupe-request-id", &["a b"])], "identity"),
    says(PODS, &[(NAMESPACES, &["*"])], "identity"),
    says(PODS, &[(NAMESPACES, &[""])], "identity"),
    says(PODS, &[(NAMESPACES, &["team-a,,kube-system"])], "identity"),
    says(PODS, &[(NAMESPACES, &["team-a", "kube-system"])], "identity"),
    says(PODS, &[(ORGANIZATION, &[])], "local_organization"),
    says(PODS, &[(ORGANIZATION, &["other"])], "local_organization"),
    says(PODS, &[(ORGANIZATION, &["acme", "other"])], "identity"),
    // Other namespaces, all of them, and what belongs to none.
    asks("GET /kubernetes/api/v1/namespaces/team-b/pods", "local_namespaces"),
    says("GET /kubernetes/api/v1/namespaces/kube-system/configmaps", &[(NAMESPACES, &["kube-system,team-a"])], "local_namespaces"),
    asks("GET /kubernetes/api/v1/pods", "local_namespaces"),
    asks("GET /kubernetes/api/v1/pods?watch=true", "local_namespaces"),
    asks("GET /kubernetes/api/v1/watch/pods", "local_namespaces"),
    asks("websocket GET /kubernetes/api/v1/pods?watch=true", "local_namespaces"),
    asks("GET /kubernetes/api/v1/pods?fieldSelector=metadata.namespace%3Dteam-a", "local_namespaces"),
    asks("GET /kubernetes/api/v1/namespaces?fieldSelector=metadata.name%3Dteam-a", "local_namespaces"),
    asks("GET /kubernetes/api/v1/nodes", "local_namespaces"),
    asks("PATCH /kubernetes/api/v1/nodes/fake-node", "local_namespaces"),
    asks("GET /kubernetes/apis/metrics.k8s.io/v1beta1/pods", "local_namespaces"),
    // Above the profile.
    asks("GET /kubernetes/api/v1/namespaces/team-a/secrets", "local_profile"),
    asks("GET /kubernetes/api/v1/watch/namespaces/team-a/secrets/canary", "local_profile"),
    asks("POST /kubernetes/api/v1/namespaces/team-a/pods", "local_profile"),
    asks("DELETE /kubernetes/api/v1/namespaces/team-a/pods", "local_profile"),
    asks("DELETE /kubernetes/api/v1/namespaces/team-a", "local_profile"),
    asks("PUT /kubernetes/api/v1/namespaces/team-a/finalize", "local_profile"),
    asks("POST /kubernetes/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "local_profile"),
    asks("PATCH /kubernetes/apis/rbac.authorization.k8s.io/v1/clusterroles/kantaloupe-system:kantaloupe-agent:observe", "local_profile"),
    asks("POST /kubernetes/apis/rbac.authorization.k8s.io/v1/namespaces/team-a/rolebindings", "local_profile"),
    asks("PUT /kubernetes/apis/certificates.k8s.io/v1/certificatesigningrequests/c/approval", "local_profile"),
    asks("POST /kubernetes/apis/authorization.k8s.io/v1/subjectaccessreviews", "local_profile"),
    asks("PATCH /kubernetes/api/v1/namespaces/team-a/pods/good/ephemeralcontainers", "local_profile"),
    asks("GET /kubernetes/metrics", "local_profile"),
    asks("GET /kubernetes/logs/", "local_profile"),
    asks("GET /kubernetes/api/v1/proxy/namespaces/team-a/pods/good", "local_profile"),
    asks("POST /kubernetes/api/v1/namespaces/team-a/serviceaccounts/default/token", "never"),
    // What is switched off, by each protocol.
    asks("websocket GET /kubernetes/api/v1/namespaces/team-a/pods/good/exec?command=sh", "local_exec"),
    asks("SPDY/3.1 POST /kubernetes/api/v1/namespaces/team-a/pods/good/exec?command=sh", "local_exec"),
    asks("POST /kubernetes/api/v1/namespaces/team-a/pods/good/exec?command=sh", "local_exec"),
    asks("GET /kubernetes/api/v1/watch/namespaces/team-a/pods/good/exec", "local_exec"),
    asks("websocket GET /kubernetes/api/v1/namespaces/team-a/pods/good/attach", "local_exec"),
    asks("SPDY/3.1 POST /kubernetes/api/v1/namespaces/team-a/pods/good/attach", "local_exec"),
    asks("GET /kubernetes/api/v1/namespaces/team-a/pods/good/log", "local_logs"),
    asks("websocket GET /kubernetes/api/v1/namespaces/team-a/pods/good/log?follow=true", "local_logs"),
    asks("HEAD /kubernetes/api/v1/namespaces/team-a/pods/good/log", "local_logs"),
    asks("websocket GET /kubernetes/api/v1/namespaces/team-a/pods/good/portforward", "local_port_forward"),
    asks("SPDY/3.1 POST /kubernetes/api/v1/namespaces/team-a/pods/good/portforward", "local_port_forward"),
    // Paths that others may read in another way.
    asks("GET /kubernetes/api/v1/namespaces/team-a%2f..%2fteam-b/pods", "path"),
    asks("GET /kubernetes/api/v1/namespaces/team-a/../team-b/pods", "path"),
    asks("GET /kubernetes/api/v1/namespaces/team-a/%2e%2e/team-b/pods", "path"),
    asks("GET /kubernetes/api/v1/namespaces/team-a/%252e%252e/team-b/pods", "path"),
    asks("GET /kubernetes//api/v1/namespaces/team-b/pods", "path"),
    asks("GET /kubernetes/api/v1/namespaces/team-a;x/pods", "path"),
    asks("GET /kubernetes/http://169.254.169.254/latest/meta-data", "path"),
    asks("POST /kubernetes/api/v1/watch/namespaces/team-a/pods", "path"),
    asks("TRACE /kubernetes/api/v1/namespaces/team-a/pods", "path"),
    asks("websocket CONNECT /kubernetes/api/v1/namespaces/team-a/pods", "path"),
    // What is not the API server.
    asks("GET /metrics", "prefix"),
    asks("GET /", "prefix"),
    asks("GET /kubernetesapi/v1/pods", "prefix"),
    asks("GET /services/kube-system/kube-dns:53/", "prefix"),
    asks("GET /prometheus/api/v1/query", "prefix"),
    asks("websocket GET /tcp/kube-system/kube-dns:53", "prefix"),
    asks("GET http://169.254.169.254/kubernetes/api/v1/namespaces/team-a/pods", "authority"),
    asks("GET http://localhost:2379/kubernetes/api/v1/namespaces/team-a/pods", "authority"),
    asks("CONNECT 169.254.169.254:80", "authority"),
    asks("connect-tcp NONE /kubernetes/api/v1/namespaces/team-a/pods", "upgrade"),
];

/// At an agent with profile admin, all namespaces, and one Service on its list: `team-a/web:80`.
#[rustfmt::skip]
pub(crate) const WIDE: &[Try] = &[
    asks("GET /kubernetes/api/v1/namespaces/team-a/pods/good:8080/proxy/", "local_proxy"),
    asks("websocket GET /kubernetes/api/v1/namespaces/team-a/pods/good/proxy/", "local_proxy"),
    asks("GET /kubernetes/api/v1/nodes/fake-node/proxy/pods", "local_proxy"),
    asks("SPDY/3.1 POST /kubernetes/api/v1/nodes/fake-node:10250/proxy/exec/team-a/good/main", "local_proxy"),
    asks("GET /kubernetes/api/v1/nodes/169.254.169.254/proxy/latest/meta-data", "local_proxy"),
    asks("GET /kubernetes/api/v1/proxy/nodes/fake-node/pods", "local_proxy"),
    asks("GET /kubernetes/api/v1/namespaces/team-a/services/web/proxy/", "local_services"),
    asks("GET /kubernetes/api/v1/namespaces/team-a/services/web:http/proxy/", "local_services"),
    asks("GET /kubernetes/api/v1/namespaces/team-a/services/https:web:443/proxy/", "local_services"),
    asks("GET /kubernetes/api/v1/namespaces/team-b/services/web:80/proxy/", "local_services"),
    asks("websocket GET /kubernetes/api/v1/namespaces/team-a/services/other:80/proxy/", "local_services"),
    asks("GET /kubernetes/api/v1/namespaces/team-a/services/169.254.169.254:80/proxy/latest", "local_services"),
    asks("GET /kubernetes/api/v1/proxy/namespaces/kube-system/services/kube-dns:53", "local_services"),
    asks("POST /kubernetes/api/v1/namespaces/team-a/serviceaccounts/default/token", "never"),
    asks("POST /kubernetes/api/v1/namespaces/kantaloupe-system/serviceaccounts/kantaloupe-agent/token", "never"),
    // The agent's own namespace, where its policy, its key and its rights are.
    asks("GET /kubernetes/api/v1/namespaces/kantaloupe-system/secrets/kantaloupe-agent-identity", "local_own_namespace"),
    asks("GET /kubernetes/api/v1/watch/namespaces/kantaloupe-system/secrets", "local_own_namespace"),
    asks("PATCH /kubernetes/api/v1/namespaces/kantaloupe-system/configmaps/kantaloupe-agent", "local_own_namespace"),
    asks("PATCH /kubernetes/apis/apps/v1/namespaces/kantaloupe-system/deployments/kantaloupe-agent", "local_own_namespace"),
    asks("DELETE /kubernetes/api/v1/namespaces/kantaloupe-system/pods", "local_own_namespace"),
    asks("websocket GET /kubernetes/api/v1/namespaces/kantaloupe-system/pods/agent-0/exec", "local_own_namespace"),
    asks("PATCH /kubernetes/api/v1/namespaces/kantaloupe-system/pods/agent-0/ephemeralcontainers", "local_own_namespace"),
    asks("DELETE /kubernetes/api/v1/namespaces/kantaloupe-system", "local_own_namespace"),
    // What the gateway's own words do not include.
    says("GET /kubernetes/api/v1/namespaces/team-a/secrets", &[(ROLE, &["operator"])], "role"),
    says("websocket GET /kubernetes/api/v1/namespaces/team-a/pods/good/exec", &[(ROLE, &["viewer"])], "role"),
    says("GET /kubernetes/api/v1/namespaces/team-b/pods", &[(NAMESPACES, &["team-a"])], "namespaces"),
    says("GET /kubernetes/api/v1/secrets", &[(NAMESPACES, &["team-a"])], "namespaces"),
];
