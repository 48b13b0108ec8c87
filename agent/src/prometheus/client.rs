//! Asks one address. `prometheus-http-query` makes the requests; answers are read here, piece by piece and no further than wanted.

use std::{path::Path, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, StatusCode, header};
use kantaloupe_gpu::metrics::{
    Sample,
    answer::{Answer, Reader},
    query,
    server::{self, BuildInfo, Server, ServerKind},
};
use secrecy::{ExposeSecret, SecretString};
use std::error::Error as _;
use tokio::time::timeout;
use url::Url;

use super::error::QueryError;
use crate::{USER_AGENT, config::Auth, tls};

/// Larger files hold no token and no password.
const MAX_SECRET_BYTES: u64 = 16 << 10;
/// Longest answer about what a server is.
const MAX_BUILD_INFO: usize = 64 << 10;
/// Longest text of a VictoriaMetrics' own metrics, which are some 100 KiB.
const MAX_OWN_METRICS: usize = 4 << 20;
/// Longest wait for what a server is: it has nothing to compute.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a connection: the address is in the same cluster.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Queries go one after the other, so one connection is kept.
const IDLE_CONNECTIONS: usize = 1;

/// How much of an answer is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the request to the end of the answer.
    pub time: Duration,
    /// Bytes that are read of one answer.
    pub bytes: usize,
    /// Series that are taken of one answer.
    pub series: usize,
}

impl Default for Limits {
    /// A series is some 150 bytes of JSON, so 40,000 devices are 6 MB and 200,000 shares of containers half of what is read. A query
    /// that takes longer than ten seconds has met a busy Prometheus, and the next round comes soon.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            bytes: 64 << 20,
            series: 200_000,
        }
    }
}

/// A Prometheus at an address.
pub struct Client {
    api: prometheus_http_query::Client,
    auth: Auth,
    limits: Limits,
}

