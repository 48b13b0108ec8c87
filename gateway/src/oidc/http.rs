//! Calls to the provider: https only, no redirects, a limit on time and size of each.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{StatusCode, header};
use rustls::{ClientConfig, pki_types::CertificateDer, pki_types::pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::fault::OidcError;

/// A provider that takes longer is down: somebody waits in front of a browser.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer: key sets and tokens have a few dozen KiB.
const MAX_ANSWER: usize = 512 << 10;
/// A CA bundle larger than this is not one.
const MAX_CA: u64 = 1 << 20;
/// Requests to the provider are seldom; no connection has to wait for them.
const IDLE_CONNECTIONS: usize = 2;
const USER_AGENT: &str = concat!("kantaloupe-gateway/", env!("CARGO_PKG_VERSION"));

/// How a call says who calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Auth<'a> {
    /// Nobody has to know.
    None,
    /// The client, with its secret (RFC 6749, section 2.3.1).
    Basic(&'a str, &'a SecretString),
    /// The person, with an access token.
    Bearer(&'a SecretString),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Speaks to the provider.
#[derive(Clone, Debug)]
pub(crate) struct Http(reqwest::Client);

impl Http {
    /// With roots besides those of the system.
    pub(crate) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(ca_file)?)
            .user_agent(USER_AGENT)
            // A redirect would take the client's secret to another address.
            .redirect(reqwest::redirect::Policy::none())
            .https_only(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build()
            .map_err(|error| chain(&error))?;
        Ok(Self(client))
    }

    /// GET of a JSON document.
    pub(crate) async fn get(&self, url: &Url, auth: Auth<'_>) -> Result<Answer, OidcError> {
        self.send(url, self.0.get(url.clone()), auth).await
    }

    /// POST of a form.
    pub(crate) async fn post(
        &self,
        url: &Url,
        auth: Auth<'_>,
        form: &[(&str, &str)],
    ) -> Result<Answer, OidcError> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = self
            .0
            .post(url.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        self.send(url, request, auth).await
    }

    async fn send(
        &self,
        url: &Url,
        request: reqwest::RequestBuilder,
        auth: Auth<'_>,
    ) -> Result<Answer, OidcError> {
        let unreachable = |why: String| OidcError::Unreachable {
            url: url.clone(),
            why,
        };
        let request = request.header(header::ACCEPT, "application/json");
        let request = match auth {
            Auth::None => request,
            Auth::Basic(id, secret) => {
                let encode =
                    |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                request.basic_auth(encode(id), Some(encode(secret.expose_secret())))
            }
            Auth::Bearer(token) => request.bearer_auth(token.expose_secret()),
        };
        let mut response = request.send().await.map_err(|error| unreachable(chain(&error)))?;
        let mut body = Vec::new();
        while let Some(part) = response
            .chunk()
            .await
            .map_err(|error| unreachable(chain(&error)))?
        {
            if body.len() + part.len() > MAX_ANSWER {
                return Err(OidcError::Answer {
                    url: url.clone(),
                    why: format!("the answer is longer than {MAX_ANSWER} bytes"),
                });
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer {
            status: response.status(),
            body: body.into(),
        })
    }
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let extra = match ca_file {
        Some(path) => certificates(path).map_err(|why| format!("CA file {}: {why}", path.display()))?,
        None => vec![],
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(&provider))
        .map_err(|error| format!("the trusted certificates cannot be used: {error}"))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    if std::fs::metadata(path).map_err(|e| e.to_string())?.len() > MAX_CA {
        return Err(format!("larger than {MAX_CA} bytes"));
    }
    let text = std::fs::read(path).map_err(|e| e.to_string())?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    if certificates.is_empty() {
        return Err("it holds no PEM certificates".to_owned());
    }
    Ok(certificates)
}

/// An error with its causes; the URL is said elsewhere, and may have a query.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    if error.is_timeout() {
        text.push_str("no answer in time");
    }
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() {
        "the connection failed".to_owned()
    } else {
        text
    }
}
