//! The provider: its document, its keys, and the calls of the gateway to it.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::{
    cached::Cached,
    claims::{self, Expected, IdToken, LogoutToken},
    config::OidcConfig,
    fault::{OidcError, said},
    http::{Answer, Auth, Http},
    jws::{JwsError, Keys, Token},
    metadata::{self, HttpsUrl, Metadata, SecretIn},
};
use crate::secret::Secret;

/// Addresses change with releases of the provider.
const METADATA_FOR: Duration = Duration::from_hours(1);
/// A key that the provider has withdrawn is believed for this long at most.
const KEYS_FOR: Duration = Duration::from_mins(10);
/// `typ` of an ID token.
const ID_TOKEN: &str = "JWT";
/// `typ` of a logout token.
const LOGOUT_TOKEN: &str = "logout+jwt";

/// Somebody, as the provider knows him.
#[derive(Debug)]
pub(crate) struct Person {
    /// The provider's own name of him.
    pub(crate) subject: String,
    /// The provider's session.
    pub(crate) session: Option<String>,
    /// The name that he has here, unchecked.
    pub(crate) user_name: String,
    /// Sorted, each once.
    pub(crate) groups: Vec<String>,
    /// With which to ask again.
    pub(crate) refresh_token: Option<SecretString>,
}

/// What the token endpoint gave.
#[derive(Debug, Deserialize)]
pub(crate) struct Tokens {
    #[serde(rename = "id_token")]
    id: Option<Secret>,
    #[serde(rename = "access_token")]
    access: Option<Secret>,
    #[serde(rename = "refresh_token")]
    refresh: Option<Secret>,
}

/// What the provider says to a new device login (RFC 8628, section 3.2).
#[derive(Debug, Deserialize)]
pub(crate) struct DeviceAnswer {
    pub(crate) device_code: Secret,
    pub(crate) user_code: String,
    pub(crate) verification_uri: HttpsUrl,
    pub(crate) verification_uri_complete: Option<HttpsUrl>,
    pub(crate) expires_in: i64,
    pub(crate) interval: Option<u32>,
}

/// A refusal of the token endpoint (RFC 6749, section 5.2; RFC 8628, section 3.5).
#[derive(Debug, Default, Deserialize)]
struct ErrorJson {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Where a device login is.
#[derive(Debug)]
pub(crate) enum DeviceStep {
    /// The person has not decided yet.
    Pending,
    /// The same, and the program asks too often.
    SlowDown,
    /// Done.
    Tokens(Tokens),
}

/// The provider.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) config: OidcConfig,
    http: Http,
    metadata: Cached<Metadata>,
    keys: Cached<Keys>,
}

impl Provider {
    /// Nothing is sent yet: a gateway starts also when the provider is down.
    pub(crate) fn new(config: OidcConfig) -> Result<Self, String> {
        Ok(Self {
            http: Http::new(config.ca_file.as_deref())?,
            config,
            metadata: Cached::new(METADATA_FOR),
            keys: Cached::new(KEYS_FOR),
        })
    }

    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>, OidcError> {
        self.metadata
            .get(Instant::now(), async {
                let url = metadata::url(&self.config.issuer);
                let body = expect_ok(&url, self.http.get(&url, Auth::None).await?)?;
                Metadata::parse(&body.body, &self.config.issuer)
            })
            .await
    }

    async fn fetch_keys(&self, url: &Url) -> Result<Keys, OidcError> {
        let answer = expect_ok(url, self.http.get(url, Auth::None).await?)?;
        Keys::parse(&answer.body)
            .filter(|keys| !keys.is_empty())
            .ok_or_else(|| OidcError::Answer {
                url: url.clone(),
                why: "there is no key in it that ID tokens could be signed with".to_owned(),
            })
    }

