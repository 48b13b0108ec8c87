//! The agent's audit log: what it let through and what it refused, one JSON object a line among its other lines.
//!
//! Each entry holds the hash of the one before, from the start of the process on, so that a line cannot be changed,
//! dropped from the middle or put in without that showing. The gateway's own audit can be held against it.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// The target of these lines in the agent's log.
pub const TARGET: &str = "audit";
/// [`Entry::prev`] of the first entry of a process.
pub const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One request or stream. Its order of fields is the order in which they are hashed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Random name of the process's chain: replicas write one each.
    pub chain: String,
    /// From 1 on, without gaps.
    pub seq: u64,
    /// Hash of the entry before; [`FIRST`] if there is none.
    pub prev: String,
    /// When it was written, which is when the request or stream had ended: RFC 3339, UTC, milliseconds.
    pub at: String,
    /// The request's id at the gateway and in the API server's audit log. Absent, as what follows, if the gateway did
    /// not say it properly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who it was done as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who did it, if he acted as somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The cluster's organisation as the gateway named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The role that the gateway named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The namespaces that the gateway named; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<String>,
    /// What was done, as Kubernetes sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// API group; absent for requests without a resource, as the next four.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Plural, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
    /// Absent if it is for none or all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Absent if it is for no single object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Path of a request without a resource, or that could not be understood; cut, never with a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `allow` or `deny`.
    pub decision: String,
    /// Why it was refused, or how it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Status of the answer; absent if the caller left before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes from the caller.
    pub received: u64,
    /// Bytes to the caller.
    pub sent: u64,
    /// How long it took, to the end of the stream.
    pub ms: u64,
}

impl Entry {
    /// SHA-256 of the entry as JSON, as hexadecimal digits.
    pub fn hash(&self) -> String {
        let json = serde_json::to_vec(self).expect("a struct of texts and numbers is JSON");
        hex::encode(digest(&SHA256, &json))
    }
}

/// What [`verify`] found in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The entries in the order of the file.
    pub entries: Vec<Entry>,
    /// Chains whose first entry in the file is not their first: the file begins later, or its beginning was taken away.
    pub cut: Vec<String>,
}

/// A line that is not what the agent wrote, or not where it wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Broken {
    /// From 1 on.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is an audit line without the fields of one.
    #[error("the entry is not complete")]
    Fields,
    /// Its content does not have its hash.
    #[error("the entry was changed: its hash is another")]
    Hash,
    /// It does not follow the line before it in its chain.
    #[error("an entry before this one was taken away, put in or changed")]
    Order,
}

#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    entry: Entry,
    hash: String,
}

#[derive(Deserialize)]
struct Any<'a> {
    #[serde(default)]
    target: std::borrow::Cow<'a, str>,
}

/// Reads a log of one or several agents and checks each chain in it. Lines that are no audit lines are skipped.
pub fn verify<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Verified, Broken> {
    let mut found = Verified {
        entries: Vec::new(),
        cut: Vec::new(),
    };
    // Of each chain the number and the hash of its last entry.
    let mut tails: HashMap<String, (u64, String)> = HashMap::new();
    for (number, text) in lines.into_iter().enumerate() {
        if !serde_json::from_str::<Any<'_>>(text).is_ok_and(|line| line.target == TARGET) {
            continue;
        }
        let broken = |problem| Broken {
            line: number + 1,
            problem,
        };
        let Line { entry, hash } = serde_json::from_str(text).map_err(|_| broken(Problem::Fields))?;
        if entry.hash() != hash {
            return Err(broken(Problem::Hash));
        }
        let follows = match tails.get(&entry.chain) {
            Some((seq, last)) => entry.seq == seq + 1 && entry.prev == *last,
            None if entry.seq == 1 => entry.prev == FIRST,
            None => {
                found.cut.push(entry.chain.clone());
                true
            }
        };
        if !follows {
            return Err(broken(Problem::Order));
        }
        tails.insert(entry.chain.clone(), (entry.seq, hash));
        found.entries.push(entry);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn log(chain: &str, count: u64) -> Vec<String> {
        let mut prev = FIRST.to_owned();
        let entry = |seq: u64, prev: String| Entry {
            chain: chain.to_owned(),
            seq,
            prev,
            at: "2026-01-02T03:04:05.678Z".to_owned(),
            user: Some(format!("alice-{seq}")),
            decision: "allow".to_owned(),
            status: Some(200),
            ..Entry::default()
        };
        (1..=count)
            .map(|seq| {
                let entry = entry(seq, prev.clone());
                prev = entry.hash();
                let mut line =
                    json!({"timestamp": "x", "level": "INFO", "target": TARGET, "message": "request"});
                let Value::Object(fields) = serde_json::to_value(&entry).unwrap() else {
                    unreachable!()
                };
                line.as_object_mut().unwrap().extend(fields);
                line["hash"] = prev.clone().into();
                line.to_string()
            })
            .collect()
    }

    fn check(lines: &[String]) -> Result<Verified, Broken> {
        verify(lines.iter().map(String::as_str))
    }

    #[test]
    fn whole_chains_among_other_lines_are_in_order() {
        let (one, two) = (log("a", 3), log("b", 2));
        let other = r#"{"target":"kantaloupe_agent::run","message":"connected"}"#.to_owned();
        let lines = [
            &one[0],
            &other,
            &two[0],
            &one[1],
            &"no JSON".to_owned(),
            &two[1],
            &one[2],
        ]
        .map(Clone::clone);
        let found = check(&lines).unwrap();
        assert_eq!((found.entries.len(), found.cut.len()), (5, 0));
        assert_eq!(found.entries[0].user.as_deref(), Some("alice-1"));
        let found = check(&one[1..]).unwrap();
        assert_eq!(found.cut, ["a"]);
    }

    #[test]
    fn a_change_shows_at_its_line() {
        let whole = log("a", 4);
        let broken = |lines: &[String]| check(lines).map(|found| found.entries.len());
        let mut lines = whole.clone();
        lines[1] = lines[1].replace("alice", "mallory");
        assert_eq!(
            broken(&lines),
            Err(Broken {
                line: 2,
                problem: Problem::Hash
            })
        );
        let mut lines = whole.clone();
        lines.remove(1);
        assert_eq!(
            broken(&lines),
            Err(Broken {
                line: 2,
                problem: Problem::Order
            })
        );
        let mut lines = whole.clone();
        lines.swap(1, 2);
        assert_eq!(
            broken(&lines),
            Err(Broken {
                line: 2,
                problem: Problem::Order
            })
        );
        let mut lines = whole.clone();
        lines.insert(2, lines[0].clone());
        assert_eq!(
            broken(&lines),
            Err(Broken {
                line: 3,
                problem: Problem::Order
            })
        );
        let mut lines = whole;
        lines[0] = r#"{"target":"audit","hash":"x"}"#.to_owned();
        assert_eq!(
            broken(&lines),
            Err(Broken {
                line: 1,
                problem: Problem::Fields
            })
        );
    }
}
