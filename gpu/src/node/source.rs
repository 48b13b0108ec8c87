//! The places where a node says which devices it has, and what each of them says.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kantaloupe_checks::Code;

use super::{capacity, labels, reason};
use crate::inventory::{FindingLevel, GpuSource};
use crate::object::Node;
use crate::register::{self, Device, Registration};
use crate::report::{self, Entry, Report};
use crate::vendor::{self, Grammar, Names, Register, ResourceNames, VENDORS, Vendor};

/// One place with what it says.
#[derive(Debug)]
pub(super) struct Source<'a> {
    /// The row.
    pub(super) vendor: &'static Vendor,
    /// The annotation.
    pub(super) key: Option<&'a str>,
    /// Which kind of place.
    pub(super) kind: GpuSource,
    /// Names of the vendor's resources.
    pub(super) names: Cow<'a, Names>,
    /// The devices.
    pub(super) registration: Registration,
    /// Whether it says of each device if it works.
    pub(super) says_health: bool,
    /// Scores of pairs of devices: the identifier of one, then those of others.
    pub(super) scores: BTreeMap<String, BTreeMap<String, i64>>,
}

/// NVIDIA's devices, which GPU Feature Discovery describes.
const NVIDIA: &str = "nvidia";

/// All places of a node, each row's in the order of the table.
pub(super) fn all<'a>(node: &'a Node, names: &'a ResourceNames, report: &mut Report) -> Vec<Source<'a>> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let found = annotations(node, names, name, report);
    let mut sources: Vec<Source<'a>> = Vec::new();
    for vendor in VENDORS {
        for register in vendor.register {
            let before = sources.len();
            match register {
                Register::Annotation { .. } => {
                    let mine = found.iter().filter(|(known, ..)| std::ptr::eq(*known, vendor));
                    for (_, word, key, grammar, value) in mine {
                        let registration = register::parse(*grammar, value, name);
                        problems(&registration, key, value, name, report);
                        sources.push(Source {
                            vendor,
                            key: Some(key),
                            kind: match grammar {
                                Grammar::Volcano => GpuSource::Volcano,
                                _ => GpuSource::Annotation,
                            },
                            names: names.of(vendor, word.as_deref()),
                            registration,
                            says_health: *grammar != Grammar::EnflameDrs,
                            scores: BTreeMap::new(),
                        });
                    }
                }
                Register::Capacity(rule) => {
                    let names = names.of(vendor, None);
                    let registration = capacity::devices(rule, &names, node, name);
                    if !registration.devices.is_empty() {
                        sources.push(Source {
                            vendor,
                            key: None,
                            kind: GpuSource::Capacity,
                            names,
                            registration,
                            says_health: false,
                            scores: BTreeMap::new(),
                        });
                    }
                }
            }
            // The first that says anything counts.
            if sources
                .get(before..)
                .is_some_and(|new| new.iter().any(|source| !source.registration.devices.is_empty()))
            {
                break;
            }
        }
    }
    scores(node, name, &mut sources, report);
    from_labels(node, names, name, &mut sources);
    sources
}

/// Annotations that are registrations: the row, the model, the key, the grammar and the value.
type Found<'a> = (&'static Vendor, Option<String>, &'a str, Grammar, &'a str);

fn annotations<'a>(node: &'a Node, names: &ResourceNames, name: &str, report: &mut Report) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for (key, value) in node.metadata.annotations.iter().flatten() {
        if let Some((known, grammar)) = vendor::by_register(key) {
            found.push((
                known.vendor,
                known.word.map(str::to_owned),
                key.as_str(),
                grammar,
                value.as_str(),
            ));
        } else if is_registration(key) {
            match configured(names, key) {
                Some((vendor, word, grammar)) => found.push((vendor, Some(word), key, grammar, value)),
                None => report.add(
                    Entry::new(
                        Code::HAMI_003,
                        reason::UNKNOWN_VENDOR,
                        FindingLevel::Info,
                        report::node(name),
                        format!("Node {name} has {key}, which is no vendor's that is known: its devices are not shown."),
                    )
                    .evidence(key, value),
                ),
            }
        }
    }
    found
}

/// The row of a model that only the installation knows.
fn configured(names: &ResourceNames, key: &str) -> Option<(&'static Vendor, String, Grammar)> {
    names.iter().find_map(|names| {
        let word = names.word.as_deref()?;
        names.vendor.register.iter().find_map(|register| match register {
            Register::Annotation {
                key: pattern,
                grammar,
            } => (names.vendor.fill(pattern, Some(word)) == key)
                .then(|| (names.vendor, word.to_owned(), *grammar)),
            Register::Capacity(_) => None,
        })
    })
}