    /// The claims of a token of that kind, if the provider signed it. A key that is not known is asked for once.
    pub(crate) async fn verify(&self, token: &SecretString, kind: &str) -> Result<Vec<u8>, OidcError> {
        use super::jws::JwsError::UnknownKey;
        let text = token.expose_secret();
        // Before the keys are fetched: what is no token costs the provider nothing.
        let parsed = Token::parse(text, kind)?;
        let metadata = self.metadata().await?;
        let HttpsUrl(url) = &metadata.jwks_uri;
        let keys = self.keys.get(Instant::now(), self.fetch_keys(url)).await?;
        match parsed.verify(&keys) {
            Err(UnknownKey) => {
                let newer = self
                    .keys
                    .newer(&keys, Instant::now(), self.fetch_keys(url))
                    .await?;
                Ok(Token::parse(text, kind)?.verify(&newer)?)
            }
            verified => Ok(verified?),
        }
    }

    /// What a logout token says, if it is this provider's.
    pub(crate) async fn logout(&self, token: &SecretString, now: i64) -> Result<LogoutToken, OidcError> {
        let payload = match self.verify(token, LOGOUT_TOKEN).await {
            // The kind is only recommended; what it is for is in its claims.
            Err(OidcError::Token(JwsError::Kind)) => self.verify(token, ID_TOKEN).await?,
            verified => verified?,
        };
        let OidcConfig {
            issuer, client_id, ..
        } = &self.config;
        Ok(claims::check_logout(&payload, issuer, client_id, now)?)
    }

    /// Exchanges a code for tokens.
    pub(crate) async fn exchange(
        &self,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<Tokens, OidcError> {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ])
        .await?
        .map_err(|json| refused(&json))
    }

    /// Asks for the tokens of a session again.
    pub(crate) async fn refresh(&self, token: &SecretString) -> Result<Tokens, OidcError> {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", token.expose_secret()),
        ])
        .await?
        .map_err(|json| refused(&json))
    }

    /// Starts a device login.
    pub(crate) async fn start_device(&self) -> Result<DeviceAnswer, OidcError> {
        let metadata = self.metadata().await?;
        let HttpsUrl(url) = metadata
            .device_authorization_endpoint
            .as_ref()
            .ok_or(OidcError::Unsupported("device login"))?;
        let answer = self
            .as_client(&metadata, url, &[("scope", &self.config.scopes)])
            .await?;
        if !answer.status.is_success() {
            return Err(refused(&error_of(&answer)?));
        }
        from_json(url, &answer)
    }

    /// Asks whether the person has decided.
    pub(crate) async fn poll_device(&self, device_code: &SecretString) -> Result<DeviceStep, OidcError> {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", device_code.expose_secret()),
        ];
        match self.token(&form).await? {
            Ok(tokens) => Ok(DeviceStep::Tokens(tokens)),
            Err(json) => match json.error.as_str() {
                "authorization_pending" => Ok(DeviceStep::Pending),
                "slow_down" => Ok(DeviceStep::SlowDown),
                _ => Err(refused(&json)),
            },
        }
    }

    /// Gives a refresh token back, as far as the provider takes it.
    pub(crate) async fn revoke(&self, token: &SecretString) -> Result<(), OidcError> {
        let metadata = self.metadata().await?;
        let Some(HttpsUrl(url)) = &metadata.revocation_endpoint else {
            return Ok(());
        };
        let form = [
            ("token", token.expose_secret()),
            ("token_type_hint", "refresh_token"),
        ];
        expect_ok(url, self.as_client(&metadata, url, &form).await?).map(drop)
    }

    /// Who the tokens are of. `nonce` is that of the login, `subject` whose they must be.
    pub(crate) async fn person(
        &self,
        tokens: Tokens,
        nonce: Option<&str>,
        subject: Option<&str>,
        now: i64,
    ) -> Result<Person, OidcError> {
        let IdToken {
            subject,
            session,
            mut all,
        } = match &tokens.id {
            Some(Secret(token)) => {
                let expected = Expected {
                    issuer: &self.config.issuer,
                    client_id: &self.config.client_id,
                    nonce,
                    subject,
                    now,
                };
                claims::check(&self.verify(token, ID_TOKEN).await?, &expected)?
            }
            // A refresh may come without one (section 12.2); userinfo says the rest.
            None => IdToken {
                subject: subject
                    .ok_or_else(|| OidcError::Refused("there is no ID token in its answer".to_owned()))?
                    .to_owned(),
                session: None,
                all: serde_json::Map::new(),
            },
        };
        let names = &self.config.claims;
        if !claims::is_complete(&all, names)
            && let Some(Secret(token)) = &tokens.access
            && let Some(HttpsUrl(url)) = &self.metadata().await?.userinfo_endpoint
        {
            let answer = expect_ok(url, self.http.get(url, Auth::Bearer(token)).await?)?;
            // What is signed comes first.
            for (name, value) in claims::userinfo(&answer.body, &subject)? {
                all.entry(name).or_insert(value);
            }
        }
        let user_name = claims::user_name(&all, names)
            .ok_or_else(|| {
                OidcError::Name(format!(
                    "the provider says no user name that can be used: the claim {:?} is missing, or not verified",
                    names.username
                ))
            })?
            .to_owned();
        let (groups, left_out) = claims::groups(&all, names);
        if left_out || !all.contains_key(&names.groups) {
            tracing::warn!(
                subject,
                claim = names.groups,
                "some or all groups of this person are missing or not usable"
            );
        }
        Ok(Person {
            subject,
            session,
            user_name,
            groups,
            refresh_token: tokens.refresh.map(|Secret(token)| token),
        })
    }

    async fn token(&self, form: &[(&str, &str)]) -> Result<Result<Tokens, ErrorJson>, OidcError> {
        let metadata = self.metadata().await?;
        let HttpsUrl(url) = &metadata.token_endpoint;
        let answer = self.as_client(&metadata, url, form).await?;
        if answer.status.is_success() {
            return Ok(Ok(from_json(url, &answer)?));
        }
        error_of(&answer).map(Err)
    }

    /// POST of a form as this client.
    async fn as_client(
        &self,
        metadata: &Metadata,
        url: &Url,
        form: &[(&str, &str)],
    ) -> Result<Answer, OidcError> {
        let id = self.config.client_id.as_str();
        let mut form = form.to_vec();
        let auth = match &self.config.client_secret {
            None => {
                form.push(("client_id", id));
                Auth::None
            }
            Some(secret) => match metadata.secret_in()? {
                SecretIn::Header => Auth::Basic(id, secret),
                SecretIn::Form => {
                    form.extend([("client_id", id), ("client_secret", secret.expose_secret())]);
                    Auth::None
                }
            },
        };
        let answer = self.http.post(url, auth, &form).await?;
        if answer.status.is_server_error() || answer.status.is_redirection() {
            return expect_ok(url, answer);
        }
        Ok(answer)
    }
}

