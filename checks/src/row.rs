//! One row of the registry.

use std::fmt;
use std::str::FromStr;

use crate::areas;
use crate::code::Code;

/// A language of the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Simplified Chinese.
    Zh,
}

/// The name of a language that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLang;

impl fmt::Display for UnknownLang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the languages are en and zh")
    }
}

impl std::error::Error for UnknownLang {}

/// Reads `en`, `zh` and locales such as `zh_CN.UTF-8`.
impl FromStr for Lang {
    type Err = UnknownLang;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text
            .trim()
            .split(['-', '_', '.'])
            .next()
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            Some("en") => Ok(Self::En),
            Some("zh") => Ok(Self::Zh),
            _ => Err(UnknownLang),
        }
    }
}

/// How much a failure of the check matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The cluster cannot be used, or not as promised, until it is solved.
    Required,
    /// Something works less well or may fail later.
    Recommended,
    /// The answer to one request; the next may succeed.
    Request,
    /// Worth knowing. Nothing is wrong.
    Info,
}

impl Severity {
    /// The word in `lang`.
    pub const fn text(self, lang: Lang) -> &'static str {
        match (self, lang) {
            (Self::Required, Lang::En) => "required",
            (Self::Required, Lang::Zh) => "必需",
            (Self::Recommended, Lang::En) => "recommended",
            (Self::Recommended, Lang::Zh) => "建议",
            (Self::Request, Lang::En) => "single request",
            (Self::Request, Lang::Zh) => "单个请求",
            (Self::Info, Lang::En) => "information",
            (Self::Info, Lang::Zh) => "信息",
        }
    }

    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Recommended => "recommended",
            Self::Request => "request",
            Self::Info => "info",
        }
    }
}

/// The same text in each language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// English.
    pub en: &'static str,
    /// Simplified Chinese.
    pub zh: &'static str,
}

impl Text {
    /// The text in `lang`.
    pub const fn get(&self, lang: Lang) -> &'static str {
        match lang {
            Lang::En => self.en,
            Lang::Zh => self.zh,
        }
    }
}

/// What the registry knows of one code.
#[derive(Debug)]
pub struct Check {
    /// The code.
    pub code: Code,
    /// How much a failure matters.
    pub severity: Severity,
    /// What is checked, in a few words; `None` if neither `preflight` nor `doctor` runs it as a check.
    pub name: Option<Text>,
    /// What is wrong, in a few words without a full stop.
    pub title: Text,
    /// The probable cause, in sentences.
    pub cause: Text,
    /// What to do, in sentences.
    pub remedy: Text,
}

/// The row of a code.
pub fn get(code: Code) -> &'static Check {
    all()
        .find(|check| check.code == code)
        .expect("a code is made beside its row only")
}

/// All rows, by area and number.
pub fn all() -> impl Iterator<Item = &'static Check> {
    areas::ALL.iter().flat_map(|area| area.iter())
}
