//! The commands that put an agent into a cluster and take it out again.

use std::fmt::Write as _;

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Image;

/// Namespace and release of the agent.
const NAMESPACE: &str = "kantaloupe-system";
const RELEASE: &str = "kantaloupe-agent";
/// Made by the chart and removed with its release. With `identity.create=false` it is the cluster's own and stays; its
/// name is then usually another one, so that only the default name can be given here.
const IDENTITY_SECRET: &str = "kantaloupe-agent-identity";

/// What an install command is made of. No part needs quotes in a shell, nor escapes in `--set`: settings are checked
/// at start, ids and tokens are made here.
#[derive(Debug)]
pub(super) struct Install<'a> {
    pub(super) chart: &'a str,
    pub(super) agent_url: &'a str,
    pub(super) cluster_id: &'a str,
    pub(super) token: &'a SecretString,
    /// Only of an own certificate: one of a public CA changes its key whenever it likes.
    pub(super) pin: Option<&'a str>,
    pub(super) profile: &'a str,
    pub(super) image: Option<&'a Image>,
}

impl Install<'_> {
    /// One line for bash, zsh and PowerShell.
    pub(super) fn command(&self) -> String {
        let mut line = format!(
            "helm upgrade --install {RELEASE} {} --namespace {NAMESPACE} --create-namespace --wait --timeout 3m",
            self.chart
        );
        let mut set = |key: &str, value: &str| {
            write!(line, " --set {key}={value}").expect("writing to a String");
        };
        set("controlPlane.url", self.agent_url);
        set("cluster.id", self.cluster_id);
        set("enrollment.token", self.token.expose_secret());
        if let Some(pin) = self.pin {
            set("controlPlane.caPin", pin);
        }
        set("access.profile", self.profile);
        if let Some(image) = self.image {
            set("image.repository", &image.repository);
            set("image.tag", &image.tag);
        }
        line
    }
}

/// One line that removes agent and identity from a cluster.
pub(super) fn uninstall_command() -> String {
    format!(
        "helm uninstall {RELEASE} --namespace {NAMESPACE} && \
         kubectl --namespace {NAMESPACE} delete secret {IDENTITY_SECRET} --ignore-not-found"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_one_line_without_anything_a_shell_or_helm_would_change() {
        let token = SecretString::from("kte_abc_def_0123");
        let image = Image {
            repository: "registry:5000/agent".to_owned(),
            tag: "0.1.0".to_owned(),
        };
        let install = Install {
            chart: "oci://registry.example.com/charts/kantaloupe-agent",
            agent_url: "https://gw.example.com:8443",
            cluster_id: "c-12345678",
            token: &token,
            pin: Some("sha256:00ff"),
            profile: "operate",
            image: Some(&image),
        };
        let command = install.command();
        assert_eq!(
            command,
            "helm upgrade --install kantaloupe-agent oci://registry.example.com/charts/kantaloupe-agent \
             --namespace kantaloupe-system --create-namespace --wait --timeout 3m \
             --set controlPlane.url=https://gw.example.com:8443 --set cluster.id=c-12345678 \
             --set enrollment.token=kte_abc_def_0123 --set controlPlane.caPin=sha256:00ff \
             --set access.profile=operate --set image.repository=registry:5000/agent --set image.tag=0.1.0"
        );
        let plain = Install {
            pin: None,
            image: None,
            ..install
        }
        .command();
        assert!(!plain.contains("caPin") && !plain.contains("image."), "{plain}");
    }
}
