//! How people log in: with the password of a local account, or at an OpenID Connect provider. Both end in a session,
//! which is an API token of 12 hours.

mod account;
mod error;
mod lockout;
pub(crate) mod metrics;
mod password;
mod recovery;
pub(crate) mod seal;
mod session;
mod sign_in;
mod totp;

use std::{net::IpAddr, path::Path};

use parking_lot::Mutex;
use tokio::time::Instant;

use self::{
    lockout::{Attempt, Lockout},
    metrics::LoginMetrics,
    password::Passwords,
    seal::Seals,
};
use crate::{
    oidc::{Oidc, config::OidcConfig},
    start::StartError,
};

pub(crate) use self::{
    account::{change_password, confirm_totp, disable_totp, propose_totp, reset_password, reset_totp},
    error::LoginError,
    session::{Origin, Session, keep_session, logout, new_session},
    sign_in::{Proof, SignIn, sign_in},
};

/// What logins share.
#[derive(Debug)]
pub(crate) struct Logins {
    passwords: Passwords,
    lockout: Mutex<Lockout>,
    pub(crate) seals: Seals,
    /// `None` if there is no provider.
    pub(crate) oidc: Option<Oidc>,
    pub(crate) metrics: LoginMetrics,
}

impl Logins {
    /// With the key of the data folder. Nothing is sent to the provider yet.
    pub(crate) fn open(
        data_dir: &Path,
        oidc: Option<OidcConfig>,
        public_url: &str,
    ) -> Result<Self, StartError> {
        let seals = Seals::open(data_dir)
            .map_err(|error| StartError::login_key(&data_dir.join(seal::FILE), &error))?;
        let oidc = oidc
            .map(|config| Oidc::new(config, public_url))
            .transpose()
            .map_err(|why| StartError::oidc(&why))?;
        Ok(Self {
            passwords: Passwords::default(),
            lockout: Mutex::default(),
            seals,
            oidc,
            metrics: LoginMetrics::default(),
        })
    }

    fn begin(&self, organization: &str, name: &str, source: IpAddr) -> Result<Attempt, LoginError> {
        self.lockout
            .lock()
            .begin(organization, name, source, Instant::now())
            .map_err(LoginError::Wait)
    }

    fn succeeded(&self, attempt: &Attempt) {
        self.lockout.lock().succeeded(attempt, Instant::now());
    }

    fn undecided(&self, attempt: &Attempt) {
        self.lockout.lock().undecided(attempt);
    }
}
