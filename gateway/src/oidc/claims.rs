//! What a provider says of a person: the claims of an ID token (OpenID Connect Core 1.0, sections 2 and 3.1.3.7) and of
//! the userinfo answer (section 5.3). No I/O, no clock.

use aws_lc_rs::constant_time;
use serde_json::{Map, Value};

use super::config::Claims as Names;

/// Seconds by which clocks may differ.
pub(crate) const LEEWAY: i64 = 60;
/// Bytes of `sub` (OpenID Connect Core 1.0, section 2) and of a session's id.
const MAX_SUBJECT: usize = 255;
/// Seconds that a logout token is good at most. The standard asks for two minutes; some providers try again for longer.
const LOGOUT_SECS: i64 = 600;
/// The member of `events` that makes a token one of a logout (section 2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Groups of one person, and characters of one; Microsoft's directory stops at 200 in a token.
const MAX_GROUPS: usize = 1000;
const MAX_GROUP: usize = 256;

/// Why claims are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimsError {
    /// Not a JSON object, or a claim of the wrong type.
    #[error("the token has no usable {0:?}")]
    Form(&'static str),
    /// Another provider's token.
    #[error("the token was issued by {found:?}, not by {expected:?}")]
    Issuer {
        /// What it says.
        found: String,
        /// What the gateway is told to expect.
        expected: String,
    },
    /// A token for another application.
    #[error("the token is for another application than {expected:?}")]
    Audience {
        /// Our client id.
        expected: String,
    },
    /// Its time is over.
    #[error("the token expired {0} seconds ago, by the gateway's clock")]
    Expired(i64),
    /// Its time has not come.
    #[error("the token is good only in {0} seconds, by the gateway's clock")]
    NotYet(i64),
    /// Not the answer to our question.
    #[error("the token is not the answer to this login")]
    Nonce,
    /// Another person's.
    #[error("the token is of another person")]
    Subject,
    /// An ID token, say.
    #[error("the token is no logout token: {0}")]
    NoLogout(&'static str),
}

/// What an ID token has to say to be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    /// Of the login that was started. A device login and a refresh have none.
    pub(crate) nonce: Option<&'a str>,
    /// Whose it must be, where that is known.
    pub(crate) subject: Option<&'a str>,
    pub(crate) now: i64,
}

/// Claims that were checked.
#[derive(Clone, Debug)]
pub(crate) struct IdToken {
    /// The provider's name of the person; never reused (`sub`).
    pub(crate) subject: String,
    /// The provider's name of the session, if it has one (`sid`).
    pub(crate) session: Option<String>,
    /// All of them.
    pub(crate) all: Map<String, Value>,
}

/// Checks the claims of a token whose signature was checked.
pub(crate) fn check(payload: &[u8], expected: &Expected<'_>) -> Result<IdToken, ClaimsError> {
    let all: Map<String, Value> = serde_json::from_slice(payload).map_err(|_| ClaimsError::Form("claims"))?;
    issuer(&all, expected.issuer)?;
    audience(&all, expected.client_id)?;
    times(&all, expected.now)?;
    if let Some(nonce) = expected.nonce {
        let given = text(&all, "nonce").ok_or(ClaimsError::Nonce)?;
        constant_time::verify_slices_are_equal(given.as_bytes(), nonce.as_bytes())
            .map_err(|_| ClaimsError::Nonce)?;
    }
    let subject = text(&all, "sub")
        .filter(|subject| !subject.is_empty() && subject.len() <= MAX_SUBJECT)
        .ok_or(ClaimsError::Form("sub"))?
        .to_owned();
    if expected.subject.is_some_and(|expected| expected != subject) {
        return Err(ClaimsError::Subject);
    }
    let session = text(&all, "sid")
        .filter(|sid| !sid.is_empty() && sid.len() <= MAX_SUBJECT)
        .map(str::to_owned);
    Ok(IdToken {
        subject,
        session,
        all,
    })
}

/// What a logout token says: whose sessions are over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogoutToken {
    /// The person; all of his sessions if there is no `session`.
    pub(crate) subject: Option<String>,
    pub(crate) session: Option<String>,
    /// The token's own name; it is good once.
    pub(crate) id: String,
    /// When nobody needs to remember that any more.
    pub(crate) until: i64,
}

/// Checks the claims of a logout token whose signature was checked (OpenID Connect Back-Channel Logout 1.0, section 2.6).
pub(crate) fn check_logout(
    payload: &[u8],
    expected: &str,
    client_id: &str,
    now: i64,
) -> Result<LogoutToken, ClaimsError> {
    let all: Map<String, Value> = serde_json::from_slice(payload).map_err(|_| ClaimsError::Form("claims"))?;
    issuer(&all, expected)?;
    audience(&all, client_id)?;
    let issued = seconds(&all, "iat")?.ok_or(ClaimsError::Form("iat"))?;
    if issued.saturating_sub(LEEWAY) > now {
        return Err(ClaimsError::NotYet(issued.saturating_sub(now)));
    }
    // Older providers say no time of expiry.
    let expires = seconds(&all, "exp")?
        .unwrap_or(i64::MAX)
        .min(issued.saturating_add(LOGOUT_SECS));
    let until = expires.saturating_add(LEEWAY);
    if until <= now {
        return Err(ClaimsError::Expired(now.saturating_sub(expires)));
    }
    if all.contains_key("nonce") {
        return Err(ClaimsError::NoLogout("it has a nonce"));
    }
    let event = all.get("events").and_then(|events| events.get(LOGOUT_EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(ClaimsError::NoLogout("it does not say that it is one"));
    }
    let id = named(&all, "jti")?.ok_or(ClaimsError::Form("jti"))?;
    let (subject, session) = (named(&all, "sub")?, named(&all, "sid")?);
    if subject.is_none() && session.is_none() {
        return Err(ClaimsError::Form("sub"));
    }
    Ok(LogoutToken {
        subject,
        session,
        id,
        until,
    })
}

/// A name that may be missing, but not be something else.
fn named(all: &Map<String, Value>, name: &'static str) -> Result<Option<String>, ClaimsError> {
    match all.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= MAX_SUBJECT => Ok(Some(text.clone())),
        Some(_) => Err(ClaimsError::Form(name)),
    }
}

