//! No log may hold a secret, at any level: looks for every one that a run has made, and for what looks like one.

use anyhow::ensure;

use crate::e2e::{NAMESPACE, World, say};

/// Secrets by what they are.
#[derive(Default)]
pub struct Canaries(Vec<(&'static str, String)>);

impl Canaries {
    /// Adds one; parts of it count too, if they are secret by themselves.
    pub fn add(&mut self, what: &'static str, secret: &str) {
        let token: Vec<&str> = secret.split('_').collect();
        if let ["kte" | "kta", _, part, _] = token[..] {
            self.0.push((what, part.to_owned()));
        } else {
            self.0.push((what, secret.to_owned()));
        }
    }

    /// Everything secret that the world knows now: gateway's tokens and keys, the agent's key, the pods' credentials.
    pub async fn collect(&mut self, world: &World) -> anyhow::Result<()> {
        self.add("administrator's API token", &world.gateway.token);
        for token in world.tokens() {
            self.add("enrolment token", &token);
        }
        let pem = std::fs::read_to_string(world.gateway.data.join("tls.key"))?;
        for line in pem
            .lines()
            .filter(|line| line.len() > 20 && !line.starts_with('-'))
        {
            self.add("gateway's TLS key", line);
        }
        let line = format!("kubectl -n {NAMESPACE} get secrets -o jsonpath='{{.items[*].data.private-key}}'");
        for key in world.direct.ok(&line).await?.split_whitespace() {
            self.add("agent's key", key);
            // Its seed, however it is written: the last bytes of the PKCS#8 form.
            let hex = world
                .direct
                .ok(&format!("echo {key} | base64 -d | od -An -v -tx1 | tr -d ' \\n'"))
                .await?;
            self.add("agent's key in hexadecimal", &hex[32..64]);
        }
        let line = format!(
            "cat {}/kubelet/root/pods/*/volumes/kubernetes.io~projected/*/token",
            world.cluster.dir.display()
        );
        // Signatures: the claims before them are no secret.
        for signature in world.direct.ok(&line).await?.split('.').skip(2).step_by(2) {
            self.add(
                "service account's token",
                signature.get(..80).unwrap_or(signature),
            );
        }
        Ok(())
    }

    /// Collects what is secret in a world and checks the logs of gateway, agent and cluster, which were kept at `level`.
    pub async fn no_secrets(world: &World, level: &str) -> anyhow::Result<()> {
        let mut canaries = Self::default();
        canaries.collect(world).await?;
        canaries.search(
            level,
            &world.gateway.process.said(),
            &world.agent_log().await?,
            &world.cluster.audit()?,
        )
    }

    /// Checks the logs of a run; each has to show that it was written at all, and at which level.
    pub fn search(&self, level: &str, gateway: &str, agents: &str, audit: &str) -> anyhow::Result<()> {
        let level = format!(r#""level":"{level}""#);
        for (name, log, proof) in [
            ("the gateway's log", gateway, level.as_str()),
            ("the agents' logs", agents, &level),
            ("the audit log", audit, "kantaloupe:user:admin"),
        ] {
            ensure!(
                log.contains(proof),
                "{name} has no {proof}, so this proves nothing"
            );
            self.check(name, log)?;
        }
        say(format_args!(
            "          searched {} KiB of gateway's, {} KiB of agents' and {} KiB of audit log",
            gateway.len() >> 10,
            agents.len() >> 10,
            audit.len() >> 10
        ));
        Ok(())
    }

    /// Checks one log for the secrets that are known and for what looks like one.
    pub fn check(&self, name: &str, log: &str) -> anyhow::Result<()> {
        ensure!(self.0.len() > 5, "only {} secrets are known", self.0.len());
        for (what, secret) in &self.0 {
            ensure!(secret.len() >= 16, "{what} is too short to look for");
            ensure!(!log.contains(secret.as_str()), "{name} holds the {what}");
        }
        for (scheme, least) in [
            ("Bearer ", 16),
            ("bearer ", 16),
            ("Kantaloupe ey", 16),
            ("PRIVATE KEY", 0),
        ] {
            for (at, _) in log.match_indices(scheme) {
                let value = log[at + scheme.len()..].bytes();
                let length = value
                    .take_while(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
                    .count();
                ensure!(
                    length < least,
                    "{name} holds an Authorization value or a key: {}...",
                    &log[at..at + scheme.len()]
                );
            }
        }
        Ok(())
    }
}
