//! Versions that consist of numbers and dots, compared by number: `550.144.03` is `550.144.3`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::inventory::NodeRuntime;

/// Numbers of a version. `440` equals `440.0`.
#[derive(Debug, Clone, Default)]
pub struct Version(Vec<u32>);

/// The text does not begin with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a version begins with a number, such as 550.144.03")]
pub struct VersionError;

/// More numbers than any version has.
const MAX_PARTS: usize = 8;

/// Reads `550.144.03`, `v1.31.7`, `2.1.4-k3s1`: what comes after the numbers is left out.
impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let mut parts = Vec::new();
        for part in text.split('.').take(MAX_PARTS) {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let Ok(number) = part[..end].parse() else {
                break;
            };
            parts.push(number);
            if end < part.len() {
                break;
            }
        }
        if parts.is_empty() {
            return Err(VersionError);
        }
        Ok(Self(parts))
    }
}

impl Version {
    /// The n-th number, 0 where the version is shorter.
    pub fn part(&self, n: usize) -> u32 {
        self.0.get(n).copied().unwrap_or(0)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        (0..self.0.len().max(other.0.len()))
            .map(|n| self.part(n).cmp(&other.part(n)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(".")?;
            }
            write!(f, "{part}")?;
        }
        Ok(())
    }
}

/// Whether a version is at least another; `None` if one of them is not a version.
pub fn at_least(version: &str, minimum: &str) -> Option<bool> {
    Some(version.parse::<Version>().ok()? >= minimum.parse::<Version>().ok()?)
}

/// Reads `status.nodeInfo.containerRuntimeVersion`: `containerd://1.7.27`. `None` if it is not of this form.
pub fn runtime(text: &str) -> Option<NodeRuntime> {
    let (name, version) = text.trim().split_once("://")?;
    (!name.is_empty()).then(|| NodeRuntime {
        name: name.to_owned(),
        version: version.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        v: String,
        ok: Option<bool>,
    }

    /// The platform's minimum.
    const DRIVER: &str = "440";

    #[test]
    fn driver_versions() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/fixtures/cases/driver-versions.json")).unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            assert_eq!(at_least(&case.v, DRIVER), case.ok, "{}", case.v);
        }
    }

    #[test]
    fn runtime_versions() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/fixtures/cases/runtime-versions.json")).unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let supported =
                runtime(&case.v).map(|runtime| ["containerd", "docker"].contains(&runtime.name.as_str()));
            assert_eq!(supported, case.ok, "{}", case.v);
        }
        let k3s = runtime("containerd://2.1.4-k3s1").unwrap();
        assert_eq!(
            (k3s.name.as_str(), k3s.version.as_str()),
            ("containerd", "2.1.4-k3s1")
        );
    }

    #[test]
    fn numbers_decide() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert_eq!(version("550.144.03"), version("550.144.3"));
        assert_eq!(version("440"), version("440.0.0"));
        assert!(version("550.54.15") < version("550.144.03"));
        assert!(version("2.10.0") > version("2.9.0"));
        assert_eq!(version("v1.36.4+k3s1"), version("1.36.4"));
        assert_eq!(version("2.1.4-k3s1").to_string(), "2.1.4");
        for text in ["", "v", "latest", "-1", "x1.2"] {
            assert_eq!(text.parse::<Version>(), Err(VersionError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = text.parse::<Version>();
            let _ = runtime(&text);
        }

        #[test]
        fn round_trip(parts in prop::collection::vec(any::<u32>(), 1..MAX_PARTS)) {
            let version = Version(parts);
            prop_assert_eq!(version.to_string().parse::<Version>(), Ok(version));
        }
    }
}
