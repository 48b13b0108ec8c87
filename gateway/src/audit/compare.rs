//! Holds an agent's own log against the audit. No I/O.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use kantaloupe_proto::agent_log;

use super::entry::{Entry, Phase};

/// Clocks of gateway and cluster may be apart by this much before requests seem to be missing at the ends of the log.
const CLOCKS: SignedDuration = SignedDuration::from_mins(1);
/// Differences that are told.
const TOLD: usize = 100;

/// The agent's side, waiting for the gateway's.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    cluster: &'a str,
    agent: HashMap<&'a str, (&'a agent_log::Entry, bool)>,
    /// The time that the agent's log is of.
    from: Timestamp,
    to: Timestamp,
    /// Requests of the gateway in that time which the agent does not have.
    unmet: HashMap<String, String>,
    /// When the audit begins.
    begins: Option<Timestamp>,
    same: usize,
    differences: Vec<String>,
    more: usize,
}

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Requests that both have and say the same of.
    pub(crate) same: usize,
    /// Requests of the agent from before the audit begins.
    pub(crate) before: usize,
    /// What one side has and the other does not, or says otherwise.
    pub(crate) differences: Vec<String>,
    /// Further ones.
    pub(crate) more: usize,
}

impl<'a> Comparison<'a> {
    /// Takes the agent's entries of one cluster.
    pub(crate) fn new(cluster: &'a str, agent: &'a [agent_log::Entry]) -> Self {
        let times = || {
            agent
                .iter()
                .filter_map(|entry| entry.at.parse::<Timestamp>().ok())
        };
        let shift = |time: Option<Timestamp>, by| time.and_then(|time| time.checked_add(by).ok());
        let mut comparison = Self {
            cluster,
            agent: HashMap::new(),
            from: shift(times().min(), CLOCKS).unwrap_or(Timestamp::MAX),
            to: shift(times().max(), -CLOCKS).unwrap_or(Timestamp::MIN),
            unmet: HashMap::new(),
            begins: None,
            same: 0,
            differences: Vec::new(),
            more: 0,
        };
        for entry in agent {
            match entry.id.as_deref() {
                Some(id) => {
                    if comparison.agent.insert(id, (entry, false)).is_some() {
                        comparison.differs(format!("{id}: the agent got two requests with this id"));
                    }
                }
                None => comparison.differs(format!(
                    "the agent got a request without a sound id at {}: {}",
                    entry.at,
                    entry.reason.as_deref().unwrap_or("no reason given")
                )),
            }
        }
        comparison
    }

    /// Takes an entry of the gateway.
    pub(crate) fn take(&mut self, entry: &Entry<'_>) {
        self.begins.get_or_insert(entry.at);
        if entry.id.is_empty() || entry.group == "gateway" {
            return;
        }
        let Some((agent, met)) = self.agent.get_mut(&*entry.id) else {
            return self.only_here(entry);
        };
        if *met {
            return;
        }
        *met = true;
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let differing: Vec<String> = [
            ("cluster", self.cluster, &*entry.cluster),
            ("user", text(&agent.user), &entry.user),
            ("actor", text(&agent.actor), &entry.actor),
            ("role", text(&agent.role), &entry.role),
            ("verb", text(&agent.verb), &entry.verb),
            ("group", text(&agent.group), &entry.group),
            ("resource", text(&agent.resource), &entry.resource),
            ("subresource", text(&agent.subresource), &entry.subresource),
            ("namespace", text(&agent.namespace), &entry.namespace),
            ("name", text(&agent.name), &entry.name),
        ]
        .into_iter()
        .filter(|(_, agent, here)| agent != here)
        .map(|(what, agent, here)| format!("{what} is {agent:?} at the agent and {here:?} here"))
        .collect();
        if differing.is_empty() {
            self.same += 1;
        } else {
            self.differs(format!("{}: {}", entry.id, differing.join(", ")));
        }
    }

    /// A request that the agent does not have: it should, if it got an answer from there.
    fn only_here(&mut self, entry: &Entry<'_>) {
        let in_time = self.from <= entry.at && entry.at <= self.to;
        if entry.cluster != self.cluster || entry.decision != super::Decision::Allow || !in_time {
            return;
        }
        // The gateway itself answers with these if a request does not get to the agent.
        let answered = entry
            .status
            .is_some_and(|status| !matches!(status, 429 | 502..=504));
        if entry.phase == Phase::End && answered {
            let what = format!("{} {} {}", entry.verb, entry.resource, entry.path);
            self.unmet.insert(entry.id.clone().into_owned(), what);
        }
    }

