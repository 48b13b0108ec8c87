//! The table of `docs/rights-kubernetes.md`, cell by cell: each person makes each request by each protocol through the real gateway
//! and agent at a real API server, whose audit log has the last word. Needs no root.
#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, fmt::Write, path::Path};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, stream};
use kantaloupe_proto::agent_log;
use kantaloupe_tests::{
    apiserver::Release,
    bare::{Bare, Setup, own},
    people::{Role, person},
    processes::binary,
    raw::{Answer, SPDY, WEBSOCKET},
};
use serde_json::Value;

/// Requests at once: those that watch wait for a second.
const AT_ONCE: usize = 12;
/// Least number of cells that the table has to have.
const LEAST: usize = 400;
/// The people, in the order of the columns.
const PEOPLE: [(&str, &[Role]); 7] = [
    ("vera", &[Role::everywhere("viewer")]),
    ("otto", &[Role::everywhere("operator")]),
    ("ada", &[Role::everywhere("admin")]),
    ("aud", &[Role::everywhere("auditor")]),
    ("vera-in-a", &[Role::within("viewer", &["team-a"])]),
    ("otto-in-a", &[Role::within("operator", &["team-a"])]),
    ("nobody", &[]),
];

/// A row of the table.
#[derive(Debug, Clone)]
struct Row {
    verb: String,
    group: String,
    resource: String,
    place: String,
    protocols: Vec<String>,
    allowed: Vec<bool>,
}

