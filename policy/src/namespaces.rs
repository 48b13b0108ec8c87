//! Which namespaces a grant is for, also as a header.

use std::{collections::BTreeSet, str::FromStr};

/// Namespaces that one grant or policy may name. At 64 bytes each they fill a quarter of a header block.
pub const MAX_NAMESPACES: usize = 256;
/// Kubernetes' own bound for names of namespaces (RFC 1123 label).
const MAX_NAMESPACE: usize = 63;

/// Which namespaces a grant is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// All of them, and what belongs to none.
    All,
    /// These.
    Only(BTreeSet<String>),
}

/// Why a list of namespaces is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNamespaces {
    /// No name at all. "None" and "all" must not look alike.
    #[error("the list of namespaces is empty")]
    Empty,
    /// More than [`MAX_NAMESPACES`].
    #[error("there are more than {MAX_NAMESPACES} namespaces")]
    TooMany,
    /// No name that Kubernetes would give a namespace.
    #[error("a name is not one of a namespace: lower-case letters, digits and '-', at most {MAX_NAMESPACE}")]
    Name,
    /// A name twice.
    #[error("a namespace is named twice")]
    Twice,
}

/// Whether Kubernetes would accept this as the name of a namespace (RFC 1123 label).
pub fn is_namespace(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= MAX_NAMESPACE
        && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
        && bytes.first().is_some_and(|first| inner(*first))
        && bytes.last().is_some_and(|last| inner(*last))
}

impl Namespaces {
    /// These namespaces, each checked.
    pub fn only<I>(names: I) -> Result<Self, InvalidNamespaces>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let mut set = BTreeSet::new();
        for name in names {
            let name = name.into();
            if !is_namespace(&name) {
                return Err(InvalidNamespaces::Name);
            }
            if set.len() == MAX_NAMESPACES {
                return Err(InvalidNamespaces::TooMany);
            }
            if !set.insert(name) {
                return Err(InvalidNamespaces::Twice);
            }
        }
        if set.is_empty() {
            return Err(InvalidNamespaces::Empty);
        }
        Ok(Self::Only(set))
    }

    /// Comma separated, as `FromStr` reads it; nothing for all of them. An empty set is no value either end accepts.
    pub fn header_value(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Only(names) => Some(names.iter().map(String::as_str).collect::<Vec<_>>().join(",")),
        }
    }

    /// Whether everything in `other` is in this.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Only(_), Self::All) => false,
            (Self::Only(mine), Self::Only(theirs)) => theirs.is_subset(mine),
        }
    }
}

/// Reads the value of a header: names with a comma between, nothing else.
impl FromStr for Namespaces {
    type Err = InvalidNamespaces;

    fn from_str(text: &str) -> Result<Self, InvalidNamespaces> {
        if text.is_empty() {
            return Err(InvalidNamespaces::Empty);
        }
        Self::only(text.split(','))
    }
}