impl Client {
    /// For a base URL. Nothing is sent yet.
    pub fn new(url: &str, ca_file: Option<&Path>, auth: Auth, limits: Limits) -> Result<Self, QueryError> {
        let setup = |error: &dyn std::fmt::Display| QueryError::Setup(error.to_string());
        let tls = tls::client_config(None, ca_file).map_err(|error| setup(&error))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.as_ref().clone())
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build()
            .map_err(|error| setup(&error))?;
        let api = prometheus_http_query::Client::from(http, url).map_err(|error| setup(&error))?;
        Ok(Self { api, auth, limits })
    }

    /// The base URL; it holds no secret.
    pub fn address(&self) -> &str {
        self.api.base_url().as_str().trim_end_matches('/')
    }

    /// What answers there.
    pub async fn identify(&self) -> Result<Server, QueryError> {
        let build_info = self.get("api/v1/status/buildinfo", MAX_BUILD_INFO).await?;
        match server::build_info(&build_info) {
            Some(BuildInfo::Known(server)) => Ok(server),
            Some(BuildInfo::Victoria) => {
                // Its own metrics are at the root, and may be closed: it is a VictoriaMetrics all the same.
                let metrics = self.get("/metrics", MAX_OWN_METRICS).await.ok();
                Ok(server::victoria(metrics.as_deref()))
            }
            None => {
                // Old versions and some proxies have no buildinfo, but answer queries.
                self.instant("vector(1)", "", &mut |_| {}).await?;
                Ok(Server {
                    kind: ServerKind::Other,
                    version: None,
                    name: None,
                })
            }
        }
    }

    /// Which names of the table there are, with the number of their series.
    pub async fn present(&self) -> Result<Vec<(&'static str, u64)>, QueryError> {
        let known = query::names();
        let mut present = Vec::new();
        self.instant(&query::present(), "", &mut |sample| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a number of series"
            )]
            let series = sample.value as u64;
            present.extend(known.get(&*sample.name).map(|name| (*name, series)));
        })
        .await?;
        Ok(present)
    }

    /// One instant query; `name` is given to samples without a name, and `each` gets the samples as they arrive.
    pub(super) async fn instant(
        &self,
        expression: &str,
        name: &'static str,
        each: &mut impl FnMut(&Sample<'_>),
    ) -> Result<(Answer, usize), QueryError> {
        let limit = self.limits.time;
        let answered = timeout(limit, self.exchange(expression, name, each)).await;
        answered.unwrap_or(Err(QueryError::Timeout(limit)))
    }

    async fn exchange(
        &self,
        expression: &str,
        name: &'static str,
        each: &mut impl FnMut(&Sample<'_>),
    ) -> Result<(Answer, usize), QueryError> {
        let millis = i64::try_from(self.limits.time.as_millis()).unwrap_or(i64::MAX);
        let mut request = self.api.query(expression).timeout(millis);
        if let Some(header) = self.authorization().await? {
            request = request.header(header::AUTHORIZATION, header);
        }
        let response = request.get_raw().await.map_err(|error| {
            // The library's error wraps the client's.
            error.source().map_or_else(
                || QueryError::Setup(error.to_string()),
                |source| QueryError::of(source, self.limits.time),
            )
        })?;
        self.refusal(&response).map_or(Ok(()), Err)?;
        let status = response.status();
        let mut reader = Reader::new(name, self.limits.series);
        let mut bytes = 0;
        let read = self.read(response, self.limits.bytes, |piece| {
            bytes += piece.len();
            reader.push(piece, each).map_err(QueryError::Answer)
        });
        let read = read.await;
        // Prometheus gives its own errors with statuses like 400, 422 and 503, and JSON; anything else with them is not from it.
        match (status.is_success(), read) {
            (true, read) => {
                read?;
                Ok((reader.finish()?, bytes))
            }
            (false, Ok(())) => match reader.finish() {
                Err(refused @ kantaloupe_gpu::metrics::answer::AnswerError::Refused { .. }) => {
                    Err(refused.into())
                }
                _ => Err(QueryError::Status(status.as_u16())),
            },
            (false, Err(_)) => Err(QueryError::Status(status.as_u16())),
        }
    }

    /// A document, whole.
    async fn get(&self, path: &str, max: usize) -> Result<Vec<u8>, QueryError> {
        let limit = IDENTIFY_TIMEOUT.min(self.limits.time);
        let document = async {
            let url = self.url(path)?;
            let mut request = self.api.inner().get(url);
            if let Some(header) = self.authorization().await? {
                request = request.header(header::AUTHORIZATION, header);
            }
            let response = request
                .send()
                .await
                .map_err(|error| QueryError::of(&error, limit))?;
            self.refusal(&response).map_or(Ok(()), Err)?;
            let status = response.status();
            let mut text = Vec::new();
            self.read(response, max, |piece| {
                text.extend_from_slice(piece);
                Ok(())
            })
            .await?;
            if status.is_success() {
                Ok(text)
            } else {
                Err(QueryError::Status(status.as_u16()))
            }
        };
        timeout(limit, document)
            .await
            .unwrap_or(Err(QueryError::Timeout(limit)))
    }

    /// Under the base URL, or with a leading slash under its host.
    fn url(&self, path: &str) -> Result<Url, QueryError> {
        let setup = |error: url::ParseError| QueryError::Setup(error.to_string());
        match path.strip_prefix('/') {
            Some(_) => self.api.base_url().join(path).map_err(setup),
            None => Url::parse(&format!("{}/{path}", self.address())).map_err(setup),
        }
    }

    /// Gives the body piece by piece, and no more than `max` bytes of it.
    async fn read(
        &self,
        mut response: reqwest::Response,
        max: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut left = max;
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| QueryError::of(&error, self.limits.time))?
        {
            left = left.checked_sub(piece.len()).ok_or(QueryError::TooLarge(max))?;
            each(&piece)?;
        }
        Ok(())
    }

    /// Statuses that say more than their body.
    fn refusal(&self, response: &reqwest::Response) -> Option<QueryError> {
        match response.status() {
            StatusCode::UNAUTHORIZED if self.auth == Auth::None => Some(QueryError::Unauthorized),
            StatusCode::UNAUTHORIZED => Some(QueryError::WrongCredentials),
            StatusCode::FORBIDDEN => Some(QueryError::Forbidden),
            StatusCode::NOT_FOUND => Some(QueryError::NotFound),
            status if status.is_redirection() => Some(QueryError::Redirect(location(response))),
            _ => None,
        }
    }

    /// The header with the credentials as they are now: mounted Secrets change.
    async fn authorization(&self) -> Result<Option<HeaderValue>, QueryError> {
        let (path, value) = match &self.auth {
            Auth::None => return Ok(None),
            Auth::Bearer(path) => {
                let token = read_secret(path).await?;
                (
                    path,
                    SecretString::from(format!("Bearer {}", token.expose_secret())),
                )
            }
            Auth::Basic { username, password } => {
                let (user, secret) = (read_secret(username).await?, read_secret(password).await?);
                let pair = SecretString::from(format!("{}:{}", user.expose_secret(), secret.expose_secret()));
                let pair = BASE64_STANDARD.encode(pair.expose_secret());
                (password, SecretString::from(format!("Basic {pair}")))
            }
        };
        let mut header =
            HeaderValue::from_str(value.expose_secret()).map_err(|_| QueryError::Credentials {
                path: path.clone(),
                problem: "it holds more than one line".to_owned(),
            })?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}

/// Where a redirect leads, without its query, which may hold more than an address.
fn location(response: &reqwest::Response) -> String {
    let location = response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let target = location.and_then(|text| response.url().join(text).ok());
    let target = target.map(|mut url| {
        url.set_query(None);
        url.set_fragment(None);
        // Neither fails for an address with a host.
        let _ = (url.set_username(""), url.set_password(None));
        url.to_string()
    });
    target.map_or_else(|| "nowhere".to_owned(), |text| text.chars().take(200).collect())
}

async fn read_secret(path: &Path) -> Result<SecretString, QueryError> {
    let unusable = |problem: String| QueryError::Credentials {
        path: path.to_owned(),
        problem,
    };
    let size = tokio::fs::metadata(path)
        .await
        .map_err(|error| unusable(error.to_string()))?
        .len();
    if size > MAX_SECRET_BYTES {
        return Err(unusable(format!("it is larger than {MAX_SECRET_BYTES} bytes")));
    }
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| unusable(error.to_string()))?;
    // Editors and `echo` end files with a newline, which belongs to no secret.
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(unusable("it is empty".to_owned()));
    }
    Ok(SecretString::from(text))
}
