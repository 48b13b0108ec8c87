//! Why the gateway does not start: each cause with a code, a remedy and an exit status.

use std::{io, net::SocketAddr, path::Path};

use kantaloupe_checks::{Code, Fault};

use crate::{audit::JournalError, config::ConfigErrors, store::StoreError, tls::TlsError};

/// What is wrong is what the program was told; as the agent has it, and clap for flags.
pub(crate) const USAGE: u8 = 2;
/// Anything else: a port, the disk, the store. The code of the fault tells more than a number could.
const FAILED: u8 = 1;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub struct StartError {
    /// What to tell the operator.
    pub fault: Fault,
    /// Exit status of the process.
    pub exit_code: u8,
}

impl StartError {
    fn new(code: Code, what: impl Into<String>, detail: impl std::fmt::Display, exit_code: u8) -> Self {
        Self {
            fault: Fault::new(code, what).with_detail(detail),
            exit_code,
        }
    }

    pub(crate) fn data_dir(path: &Path, error: &io::Error) -> Self {
        let what = format!("The data folder {} cannot be used", path.display());
        Self::new(Code::SRV_006, what, error, FAILED)
    }

    pub(crate) fn token_file(path: &Path, error: &io::Error) -> Self {
        let what = format!(
            "The administrator's token could not be written to {}",
            path.display()
        );
        Self::new(Code::SRV_006, what, error, FAILED)
    }

    pub(crate) fn login_key(path: &Path, error: &io::Error) -> Self {
        let what = format!("The key {} cannot be read or made", path.display());
        Self::new(Code::SRV_006, what, error, FAILED)
    }

    pub(crate) fn oidc(why: &str) -> Self {
        let what = "The settings of the OpenID Connect provider cannot be used";
        Self::new(Code::CFG_001, what, why, USAGE)
    }

    pub(crate) fn listen(address: SocketAddr, error: &io::Error) -> Self {
        Self::new(
            Code::SRV_007,
            format!("Cannot listen on {address}"),
            error,
            FAILED,
        )
    }

    pub(crate) fn no_store(path: &Path) -> Self {
        let what = format!("The data folder {} cannot be used", path.display());
        Self::new(Code::SRV_006, what, "it holds no gateway.db", FAILED)
    }

    pub(crate) fn audit_journal(path: &Path, error: &io::Error) -> Self {
        let what = format!("The audit's journal in {} cannot be used", path.display());
        Self::new(Code::SRV_006, what, error, FAILED)
    }

    pub(crate) fn audit_store(path: &Path, error: &StoreError) -> Self {
        let what = format!("The audit's database in {} cannot be used", path.display());
        Self::new(Code::SRV_006, what, error, FAILED)
    }

    pub(crate) fn unaudited(error: &JournalError) -> Self {
        let what = "The change was not made, because the audit cannot be written";
        Self::new(Code::AUDIT_001, what, error, FAILED)
    }

    pub(crate) fn store(path: &Path, error: &StoreError) -> Self {
        let what = format!("The database in {} cannot be used", path.display());
        Self::new(Code::SRV_006, what, error, FAILED)
    }
}

impl From<ConfigErrors> for StartError {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(
            Code::CFG_001,
            "The gateway's settings cannot be used",
            errors,
            USAGE,
        )
    }
}

impl From<TlsError> for StartError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Write { .. } => Self::new(
                Code::SRV_006,
                "The gateway's certificate could not be kept",
                error,
                FAILED,
            ),
            _ => Self::new(
                Code::CFG_001,
                "The gateway's certificate cannot be used",
                error,
                USAGE,
            ),
        }
    }
}
