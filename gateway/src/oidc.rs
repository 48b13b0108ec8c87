//! Login at an OpenID Connect provider: with the browser, and with a code that is typed on another device.
//!
//! ```text
//!   flow (browser) ──┐
//!   device ──────────┼─> provider: tokens checked ──> Person ──> admit: user, groups, session
//!   refresh ─────────┘
//! ```
//!
//! `jws`, `claims` and `metadata` decide and do no I/O; `provider` calls.

mod admit;
mod cached;
mod claims;
pub mod config;
mod device;
mod fault;
mod flow;
mod http;
mod jws;
mod logout;
mod metadata;
mod provider;
mod refresh;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use parking_lot::Mutex;
use tokio::time::Instant;
use url::Url;

pub(crate) use self::{
    admit::{AdmitError, admit},
    device::{Polled, poll, start_device},
    fault::OidcError,
    flow::{Callback, LOGIN_SECS, Used, finish, local_path, start},
    logout::logout_by_provider,
    provider::Person,
    refresh::{give_back, refresh_one, run},
};
use self::{config::OidcConfig, metadata::HttpsUrl, provider::Provider};
use crate::{agents::SourceLimit, app::App};

/// Path that the provider sends browsers back to.
pub(crate) const CALLBACK_PATH: &str = "/api/v1/oidc/callback";
/// Calls of one source to these endpoints within a minute. Each may cost a call to the provider; a device login asks
/// every five seconds.
const CALLS_PER_SOURCE: u32 = 60;
/// Logouts that one source may tell of within a minute: the provider has one address for all people, and they leave at the same hour.
const LOGOUTS_PER_SOURCE: u32 = 600;

/// The provider and what is kept about logins at it.
#[derive(Debug)]
pub(crate) struct Oidc {
    provider: Provider,
    redirect_uri: String,
    /// Logins and handovers that were finished.
    pub(crate) used: Used,
    calls: Mutex<SourceLimit>,
    logouts: Mutex<SourceLimit>,
}

impl Oidc {
    /// For a gateway that browsers reach under this URL.
    pub(crate) fn new(config: OidcConfig, public_url: &str) -> Result<Self, String> {
        Ok(Self {
            provider: Provider::new(config)?,
            redirect_uri: format!("{public_url}{CALLBACK_PATH}"),
            used: Used::default(),
            calls: Mutex::new(SourceLimit::new(CALLS_PER_SOURCE)),
            logouts: Mutex::new(SourceLimit::new(LOGOUTS_PER_SOURCE)),
        })
    }

    /// Whether this source may call now; the call counts.
    pub(crate) fn may_call(&self, source: IpAddr) -> bool {
        counted(&self.calls, source)
    }

    /// The same for telling of logouts.
    pub(crate) fn may_tell_logouts(&self, source: IpAddr) -> bool {
        counted(&self.logouts, source)
    }

    /// Name of the organisation that its people are of.
    pub(crate) fn organization(&self) -> &str {
        &self.provider.config.organization
    }

    /// Where a person ends the session at the provider as well. There is no token in this address: the provider asks the
    /// person instead.
    pub(crate) async fn logout_url(&self) -> Option<Url> {
        let metadata = self.provider.metadata().await.ok()?;
        let HttpsUrl(mut url) = metadata.end_session_endpoint.clone()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.provider.config.client_id);
        if let Some(after) = &self.provider.config.after_logout {
            url.query_pairs_mut()
                .append_pair("post_logout_redirect_uri", after.as_str());
        }
        Some(url)
    }
}

fn counted(limit: &Mutex<SourceLimit>, source: IpAddr) -> bool {
    let (mut limit, now) = (limit.lock(), Instant::now());
    let allowed = limit.allows(source, now);
    if allowed {
        limit.count(source, now);
    }
    allowed
}

/// The provider of this gateway.
pub(crate) fn of(app: &App) -> Result<&Oidc, OidcError> {
    app.logins.oidc.as_ref().ok_or(OidcError::NotConfigured)
}
