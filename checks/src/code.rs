//! Codes as values.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::row;

/// A code of the registry, such as `KTA-AUTH-003`. The constants are beside the rows, one file per area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(&'static str);

/// No row of the registry has this code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCode;

impl Code {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self(text)
    }

    /// The whole code.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The part in the middle, such as `AUTH`.
    pub fn area(self) -> &'static str {
        self.0.split('-').nth(1).unwrap_or_default()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no check has this code; codes look like KTA-AUTH-003")
    }
}

impl std::error::Error for UnknownCode {}

/// Reads a code in either case, with or without `KTA-`: people type it from a screen.
impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let typed = text.trim().to_ascii_uppercase();
        let short = typed.strip_prefix("KTA-").unwrap_or(&typed);
        row::all()
            .map(|check| check.code)
            .find(|code| code.0.strip_prefix("KTA-") == Some(short))
            .ok_or(UnknownCode)
    }
}