    fn differs(&mut self, what: String) {
        if self.differences.len() < TOLD {
            self.differences.push(what);
        } else {
            self.more += 1;
        }
    }

    /// What came out, once all entries of the gateway were taken.
    pub(crate) fn finish(mut self) -> Compared {
        let mut before = 0;
        let mut only_there = Vec::new();
        for (id, (entry, met)) in &self.agent {
            let at = entry.at.parse::<Timestamp>().ok();
            if *met {
                continue;
            }
            if at.zip(self.begins).is_some_and(|(at, begins)| at < begins) {
                before += 1;
            } else {
                only_there.push(format!(
                    "{id}: only the agent has it: {} {} {} {} as {} at {}",
                    entry.decision,
                    entry.verb.as_deref().unwrap_or("?"),
                    entry.resource.as_deref().unwrap_or_default(),
                    entry.name.as_deref().unwrap_or_default(),
                    entry.user.as_deref().unwrap_or("nobody"),
                    entry.at
                ));
            }
        }
        let only_here: Vec<_> = self
            .unmet
            .drain()
            .map(|(id, what)| format!("{id}: only the gateway has it: {what}"))
            .collect();
        only_there.sort_unstable();
        for what in only_there.into_iter().chain(only_here) {
            self.differs(what);
        }
        Compared {
            same: self.same,
            before,
            differences: self.differences,
            more: self.more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn agent(id: &str, user: &str, second: i64) -> agent_log::Entry {
        agent_log::Entry {
            at: time(second).to_string(),
            id: Some(id.to_owned()),
            user: Some(user.to_owned()),
            verb: Some("get".to_owned()),
            resource: Some("pods".to_owned()),
            decision: "allow".to_owned(),
            ..agent_log::Entry::default()
        }
    }

    fn gateway<'a>(id: &'a str, user: &'a str, second: i64, status: u16) -> Entry<'a> {
        Entry {
            at: time(second),
            id: id.into(),
            user: user.into(),
            cluster: "c-1".into(),
            verb: "get".into(),
            resource: "pods".into(),
            status: Some(status),
            ..Entry::new(Phase::End)
        }
    }

    fn compare(agent: &[agent_log::Entry], gateway: &[Entry<'_>]) -> Compared {
        let mut comparison = Comparison::new("c-1", agent);
        for entry in gateway {
            comparison.take(entry);
        }
        comparison.finish()
    }

    #[test]
    fn each_side_is_held_against_the_other() {
        let begin = Entry {
            status: None,
            ..Entry::new(Phase::Begin)
        };
        let agents = [
            agent("old", "ann", -1000),
            agent("a", "ann", 0),
            agent("b", "bob", 100),
            agent("smuggled", "root", 150),
            agent("z", "ann", 300),
        ];
        let ours = [
            Entry {
                at: time(-5),
                ..begin
            },
            gateway("a", "ann", 0, 200),
            gateway("a", "ann", 0, 200),
            gateway("b", "ann", 100, 200),
            gateway("offline", "ann", 110, 503),
            gateway("hidden", "ann", 120, 200),
            Entry {
                cluster: "c-2".into(),
                ..gateway("another cluster's", "ann", 120, 200)
            },
            gateway("z", "ann", 300, 200),
            gateway("after the agent's log", "ann", 400, 200),
        ];
        let compared = compare(&agents, &ours);
        assert_eq!((compared.same, compared.before, compared.more), (2, 1, 0));
        let told = compared.differences.join("\n");
        assert_eq!(compared.differences.len(), 3, "{told}");
        assert!(
            told.contains("b: user is \"bob\" at the agent and \"ann\" here"),
            "{told}"
        );
        assert!(told.contains("smuggled: only the agent has it"), "{told}");
        assert!(told.contains("hidden: only the gateway has it"), "{told}");
    }

    #[test]
    fn requests_without_an_id_or_with_one_twice_are_told() {
        let nameless = agent_log::Entry {
            id: None,
            ..agent("", "", 0)
        };
        let agents = [nameless, agent("a", "ann", 0), agent("a", "ann", 1)];
        let compared = compare(&agents, &[gateway("a", "ann", 0, 200)]);
        assert_eq!(
            (compared.same, compared.differences.len()),
            (1, 2),
            "{compared:?}"
        );
    }
}