impl Row {
    fn read(line: &str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        ensure!(fields.len() == 5 + PEOPLE.len(), "{line}");
        let allowed = fields[5..].iter().map(|field| match *field {
            "yes" => Ok(true),
            "-" => Ok(false),
            other => bail!("{other} in {line}"),
        });
        Ok(Self {
            verb: fields[0].to_owned(),
            group: fields[1].to_owned(),
            resource: fields[2].trim_matches('`').to_owned(),
            place: fields[3].to_owned(),
            protocols: fields[4].split(", ").map(str::to_owned).collect(),
            allowed: allowed.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Method, path and body, without the mark.
    fn request(&self, protocol: &str) -> (&'static str, String, &'static str) {
        if self.resource.starts_with('/') {
            return ("GET", format!("{}?", self.resource), "");
        }
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        let version = match self.group.as_str() {
            "" => "/api/v1".to_owned(),
            "autoscaling" => "/apis/autoscaling/v2".to_owned(),
            group => format!("/apis/{group}/v1"),
        };
        let (name, collection) = match (resource, self.place.as_str()) {
            ("namespaces", "cluster") => ("new", format!("{version}/namespaces")),
            ("namespaces", namespace) => (namespace, format!("{version}/namespaces")),
            ("nodes", _) => ("fake-node", format!("{version}/nodes")),
            (_, "all" | "cluster" | "self") => ("x", format!("{version}/{resource}")),
            ("pods", namespace) => ("second", format!("{version}/namespaces/{namespace}/pods")),
            (_, namespace) => ("x", format!("{version}/namespaces/{namespace}/{resource}")),
        };
        let object = match subresource {
            "" => format!("{collection}/{name}"),
            _ => format!("{collection}/{name}/{subresource}"),
        };
        let ports = if subresource == "portforward" {
            "ports=80&"
        } else {
            ""
        };
        match (self.verb.as_str(), subresource) {
            ("create", "exec" | "attach" | "portforward" | "proxy") => {
                let method = if protocol == "SPDY" { "POST" } else { "GET" };
                (
                    method,
                    format!("{object}?{ports}command=true&container=main&stdout=true&"),
                    "",
                )
            }
            ("get", _) => ("GET", format!("{object}?"), ""),
            ("list", _) => ("GET", format!("{collection}?"), ""),
            ("watch", _) => ("GET", format!("{collection}?watch=true&timeoutSeconds=1&"), ""),
            ("create", "") => ("POST", format!("{collection}?dryRun=All&"), "{}"),
            ("create", _) => ("POST", format!("{object}?dryRun=All&"), "{}"),
            ("update", _) => ("PUT", format!("{object}?dryRun=All&"), "{}"),
            ("patch", _) => ("PATCH", format!("{object}?dryRun=All&"), "{}"),
            ("delete", _) => ("DELETE", format!("{object}?dryRun=All&"), ""),
            _ => ("DELETE", format!("{collection}?dryRun=All&"), ""),
        }
    }

    /// What a refusal says of it.
    fn refusal(&self) -> String {
        if self.resource.starts_with('/') {
            return format!("cannot {} path \"{}\"", self.verb, self.resource);
        }
        format!("cannot {} resource \"{}\"", self.verb, self.resource)
    }
}

fn table() -> anyhow::Result<Vec<Row>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rights-kubernetes.md");
    let text = std::fs::read_to_string(path)?;
    let lines = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| verb"));
    lines.map(Row::read).collect()
}

/// One cell: who asks for what by which protocol, and what the table says.
#[derive(Debug, Clone)]
struct Cell {
    number: usize,
    row: Row,
    person: usize,
    protocol: String,
    allowed: bool,
}

impl Cell {
    fn mark(&self) -> String {
        format!("cell={}&", self.number)
    }

    async fn ask(&self, bare: &Bare, token: &str) -> anyhow::Result<Answer> {
        let (method, path, body) = self.row.request(&self.protocol);
        let lines = match self.protocol.as_str() {
            "SPDY" => &SPDY[..],
            "WebSocket" => &WEBSOCKET,
            _ => &[],
        };
        bare.ask_as(token, method, &format!("{path}{}", self.mark()), lines, body)
            .await
    }

    /// Compares the answer with the table and with the logs.
    fn check(
        &self,
        answer: &Answer,
        entry: Option<&Value>,
        agent_log: &str,
        release: Release,
    ) -> anyhow::Result<()> {
        let (name, _) = PEOPLE[self.person];
        if !self.allowed {
            ensure!(entry.is_none(), "it reached the API server: {entry:?}");
            if name == "nobody" {
                ensure!(answer.status == 404, "{answer:?}");
                return Ok(());
            }
            let status: Value = serde_json::from_str(&answer.body).with_context(|| format!("{answer:?}"))?;
            ensure!(
                answer.status == 403 && status["kind"] == "Status" && status["reason"] == "Forbidden",
                "{answer:?}"
            );
            let message = status["message"].as_str().unwrap_or_default();
            ensure!(
                message.contains(&self.row.refusal()),
                "the missing right is not named: {message}"
            );
            return Ok(());
        }
        ensure!(answer.status != 403, "{answer:?}");
        let entry =
            entry.with_context(|| format!("the API server's audit log does not have it: {answer:?}"))?;
        ensure!(
            entry["impersonatedUser"]["username"] == format!("kantaloupe:user:{name}"),
            "{entry}"
        );
        ensure!(
            entry["annotations"]["authorization.k8s.io/decision"] == "allow",
            "{entry}"
        );
        let constraint = &entry["authenticationMetadata"]["impersonationConstraint"];
        match release {
            Release::Default => ensure!(constraint.is_null(), "{entry}"),
            Release::Constrained => ensure!(constraint == "impersonate:user-info", "{entry}"),
        }
        let id = entry["auditID"].as_str().context("no id")?;
        if let Some(told) = answer.header("audit-id") {
            ensure!(told == id, "{told} in the answer, {id} in the log");
        }
        ensure!(agent_log.contains(id), "the agent's log does not have {id}");
        Ok(())
    }
}

#[test]
fn every_cell_of_the_table() -> anyhow::Result<()> {
    println!("{}", every_cell(Release::Default)?);
    Ok(())
}

/// The same where the API server also asks what the agent may do as somebody.
#[test]
fn every_cell_of_the_table_with_constrained_impersonation() -> anyhow::Result<()> {
    println!("{}", every_cell(Release::Constrained)?);
    Ok(())
}

/// Holds the agent's own log against the gateway's audit once both have ended: the same requests on both sides; and a log in
/// which one request was told otherwise, with its chain made anew so that only the gateway can contradict it, is found out.
async fn both_sides_agree(mut bare: Bare, allowed: usize) -> anyhow::Result<usize> {
    bare.agent.process.terminate().await?;
    bare.gateway.process.terminate().await?;
    let log = bare.agent.process.said();
    let forged = bare.dir.path().join("forged.log");
    let verify = async |file: &Path| {
        let mut command = tokio::process::Command::new(binary("kantaloupe-gateway")?);
        command.args(["audit", "verify", "--cluster", &bare.id, "--data-dir"]);
        let output = command
            .arg(&bare.gateway.data)
            .arg("--agent-log")
            .arg(file)
            .output()
            .await?;
        let said = [output.stdout, output.stderr].concat();
        anyhow::Ok((output.status.success(), String::from_utf8(said)?))
    };
    let (sound, said) = verify(&bare.agent.process.log).await?;
    ensure!(sound, "{said}");
    let same = said
        .split_once("the agent's log: ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok())
        .with_context(|| said.clone())?;
    ensure!(same >= allowed, "{same} of {allowed} requests are on both sides");

    std::fs::write(&forged, forge(&log)?)?;
    let (sound, said) = verify(&forged).await?;
    ensure!(!sound && said.contains("somewhere-else"), "{said}");
    Ok(same)
}

/// The agent's log with another namespace in one of its last requests and sound hashes behind it.
fn forge(log: &str) -> anyhow::Result<String> {
    let mut entries: Vec<agent_log::Entry> = agent_log::verify(log.lines())?.entries;
    let last = entries
        .iter_mut()
        .rfind(|entry| entry.namespace.is_some())
        .context("no request in a namespace")?;
    last.namespace = Some("somewhere-else".to_owned());
    let mut prev = agent_log::FIRST.to_owned();
    let mut text = String::new();
    for entry in &mut entries {
        entry.prev = prev;
        prev = entry.hash();
        let mut line = serde_json::to_value(&*entry)?;
        line["target"] = agent_log::TARGET.into();
        line["hash"] = prev.clone().into();
        writeln!(text, "{line}")?;
    }
    Ok(text)
}

fn every_cell(release: Release) -> anyhow::Result<String> {
    let mut shown = String::new();
    let setup = Setup {
        release,
        ..Setup::default()
    };
    own(setup, async |bare| {
        let mut tokens = vec![];
        for (name, roles) in PEOPLE {
            tokens.push(person(&bare, name, roles).await?);
        }
        let mut cells = vec![];
        for row in table()? {
            for protocol in &row.protocols {
                for person in 0..PEOPLE.len() {
                    cells.push(Cell {
                        number: cells.len(),
                        row: row.clone(),
                        person,
                        protocol: protocol.clone(),
                        allowed: row.allowed[person],
                    });
                }
            }
        }
        ensure!(cells.len() >= LEAST, "only {} cells", cells.len());
        let answers: Vec<_> = stream::iter(&cells)
            .map(|cell| cell.ask(&bare, &tokens[cell.person]))
            .buffered(AT_ONCE)
            .collect()
            .await;
        // Entries of streams are written when they end.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let entries: HashMap<String, Value> = bare
            .audited()?
            .into_iter()
            .filter_map(|entry| {
                let uri = entry["requestURI"].as_str()?;
                let number = uri.split_once("cell=")?.1.split('&').next()?.to_owned();
                Some((number, entry))
            })
            .collect();
        let agent_log = bare.agent.process.said();
        let mut wrong = vec![];
        for (cell, answer) in cells.iter().zip(answers) {
            let entry = entries.get(&cell.number.to_string());
            let checked = answer.and_then(|answer| cell.check(&answer, entry, &agent_log, release));
            if let Err(error) = checked {
                let (name, row) = (PEOPLE[cell.person].0, &cell.row);
                wrong.push(format!(
                    "{name}: {} {} in {} by {}: {error:#}",
                    row.verb, row.resource, row.place, cell.protocol
                ));
            }
        }
        ensure!(
            wrong.is_empty(),
            "{} of {} cells are not as documented:\n{}",
            wrong.len(),
            cells.len(),
            wrong.join("\n")
        );
        let allowed = cells.iter().filter(|cell| cell.allowed).count();
        let same = both_sides_agree(bare, allowed).await?;
        shown = format!(
            "{} cells: {allowed} allowed and audited, {} refused; {same} requests are the same in the agent's log and in the audit",
            cells.len(),
            cells.len() - allowed
        );
        Ok(())
    })?;
    Ok(shown)
}
