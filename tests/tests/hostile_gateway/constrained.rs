//! Constrained impersonation (KEP-5284): what the API server asks its authorizer before the agent may act as somebody.
//!
//! API servers ask so from 1.36 on. The authorizer of such a one is asked here in their words, for all that the policy's table
//! knows and for more, and then the agent's own credentials are tried at the server itself, as somebody who stole them would.

use anyhow::ensure;
use http::Method;
use kantaloupe_policy::{DISCOVERY, Role, table};
use kantaloupe_proto::request::Verb;
use kantaloupe_tests::{
    apiserver::{AGENT_TOKEN, ApiServer, Release},
    bare::install_chart,
    client::Client,
    raw::{Raw, SPDY, WEBSOCKET},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::AGENT;

const RBAC: &str = "rbac.authorization.k8s.io";

/// An installation: a profile with its highest role, and the namespaces that the owner names.
struct Installed {
    profile: &'static str,
    role: Role,
    namespaces: &'static [&'static str],
}

struct Asking {
    api: Client,
    wrong: Vec<String>,
    asked: usize,
}

impl Asking {
    /// Whether the agent may do this, as the authorizer says, against what is right.
    async fn ask(&mut self, attributes: Value, right: bool) -> anyhow::Result<()> {
        let kind = if attributes["path"].is_null() {
            "resourceAttributes"
        } else {
            "nonResourceAttributes"
        };
        let mut review =
            json!({"spec": {"user": AGENT, "groups": ["system:serviceaccounts", "system:authenticated"]}});
        review["spec"][kind] = attributes.clone();
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = self.api.ok(Method::POST, path, Some(&review)).await?;
        if answer["status"]["allowed"] != right {
            self.wrong.push(format!("{attributes} should be {right}"));
        }
        self.asked += 1;
        Ok(())
    }

    /// An impersonation of a user or a group, in both forms of the right.
    async fn identity(&mut self, resource: &str, name: &str, right: bool) -> anyhow::Result<()> {
        let constrained = json!({"verb": "impersonate:user-info", "group": "authentication.k8s.io", "resource": resource, "name": name});
        self.ask(constrained, right).await?;
        let unlimited = json!({"verb": "impersonate", "resource": resource, "name": name});
        self.ask(unlimited, false).await
    }

    async fn on_behalf(
        &mut self,
        verb: &str,
        group: &str,
        resource: &str,
        namespace: &str,
        right: bool,
    ) -> anyhow::Result<()> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = json!({"verb": format!("impersonate-on:user-info:{verb}"), "group": group, "resource": resource,
            "subresource": subresource, "namespace": namespace});
        self.ask(attributes, right).await
    }

    async fn installed(&mut self, installed: &Installed) -> anyhow::Result<()> {
        for name in ["kantaloupe:user:alice", "kantaloupe:user:bob@example.com"] {
            self.identity("users", name, true).await?;
        }
        for role in Role::ALL {
            let group = format!("kantaloupe:role:{role}");
            self.identity("groups", &group, role <= installed.role).await?;
        }
        self.identity("groups", "kantaloupe:org:acme", true).await?;
        for group in ["system:masters", "kantaloupe:org:other", "kantaloupe:role:root"] {
            self.identity("groups", group, false).await?;
        }
        for rule in table() {
            let about_oneself = rule.group.starts_with("auth");
            for namespace in ["team-a", "team-b", ""] {
                let within = installed.namespaces.is_empty() || installed.namespaces.contains(&namespace);
                for resource in rule.resources {
                    for verb in rule.verbs {
                        let verb = if *verb == Verb::Connect {
                            "get"
                        } else {
                            verb.as_str()
                        };
                        let right = (rule.role <= installed.role && within) || about_oneself;
                        self.on_behalf(verb, rule.group, resource, namespace, right)
                            .await?;
                    }
                }
            }
        }
        let is_admin = installed.role == Role::Admin;
        for (verb, group, resource) in [
            ("get", "", "secrets"),
            ("create", "", "pods"),
            ("deletecollection", "", "pods"),
            ("create", "", "serviceaccounts/token"),
            ("get", "", "nodes/proxy"),
            ("create", "", "services/proxy"),
            ("update", "", "pods/ephemeralcontainers"),
            ("create", "rbac.authorization.k8s.io", "rolebindings"),
            ("get", "example.com", "widgets"),
        ] {
            self.on_behalf(verb, group, resource, "team-a", is_admin).await?;
            self.on_behalf(
                verb,
                group,
                resource,
                "team-b",
                is_admin && installed.namespaces.is_empty(),
            )
            .await?;
            // The agent by itself may not, whatever it may do as somebody.
            let (name, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let by_itself = json!({"verb": verb, "group": group, "resource": name, "subresource": subresource, "namespace": "team-a"});
            self.ask(by_itself, false).await?;
        }
        for path in DISCOVERY {
            let path = path.replace('*', "v1");
            self.ask(
                json!({"verb": "impersonate-on:user-info:get", "path": path}),
                true,
            )
            .await?;
        }
        let everything = is_admin && installed.namespaces.is_empty();
        self.ask(
            json!({"verb": "impersonate-on:user-info:get", "path": "/metrics"}),
            everything,
        )
        .await?;
        self.ask(
            json!({"verb": "impersonate-on:user-info:post", "path": "/api"}),
            everything,
        )
        .await
    }
}