/// Whether HAMi could have written a list of devices under this key.
fn is_registration(key: &str) -> bool {
    key.strip_prefix("hami.io/node-")
        .is_some_and(|rest| rest.ends_with("-register") || rest.starts_with("register-"))
}

fn problems(registration: &Registration, key: &str, value: &str, name: &str, report: &mut Report) {
    if registration.problems.is_empty() {
        return;
    }
    let listed: Vec<String> = registration.problems.iter().map(ToString::to_string).collect();
    let kept = registration.devices.len();
    report.add(
        Entry::new(
            Code::HAMI_003,
            reason::UNPARSABLE,
            if kept == 0 {
                FindingLevel::Error
            } else {
                FindingLevel::Warning
            },
            report::node(name),
            format!(
                "{key} of node {name} cannot be read in full: {}. {kept} devices were read.",
                listed.join("; ")
            ),
        )
        .evidence(key, value),
    );
}

/// `hami.io/node-nvidia-score`: how well pairs of devices are connected.
fn scores(node: &Node, name: &str, sources: &mut [Source<'_>], report: &mut Report) {
    const KEY: &str = "hami.io/node-nvidia-score";
    #[derive(serde::Deserialize)]
    struct Scores {
        uuid: String,
        #[serde(default)]
        score: BTreeMap<String, i64>,
    }
    // Empty where no plugin has computed any.
    let Some(value) = crate::object::annotation(&node.metadata, KEY).filter(|value| !value.trim().is_empty())
    else {
        return;
    };
    match serde_json::from_str::<Option<Vec<Scores>>>(value) {
        Ok(scores) => {
            let scores: BTreeMap<_, _> = scores
                .into_iter()
                .flatten()
                .map(|device| (device.uuid, device.score))
                .collect();
            if let Some(source) = sources.iter_mut().find(|source| source.vendor.id == NVIDIA) {
                source.scores = scores;
            }
        }
        Err(error) => report.add(
            Entry::new(
                Code::HAMI_003,
                reason::UNPARSABLE_SCORES,
                FindingLevel::Warning,
                report::node(name),
                format!("{KEY} of node {name} cannot be read: {error}. HAMi's scheduler uses none of the node's NVIDIA devices then."),
            )
            .evidence(KEY, value),
        ),
    }
}

/// Devices of a node where only labels tell of them.
fn from_labels<'a>(node: &Node, names: &'a ResourceNames, name: &str, sources: &mut Vec<Source<'a>>) {
    let registered = sources
        .iter()
        .any(|source| source.vendor.name == NVIDIA && !source.registration.devices.is_empty());
    let Some(vendor) = vendor::by_name(NVIDIA).filter(|_| !registered) else {
        return;
    };
    let devices: Vec<Device> = match labels::discovered(node) {
        Some(discovered) => discovered.devices(node, name),
        None => unlabelled(vendor, names, node, name),
    };
    if !devices.is_empty() {
        sources.push(Source {
            vendor,
            key: None,
            kind: if labels::discovered(node).is_some() {
                GpuSource::Labels
            } else {
                GpuSource::Capacity
            },
            names: names.of(vendor, None),
            registration: Registration {
                devices,
                problems: Vec::new(),
            },
            says_health: false,
            scores: BTreeMap::new(),
        });
    }
}

/// Cards that NVIDIA's own plugin offers on a node without labels. With HAMi's label the number is that of shares, and says nothing of cards.
fn unlabelled(vendor: &'static Vendor, names: &ResourceNames, node: &Node, name: &str) -> Vec<Device> {
    use crate::vendor::{CapacityRule, CardMemory, Cards, Slots};
    let hami = vendor
        .label
        .is_some_and(|(key, value)| crate::object::label(&node.metadata, key) == Some(value));
    if hami {
        return Vec::new();
    }
    let rule = CapacityRule {
        cards: Cards::Count,
        memory: CardMemory::Unknown,
        slots: Slots::Fixed(1, 100),
        infix: "-nvidia-",
        numa_halves: false,
    };
    let mut devices = capacity::devices(&rule, &names.of(vendor, None), node, name).devices;
    for device in &mut devices {
        device.cores = None;
        device.numa = None;
    }
    devices
}
