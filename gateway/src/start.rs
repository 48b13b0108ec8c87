//! Why the gateway does not start: each cause with a code, a remedy and an exit status.

use std::{io, net::SocketAddr, path::Path};

use kantaloupe_checks::{Code, Fault};

use crate::{config::ConfigErrors, store::StoreError, tls::TlsError};

/// sysexits(3): wrong usage or configuration.
pub(crate) const EX_USAGE: u8 = 64;
/// sysexits(3): a service is unavailable; here, a port.
const EX_UNAVAILABLE: u8 = 69;
/// sysexits(3): input or output failed.
const EX_IOERR: u8 = 74;

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
        Self::new(Code::SRV_006, what, error, EX_IOERR)
    }

    pub(crate) fn token_file(path: &Path, error: &io::Error) -> Self {
        let what = format!(
            "The administrator's token could not be written to {}",
            path.display()
        );
        Self::new(Code::SRV_006, what, error, EX_IOERR)
    }

    pub(crate) fn listen(address: SocketAddr, error: &io::Error) -> Self {
        Self::new(
            Code::SRV_007,
            format!("Cannot listen on {address}"),
            error,
            EX_UNAVAILABLE,
        )
    }

    pub(crate) fn store(path: &Path, error: &StoreError) -> Self {
        let what = format!("The database in {} cannot be used", path.display());
        Self::new(Code::SRV_006, what, error, EX_IOERR)
    }
}

impl From<ConfigErrors> for StartError {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(
            Code::CFG_001,
            "The gateway's settings cannot be used",
            errors,
            EX_USAGE,
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
                EX_IOERR,
            ),
            _ => Self::new(
                Code::CFG_001,
                "The gateway's certificate cannot be used",
                error,
                EX_USAGE,
            ),
        }
    }
}