/// A request with the agent's credentials, as somebody.
#[derive(Debug)]
struct Attempt {
    headers: Vec<String>,
    method: &'static str,
    path: &'static str,
    upgrade: &'static [&'static str],
    /// Whether anything but 403 is right.
    right: bool,
}

impl Attempt {
    async fn send(&self, server: &ApiServer) -> anyhow::Result<u16> {
        let mut lines = vec![
            format!("{} {} HTTP/1.1", self.method, self.path),
            "host: localhost".to_owned(),
            format!("authorization: Bearer {AGENT_TOKEN}"),
            "content-length: 0".to_owned(),
        ];
        lines.extend(self.headers.iter().cloned());
        lines.extend(self.upgrade.iter().map(|line| (*line).to_owned()));
        let mut raw = Raw::connect(server.addr, &server.tls).await?;
        raw.send(format!("{}\r\n\r\n", lines.join("\r\n"))).await?;
        Ok(raw.answer().await?.status)
    }
}

fn attempts(installed: &Installed) -> Vec<Attempt> {
    let as_user = |name: &str, groups: &[&str]| {
        let mut headers = vec![format!("impersonate-user: {name}")];
        headers.extend(groups.iter().map(|group| format!("impersonate-group: {group}")));
        headers
    };
    let role = format!("kantaloupe:role:{}", installed.role);
    let everywhere = installed.namespaces.is_empty();
    let (is_operator, is_admin) = (installed.role >= Role::Operator, installed.role == Role::Admin);
    let mut all = vec![];
    // As the product does it, and as somebody with all rights.
    for headers in [as_user("kantaloupe:user:alice", &[&role]), as_user("boss", &[])] {
        for (method, path, upgrade, right) in [
            ("GET", "/api/v1/namespaces/team-a/pods", &[][..], true),
            ("GET", "/api/v1/namespaces/team-b/pods", &[], everywhere),
            ("GET", "/api/v1/pods", &[], everywhere),
            ("GET", "/api/v1/namespaces/team-a/pods/x/log", &[], is_operator),
            (
                "POST",
                "/api/v1/namespaces/team-a/pods/x/exec?command=id",
                &SPDY,
                is_operator,
            ),
            (
                "GET",
                "/api/v1/namespaces/team-a/pods/x/exec?command=id",
                &WEBSOCKET,
                is_operator,
            ),
            (
                "GET",
                "/api/v1/namespaces/team-b/pods/x/exec?command=id",
                &WEBSOCKET,
                is_operator && everywhere,
            ),
            ("GET", "/api/v1/namespaces/team-a/secrets", &[], is_admin),
            (
                "GET",
                "/api/v1/namespaces/team-b/secrets",
                &[],
                is_admin && everywhere,
            ),
            ("DELETE", "/api/v1/namespaces/team-a/pods", &[], is_admin),
            (
                "POST",
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                &[],
                is_admin && everywhere,
            ),
            ("GET", "/metrics", &[], is_admin && everywhere),
            ("GET", "/version", &[], true),
        ] {
            all.push(Attempt {
                headers: headers.clone(),
                method,
                path,
                upgrade,
                right,
            });
        }
    }
    // Identities that no profile gives.
    for headers in [
        as_user("kantaloupe:user:alice", &["system:masters"]),
        as_user("kantaloupe:user:alice", &["kantaloupe:role:root"]),
        as_user("kantaloupe:user:alice", &["kantaloupe:org:other"]),
        as_user("system:node:worker", &["system:nodes"]),
        as_user("system:node:worker", &[]),
        as_user("system:serviceaccount:kube-system:default", &[]),
        [as_user("boss", &[]), vec!["impersonate-uid: 1".to_owned()]].concat(),
        [
            as_user("boss", &[]),
            vec!["impersonate-extra-scopes: all".to_owned()],
        ]
        .concat(),
    ] {
        all.push(Attempt {
            headers,
            method: "GET",
            path: "/api/v1/namespaces/team-a/pods",
            upgrade: &[],
            right: false,
        });
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn constrained_impersonation_gives_what_the_profile_gives() -> anyhow::Result<()> {
    for installed in [
        Installed {
            profile: "observe",
            role: Role::Viewer,
            namespaces: &[],
        },
        Installed {
            profile: "operate",
            role: Role::Operator,
            namespaces: &["team-a"],
        },
        Installed {
            profile: "admin",
            role: Role::Admin,
            namespaces: &[],
        },
        Installed {
            profile: "admin",
            role: Role::Admin,
            namespaces: &["team-a"],
        },
    ] {
        let dir = TempDir::with_prefix("kantaloupe-constrained-")?;
        let server = ApiServer::start_audited(&dir.path().join("server"), Release::Constrained).await?;
        let mut api = server.connect().await?;
        for name in ["kantaloupe-system", "team-a", "team-b"] {
            let body = json!({"metadata": {"name": name}});
            api.ok(Method::POST, "/api/v1/namespaces", Some(&body)).await?;
        }
        // Somebody whom the cluster's owner trusts with everything: RBAC cannot forbid the agent to take his name.
        let boss = json!({"metadata": {"name": "boss"}, "subjects": [{"kind": "User", "apiGroup": RBAC, "name": "boss"}],
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"}});
        let bindings = format!("/apis/{RBAC}/v1/clusterrolebindings");
        api.ok(Method::POST, &bindings, Some(&boss)).await?;
        let mut values = vec![
            format!("access.profile={}", installed.profile),
            "access.admin.iUnderstand=true".to_owned(),
            "cluster.organization=acme".to_owned(),
        ];
        if !installed.namespaces.is_empty() {
            values.push(format!(
                "access.namespaces={{{}}}",
                installed.namespaces.join(",")
            ));
        }
        install_chart(&server, &values).await?;
        let mut asking = Asking {
            api,
            wrong: Vec::new(),
            asked: 0,
        };
        asking.installed(&installed).await?;
        let Asking {
            mut wrong, mut asked, ..
        } = asking;
        for attempt in attempts(&installed) {
            let status = attempt.send(&server).await?;
            if (status != 403) != attempt.right {
                wrong.push(format!("{attempt:?} was answered with {status}"));
            }
            asked += 1;
        }
        ensure!(
            wrong.is_empty(),
            "{}: {} of {asked}:\n{}",
            installed.profile,
            wrong.len(),
            wrong.join("\n")
        );
        println!(
            "{} in {:?}: {asked} questions answered as they should be",
            installed.profile, installed.namespaces
        );
    }
    Ok(())
}