/// The refusal in an answer; a refusal of the client itself is told apart, since the operator has to mend it.
fn error_of(answer: &Answer) -> Result<ErrorJson, OidcError> {
    let json: ErrorJson = serde_json::from_slice(&answer.body).unwrap_or_default();
    let is_client = matches!(json.error.as_str(), "invalid_client" | "unauthorized_client");
    if is_client || answer.status == StatusCode::UNAUTHORIZED {
        return Err(OidcError::Client(words(&json)));
    }
    Ok(json)
}

fn refused(json: &ErrorJson) -> OidcError {
    OidcError::Refused(words(json))
}

fn words(json: &ErrorJson) -> String {
    match (said(&json.error), said(&json.error_description)) {
        (error, _) if error.is_empty() => "it gave no reason".to_owned(),
        (error, text) if text.is_empty() => error,
        (error, text) => format!("{error} ({text})"),
    }
}

fn expect_ok(url: &Url, answer: Answer) -> Result<Answer, OidcError> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    Err(OidcError::Answer {
        url: url.clone(),
        why: format!("status {}", answer.status),
    })
}

fn from_json<T: for<'a> Deserialize<'a>>(url: &Url, answer: &Answer) -> Result<T, OidcError> {
    // The words of serde would show values, and these are secrets.
    serde_json::from_slice(&answer.body).map_err(|_| OidcError::Answer {
        url: url.clone(),
        why: "it is not the JSON that the standard asks for".to_owned(),
    })
}
