//! Login of a program without a browser (RFC 8628): the person types a code on another device.
//!
//! The program gets a handle, which is the provider's device code, encrypted: nothing has to be remembered here, and
//! the device code is of no use to anybody but this gateway.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    Oidc,
    fault::OidcError,
    metadata::HttpsUrl,
    provider::{DeviceStep, Person},
};
use crate::{
    login::seal::{Purpose, Seals},
    secret::Secret,
};

/// Seconds between two questions unless the provider says more (RFC 8628, section 3.2).
const INTERVAL_SECS: u32 = 5;
/// Longest time that a provider may give; it is shown to people and kept in the handle.
const MAX_SECS: i64 = 3600;

/// A device login that was started.
#[derive(Debug)]
pub(crate) struct DeviceLogin {
    pub(crate) handle: SecretString,
    /// What the person types.
    pub(crate) user_code: String,
    /// Where.
    pub(crate) verification_uri: Url,
    /// The same with the code in it.
    pub(crate) verification_uri_complete: Option<Url>,
    pub(crate) expires_in: i64,
    pub(crate) interval: u32,
}

/// Where a device login is.
#[derive(Debug)]
pub(crate) enum Polled {
    /// Ask again after so many seconds.
    Pending(u32),
    /// Done.
    Person(Person),
}

#[derive(Serialize, Deserialize)]
struct Handle<'a> {
    code: &'a str,
    until: i64,
    interval: u32,
}

/// Starts one.
pub(crate) async fn start_device(oidc: &Oidc, seals: &Seals, now: i64) -> Result<DeviceLogin, OidcError> {
    let answer = oidc.provider.start_device().await?;
    let Secret(code) = answer.device_code;
    let expires_in = answer.expires_in.clamp(0, MAX_SECS);
    let interval = answer.interval.unwrap_or(INTERVAL_SECS).max(1);
    let handle = Handle {
        code: code.expose_secret(),
        until: now + expires_in,
        interval,
    };
    let plain = serde_json::to_vec(&handle).expect("texts and numbers always serialize");
    Ok(DeviceLogin {
        handle: URL_SAFE_NO_PAD
            .encode(seals.seal(Purpose::Device, "", &plain))
            .into(),
        user_code: answer.user_code,
        verification_uri: answer.verification_uri.0,
        verification_uri_complete: answer.verification_uri_complete.map(|HttpsUrl(url)| url),
        expires_in,
        interval,
    })
}

/// Asks whether the person has decided.
pub(crate) async fn poll(
    oidc: &Oidc,
    seals: &Seals,
    handle: &SecretString,
    now: i64,
) -> Result<Polled, OidcError> {
    const FOREIGN: OidcError = OidcError::Login("this is no device login of this gateway");
    let sealed = URL_SAFE_NO_PAD
        .decode(handle.expose_secret())
        .map_err(|_| FOREIGN)?;
    let plain = seals.unseal(Purpose::Device, "", &sealed).ok_or(FOREIGN)?;
    let handle: Handle<'_> = serde_json::from_slice(&plain).map_err(|_| FOREIGN)?;
    if handle.until <= now {
        return Err(OidcError::Login("this login took too long; start again"));
    }
    match oidc.provider.poll_device(&handle.code.into()).await? {
        DeviceStep::Pending => Ok(Polled::Pending(handle.interval)),
        // RFC 8628, section 3.5: five seconds more.
        DeviceStep::SlowDown => Ok(Polled::Pending(handle.interval + INTERVAL_SECS)),
        DeviceStep::Tokens(tokens) => {
            // There is no nonce in this flow: the device code is what binds the answer to the question.
            let person = oidc.provider.person(tokens, None, None, now).await?;
            Ok(Polled::Person(person))
        }
    }
}
