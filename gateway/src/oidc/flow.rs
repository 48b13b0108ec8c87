//! A login in the browser: authorization code with PKCE (RFC 7636), state and nonce.
//!
//! ```text
//!   browser ── GET login ──> sealed cookie {state, nonce, verifier, where to}, 302 to the provider
//!   browser <── 303 with code and state ── provider
//!   browser ── GET callback, with the cookie ──> state compared, code exchanged, ID token checked ──> session
//! ```
//!
//! What has to be remembered in between is in the browser's cookie, encrypted: whoever starts logins takes no memory
//! here, and a callback is of use only in the browser where the login was started. Each is taken once.

use std::collections::HashMap;

use aws_lc_rs::{constant_time, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    Oidc,
    fault::{OidcError, said},
    provider::Person,
};
use crate::{
    ids,
    login::seal::{Purpose, Seals},
};

/// Seconds from the start of a login to its end: people look for their second factor.
pub(crate) const LOGIN_SECS: i64 = 600;
/// Characters of state, nonce and verifier: 48 of 36 symbols are 248 bits, and RFC 7636 asks for 43 at least.
const RANDOM: usize = 48;
/// Logins that were finished within [`LOGIN_SECS`]; forgetting one is harmless, since its code is spent.
const MAX_USED: usize = 50_000;
/// Bytes of a path to return to.
const MAX_RETURN: usize = 512;

/// A login that is under way.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    state: String,
    nonce: String,
    verifier: String,
    return_to: Option<String>,
    until: i64,
}

/// A login that was started.
#[derive(Debug)]
pub(crate) struct Started {
    /// Where the browser has to go.
    pub(crate) location: Url,
    /// What it has to bring back.
    pub(crate) cookie: String,
}

/// What the provider lets the browser bring. Unknown parameters are ignored (RFC 6749, section 4.1.2).
#[derive(Default, Deserialize)]
pub(crate) struct Callback {
    pub(crate) code: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) iss: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) error_description: Option<String>,
}

/// Logins that were finished.
#[derive(Debug, Default)]
pub(crate) struct Used(Mutex<HashMap<String, i64>>);

impl Used {
    /// Whether this is the first time; `until` when it needs not be remembered any more.
    pub(crate) fn first(&self, id: &str, until: i64, now: i64) -> bool {
        let mut used = self.0.lock();
        if used.len() >= MAX_USED {
            used.retain(|_, until| *until > now);
            if used.len() >= MAX_USED {
                used.clear();
            }
        }
        used.insert(id.to_owned(), until).is_none()
    }
}

/// Starts a login.
pub(crate) async fn start(
    oidc: &Oidc,
    seals: &Seals,
    return_to: Option<String>,
    now: i64,
) -> Result<Started, OidcError> {
    let Oidc {
        provider,
        redirect_uri,
        ..
    } = oidc;
    let metadata = provider.metadata().await?;
    let random = || ids::random("", RANDOM);
    let login = UnderWay {
        state: random(),
        nonce: random(),
        verifier: random(),
        return_to,
        until: now + LOGIN_SECS,
    };
    let challenge = digest::digest(&digest::SHA256, login.verifier.as_bytes());
    let mut location = metadata.authorization_endpoint.0.clone();
    location
        .query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &provider.config.client_id)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("scope", &provider.config.scopes)
        .append_pair("state", &login.state)
        .append_pair("nonce", &login.nonce)
        .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
        .append_pair("code_challenge_method", "S256");
    if provider
        .config
        .scopes
        .split(' ')
        .any(|scope| scope == "offline_access")
    {
        // Core, section 11: there is no refresh token without consent.
        location.query_pairs_mut().append_pair("prompt", "consent");
    }
    let plain = serde_json::to_vec(&login).expect("texts and numbers always serialize");
    let cookie = URL_SAFE_NO_PAD.encode(seals.seal(Purpose::Login, "", &plain));
    Ok(Started { location, cookie })
}

/// Ends a login: who it is, and the path to return to.
pub(crate) async fn finish(
    oidc: &Oidc,
    seals: &Seals,
    cookie: Option<&str>,
    callback: &Callback,
    now: i64,
) -> Result<(Person, Option<String>), OidcError> {
    let Oidc {
        provider,
        redirect_uri,
        used,
        ..
    } = oidc;
    let login = take(seals, used, cookie, callback, now)?;
    if let Some(error) = &callback.error {
        let text = callback.error_description.as_deref().unwrap_or_default();
        return Err(OidcError::Refused(format!("{} ({})", said(error), said(text))));
    }
    let metadata = provider.metadata().await?;
    match &callback.iss {
        // RFC 9207: an answer of another provider, whose code ours must not see.
        Some(iss) if *iss != provider.config.issuer => {
            return Err(OidcError::Issuer {
                found: said(iss),
                expected: provider.config.issuer.clone(),
            });
        }
        None if metadata.authorization_response_iss_parameter_supported => {
            return Err(OidcError::Login(
                "the answer does not say which provider it is of",
            ));
        }
        _ => {}
    }
    let code = callback
        .code
        .as_deref()
        .ok_or(OidcError::Login("there is no code in the answer"))?;
    let tokens = provider.exchange(code, &login.verifier, redirect_uri).await?;
    let person = provider.person(tokens, Some(&login.nonce), None, now).await?;
    Ok((person, login.return_to))
}