/// `iss` is the provider.
fn issuer(all: &Map<String, Value>, expected: &str) -> Result<(), ClaimsError> {
    let found = text(all, "iss").ok_or(ClaimsError::Form("iss"))?;
    if found == expected {
        return Ok(());
    }
    Err(ClaimsError::Issuer {
        found: found.chars().take(MAX_SUBJECT).collect(),
        expected: expected.to_owned(),
    })
}

/// `aud` names us; with others besides, `azp` must say that the token was made for us.
fn audience(all: &Map<String, Value>, client_id: &str) -> Result<(), ClaimsError> {
    let refused = || ClaimsError::Audience {
        expected: client_id.to_owned(),
    };
    let audiences: Vec<&str> = match all.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => {
            let texts: Option<_> = several.iter().map(Value::as_str).collect();
            texts.ok_or(ClaimsError::Form("aud"))?
        }
        _ => return Err(ClaimsError::Form("aud")),
    };
    if !audiences.contains(&client_id) {
        return Err(refused());
    }
    match all.get("azp") {
        None if audiences.len() == 1 => Ok(()),
        Some(Value::String(azp)) if azp == client_id => Ok(()),
        _ => Err(refused()),
    }
}

fn times(all: &Map<String, Value>, now: i64) -> Result<(), ClaimsError> {
    let expires = seconds(all, "exp")?.ok_or(ClaimsError::Form("exp"))?;
    let issued = seconds(all, "iat")?.ok_or(ClaimsError::Form("iat"))?;
    let not_before = seconds(all, "nbf")?.unwrap_or(issued);
    if expires.saturating_add(LEEWAY) <= now {
        return Err(ClaimsError::Expired(now.saturating_sub(expires)));
    }
    let begins = issued.max(not_before);
    if begins.saturating_sub(LEEWAY) > now {
        return Err(ClaimsError::NotYet(begins.saturating_sub(now)));
    }
    Ok(())
}

/// A time (RFC 7519, section 2: a number, perhaps with a fraction).
fn seconds(all: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, ClaimsError> {
    let Some(value) = all.get(name) else {
        return Ok(None);
    };
    let whole = value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "`as` saturates, and any such time is refused"
        )]
        number.is_finite().then_some(number as i64)
    });
    whole.map(Some).ok_or(ClaimsError::Form(name))
}

fn text<'a>(all: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    all.get(name)?.as_str()
}

/// The claims of a userinfo answer, if they are of that person (section 5.3.2).
pub(crate) fn userinfo(json: &[u8], subject: &str) -> Result<Map<String, Value>, ClaimsError> {
    let all: Map<String, Value> = serde_json::from_slice(json).map_err(|_| ClaimsError::Form("userinfo"))?;
    if text(&all, "sub") == Some(subject) {
        Ok(all)
    } else {
        Err(ClaimsError::Subject)
    }
}

/// Whether the token alone says who somebody is and in which groups.
pub(crate) fn is_complete(all: &Map<String, Value>, names: &Names) -> bool {
    all.contains_key(&names.username) && all.contains_key(&names.groups)
}

/// The name that somebody gets here. `None` if there is none, or only an address that the provider has not checked:
/// whoever could choose it could choose somebody else's.
pub(crate) fn user_name<'a>(all: &'a Map<String, Value>, names: &Names) -> Option<&'a str> {
    let name = text(all, &names.username)?;
    let verified = names.username != "email" || all.get("email_verified") == Some(&Value::Bool(true));
    verified.then_some(name)
}

/// The groups, sorted, each once. What is no group's name is left out; the flag says that something was.
pub(crate) fn groups(all: &Map<String, Value>, names: &Names) -> (Vec<String>, bool) {
    let (mut groups, mut left_out) = (vec![], false);
    let mut take = |name: &str| {
        let good = !name.is_empty()
            && name.chars().count() <= MAX_GROUP
            && !name.chars().any(char::is_control)
            && groups.len() < MAX_GROUPS;
        if good {
            groups.push(name.to_owned());
        } else {
            left_out = true;
        }
    };
    match all.get(&names.groups) {
        None | Some(Value::Null) => {}
        Some(Value::String(one)) => take(one),
        Some(Value::Array(several)) => {
            for value in several {
                take(value.as_str().unwrap_or_default());
            }
        }
        Some(_) => left_out = true,
    }
    groups.sort_unstable();
    groups.dedup();
    (groups, left_out)
}
