//! The error that a user sees.

use std::fmt;

use crate::code::Code;
use crate::row::{self, Check, Lang};

/// Something that a user must know of: what happened and to what, the probable cause, what to do, and the code.
///
/// `Display` is all of it in English, in one line. Secrets do not belong into `what` or the detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    code: Code,
    what: String,
    detail: Option<String>,
}

impl Fault {
    /// `what` is one sentence: what happened, and to what.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            detail: None,
        }
    }

    /// Adds evidence, such as the error of the system or both of two values that should be one.
    #[must_use]
    pub fn with_detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// The code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What happened, and to what.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The evidence.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The row of the code.
    pub fn check(&self) -> &'static Check {
        row::get(self.code)
    }

    /// The title of the code: the same for every fault with it.
    pub fn title(&self, lang: Lang) -> &'static str {
        self.check().title.get(lang)
    }

    /// The probable cause.
    pub fn cause(&self, lang: Lang) -> &'static str {
        self.check().cause.get(lang)
    }

    /// What to do.
    pub fn remedy(&self, lang: Lang) -> &'static str {
        self.check().remedy.get(lang)
    }

    /// What happened together with the evidence, without cause and remedy: for `detail` of a problem.
    pub fn what_and_detail(&self) -> String {
        let what = self.what.trim_end_matches('.');
        match &self.detail {
            Some(detail) => format!("{what} ({detail})"),
            None => what.to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}. Probable cause: {} What to do: {} [{}]",
            self.what_and_detail(),
            self.cause(Lang::En),
            self.remedy(Lang::En),
            self.code
        )
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_one_text_with_all_parts() {
        let fault =
            Fault::new(Code::NET_002, "The name gw.example.com was not found.").with_detail("NXDOMAIN");
        let text = fault.to_string();
        assert!(
            text.starts_with("The name gw.example.com was not found (NXDOMAIN). Probable cause: "),
            "{text}"
        );
        assert!(
            text.contains(fault.cause(Lang::En)) && text.contains(fault.remedy(Lang::En)),
            "{text}"
        );
        assert!(text.ends_with(" [KTA-NET-002]"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn without_evidence_there_are_no_brackets() {
        let fault = Fault::new(Code::AUTH_003, "The token expired");
        assert_eq!(fault.what_and_detail(), "The token expired");
        assert_eq!(fault.detail(), None);
    }
}