/// The login that this callback is the end of.
fn take(
    seals: &Seals,
    used: &Used,
    cookie: Option<&str>,
    callback: &Callback,
    now: i64,
) -> Result<UnderWay, OidcError> {
    const FOREIGN: OidcError = OidcError::Login("this login was not started in this browser");
    let sealed = URL_SAFE_NO_PAD
        .decode(cookie.ok_or(FOREIGN)?)
        .map_err(|_| FOREIGN)?;
    let plain = seals.unseal(Purpose::Login, "", &sealed).ok_or(FOREIGN)?;
    let login: UnderWay = serde_json::from_slice(&plain).map_err(|_| FOREIGN)?;
    let state = callback
        .state
        .as_deref()
        .ok_or(OidcError::Login("there is no state in the answer"))?;
    constant_time::verify_slices_are_equal(state.as_bytes(), login.state.as_bytes()).map_err(|_| FOREIGN)?;
    if login.until <= now {
        return Err(OidcError::Login("this login took too long; start again"));
    }
    if !used.first(&login.state, login.until, now) {
        return Err(OidcError::Login("this login was finished already"));
    }
    Ok(login)
}

/// A path of this gateway to return to after the login. Anything that a browser could read as another host is refused.
pub(crate) fn local_path(public_url: &str, path: &str) -> Option<String> {
    let plain = path.len() <= MAX_RETURN
        && path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let base = Url::parse(public_url).ok()?;
    let joined = base.join(path).ok()?;
    (plain && joined.origin() == base.origin()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn sealed(seals: &Seals) -> String {
        let login = UnderWay {
            state: "state".to_owned(),
            nonce: "nonce".to_owned(),
            verifier: "verifier".to_owned(),
            return_to: None,
            until: NOW + LOGIN_SECS,
        };
        let plain = serde_json::to_vec(&login).unwrap();
        URL_SAFE_NO_PAD.encode(seals.seal(Purpose::Login, "", &plain))
    }

    fn with_state(state: Option<&str>) -> Callback {
        Callback {
            state: state.map(str::to_owned),
            ..Callback::default()
        }
    }

    #[test]
    fn a_callback_is_taken_once_in_time_and_in_the_browser_that_started_it() {
        let dir = tempfile::tempdir().unwrap();
        let (seals, used) = (Seals::open(dir.path()).unwrap(), Used::default());
        let cookie = sealed(&seals);
        let attempt = |cookie: Option<&str>, state: Option<&str>, now: i64| {
            take(&seals, &used, cookie, &with_state(state), now)
                .map(|login| login.nonce)
                .map_err(|error| error.to_string())
        };
        for (cookie, state, now) in [
            (None, Some("state"), NOW),
            (Some(""), Some("state"), NOW),
            (Some("!"), Some("state"), NOW),
            (Some("AQAAAA"), Some("state"), NOW),
            (Some(cookie.as_str()), None, NOW),
            (Some(cookie.as_str()), Some(""), NOW),
            (Some(cookie.as_str()), Some("other"), NOW),
            (Some(cookie.as_str()), Some("state"), NOW + LOGIN_SECS),
        ] {
            assert!(attempt(cookie, state, now).is_err(), "{cookie:?} {state:?} {now}");
        }
        // What was sealed for something else is no login.
        let other = URL_SAFE_NO_PAD.encode(seals.seal(Purpose::Device, "", b"{}"));
        assert!(attempt(Some(&other), Some("state"), NOW).is_err());
        assert_eq!(attempt(Some(&cookie), Some("state"), NOW).as_deref(), Ok("nonce"));
        assert!(
            attempt(Some(&cookie), Some("state"), NOW)
                .unwrap_err()
                .contains("already")
        );
    }

    #[test]
    fn only_a_path_of_this_gateway_is_returned_to() {
        let good = |path| local_path("https://gw.example.com:8443", path).is_some();
        for path in [
            "/",
            "/console",
            "/console?cluster=a&x=%2F#frag",
            "/a//b",
            "/@evil.example",
        ] {
            assert!(good(path), "{path}");
        }
        for path in [
            "",
            "console",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/ /x",
            "/a\r\nset-cookie: x=y",
            "/ü",
        ] {
            assert!(!good(path), "{path:?}");
        }
        assert!(!good(&format!("/{}", "a".repeat(MAX_RETURN))));
    }

    #[test]
    fn the_memory_of_finished_logins_is_bounded() {
        let used = Used::default();
        for n in 0..120_000 {
            assert!(used.first(&n.to_string(), NOW + 1, NOW));
            assert!(used.0.lock().len() <= MAX_USED);
        }
    }
}
