//! As much of a browser as logins need: cookies, forms, and redirects that the test decides to follow.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::tunnel::{Tls, localhost};

/// An answer.
#[derive(Clone, Debug)]
pub struct Page {
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Page {
    /// Where the page sends the browser.
    pub fn location(&self) -> anyhow::Result<Url> {
        let location = self.headers.get(header::LOCATION);
        let location = location.with_context(|| format!("{} {}: {}", self.url, self.status, self.body))?;
        Ok(self.url.join(location.to_str()?)?)
    }

    /// The value of a hidden field.
    pub fn field(&self, name: &str) -> anyhow::Result<String> {
        let start = format!("name=\"{name}\" value=\"");
        let rest = self.body.split_once(&start).map(|(_, rest)| rest);
        let rest = rest.with_context(|| format!("{} has no field {name}: {}", self.url, self.body))?;
        Ok(rest.split('"').next().unwrap_or_default().to_owned())
    }

    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{}: {}", self.status, self.body))
    }

    /// The code of a refusal.
    pub fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        json["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A browser. Each port of localhost has certificates of its own and keeps its cookies.
#[derive(Clone)]
pub struct Browser {
    trusted: HashMap<u16, Tls>,
    pub cookies: HashMap<u16, BTreeMap<String, String>>,
}

impl Browser {
    /// One that trusts these servers.
    pub fn new(trusted: impl IntoIterator<Item = (u16, Tls)>) -> Self {
        Self {
            trusted: trusted.into_iter().collect(),
            cookies: HashMap::new(),
        }
    }

    pub async fn get(&mut self, url: &Url) -> anyhow::Result<Page> {
        self.send(Method::GET, url, &[], "").await
    }

    /// Sends a form.
    pub async fn post(&mut self, url: &Url, form: &[(&str, &str)]) -> anyhow::Result<Page> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.send(Method::POST, url, &[kind], &form).await
    }

    /// Follows redirects until one that leads to `stop`, which is not followed, or to a page.
    pub async fn follow(&mut self, mut page: Page, stop: impl Fn(&Url) -> bool) -> anyhow::Result<Page> {
        for _ in 0..10 {
            if !page.status.is_redirection() || stop(&page.location()?) {
                return Ok(page);
            }
            page = self.get(&page.location()?).await?;
        }
        anyhow::bail!("{} goes round in circles", page.url)
    }

    pub async fn send(
        &mut self,
        method: Method,
        url: &Url,
        headers: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<Page> {
        let port = url.port().context("a port")?;
        ensure!(url.host_str() == Some("localhost"), "{url} is somewhere else");
        let tls = self
            .trusted
            .get(&port)
            .with_context(|| format!("{url} is not trusted"))?;
        let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
        let stream = tls.connector.connect(localhost(), tcp).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let _task = AbortOnDropHandle::new(tokio::spawn(connection));
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("localhost:{port}"));
        let jar = self.cookies.entry(port).or_default();
        if !jar.is_empty() {
            let all: Vec<_> = jar
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(header::COOKIE, all.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = sender
            .send_request(request.body(Full::<Bytes>::from(body.to_owned()))?)
            .await?;
        let (head, body) = answer.into_parts();
        let bytes = body.collect().await?.to_bytes();
        for cookie in head.headers.get_all(header::SET_COOKIE) {
            let first = cookie.to_str()?.split(';').next().unwrap_or_default();
            let (name, value) = first.split_once('=').context("a cookie without =")?;
            if value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(Page {
            url: url.clone(),
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}
