//! A real OpenID Connect provider (`tests/oidc/provider.mjs`), and people who log in at a gateway through it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};
use url::Url;

use crate::{
    browser::{Browser, Page},
    processes::{Gateway, Process, free_port},
    tunnel::Tls,
};

pub const CLIENT_ID: &str = "kantaloupe";
/// Also what must never be in a log.
pub const CLIENT_SECRET: &str = "client-secret-that-nobody-may-see";
/// Longest for node to start, on a loaded machine.
const START: Duration = Duration::from_secs(30);

/// Where a provider will be, before it is.
pub struct Plan {
    pub tls: Tls,
    addr: SocketAddr,
    dir: PathBuf,
}

impl Plan {
    /// Keeps its files in a folder.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let tls = Tls::new();
        std::fs::write(dir.join("tls.crt"), &tls.cert_pem)?;
        std::fs::write(dir.join("tls.key"), &tls.key_pem)?;
        std::fs::write(dir.join("client-secret"), format!("{CLIENT_SECRET}\n"))?;
        Ok(Self {
            tls,
            addr: free_port()?,
            dir: dir.to_owned(),
        })
    }

    pub fn issuer(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    /// What the gateway is told about it.
    pub fn arguments(&self) -> Vec<String> {
        let file = |name: &str| self.dir.join(name).display().to_string();
        vec![
            format!("--oidc-issuer={}", self.issuer()),
            format!("--oidc-client-id={CLIENT_ID}"),
            format!("--oidc-client-secret-file={}", file("client-secret")),
            format!("--oidc-ca-file={}", file("tls.crt")),
        ]
    }

    /// Writes another secret for the gateway to read at its start.
    pub fn write_secret(&self, secret: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.dir.join("client-secret"), secret)?)
    }

    /// Starts it for a gateway.
    pub async fn start(&self, gateway: &Gateway, accounts: Value) -> anyhow::Result<Provider> {
        let cache = std::env::var_os("KANTALOUPE_CACHE").map_or_else(
            || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/kantaloupe"),
            PathBuf::from,
        );
        let modules = cache.join("testbed/oidc/node_modules");
        ensure!(
            modules.is_dir(),
            "the provider is missing: run tests/testbed/prepare.sh oidc-provider"
        );
        let settings = json!({
            "modules": modules,
            "port": self.addr.port(),
            "cert": self.dir.join("tls.crt"),
            "key": self.dir.join("tls.key"),
            "clientId": CLIENT_ID,
            "clientSecret": CLIENT_SECRET,
            "redirectUris": [format!("https://localhost:{}/api/v1/oidc/callback", gateway.addr.port())],
            "postLogoutRedirectUris": [AFTER_LOGOUT],
            "backchannelLogoutUri": format!("https://localhost:{}{BACKCHANNEL}", gateway.addr.port()),
            "accounts": accounts,
        });
        let file = self.dir.join("provider.json");
        std::fs::write(&file, settings.to_string())?;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc/provider.mjs");
        // It calls the gateway when somebody logs out.
        let trusted = self.dir.join("gateway.crt");
        std::fs::write(&trusted, &gateway.tls.cert_pem)?;
        let mut command = Command::new("node");
        command
            .arg(program)
            .arg(&file)
            .env("NODE_EXTRA_CA_CERTS", &trusted);
        let mut process = Process::start(&mut command, self.dir.join("provider.log"))?;
        let end = Instant::now() + START;
        while !process.said().lines().any(|line| line == "ready") {
            if let Some(status) = process.ended()? {
                bail!("the provider ended with {status}:\n{}", process.said());
            }
            ensure!(
                Instant::now() < end,
                "the provider does not start:\n{}",
                process.said()
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Provider {
            process,
            port: self.addr.port(),
            tls: self.tls.clone(),
            gateway: (gateway.addr.port(), gateway.tls.clone()),
        })
    }
}

/// Where people go after a logout; nothing is there.
pub const AFTER_LOGOUT: &str = "https://localhost:1/after-logout";

/// Path at the gateway that the provider tells of logouts.
pub const BACKCHANNEL: &str = "/api/v1/oidc/backchannel-logout";

/// A running one, and the gateway that it is for.
pub struct Provider {
    pub process: Process,
    pub port: u16,
    pub tls: Tls,
    gateway: (u16, Tls),
}

impl Provider {
    /// A browser that nobody has used yet.
    pub fn browser(&self) -> Browser {
        Browser::new([(self.port, self.tls.clone()), self.gateway.clone()])
    }

    /// Changes what it does from now on.
    pub async fn set(&self, order: Value) -> anyhow::Result<()> {
        let url = Url::parse(&format!("https://localhost:{}/test", self.port))?;
        let page = self
            .browser()
            .send(Method::POST, &url, &[], &order.to_string())
            .await?;
        ensure!(page.status == 204, "{}", page.body);
        Ok(())
    }

    /// A token with these claims, signed with the provider's key.
    pub async fn sign(&self, claims: Value, header: Value) -> anyhow::Result<String> {
        let url = Url::parse(&format!("https://localhost:{}/sign", self.port))?;
        let order = json!({"claims": claims, "header": header}).to_string();
        let page = self.browser().send(Method::POST, &url, &[], &order).await?;
        ensure!(page.status == 200, "{}", page.body);
        Ok(page.body)
    }

    /// An address of the gateway.
    pub fn at_gateway(&self, path: &str) -> anyhow::Result<Url> {
        Ok(Url::parse(&format!(
            "https://localhost:{}{path}",
            self.gateway.0
        ))?)
    }

    /// From the start of a login up to, and without, the redirect back to the gateway. With `None` the provider knows the
    /// person already.
    pub async fn authorize(
        &self,
        browser: &mut Browser,
        query: &str,
        person: Option<&str>,
    ) -> anyhow::Result<Url> {
        let start = browser
            .get(&self.at_gateway(&format!("/api/v1/oidc/login{query}"))?)
            .await?;
        let back = |url: &Url| url.port() == Some(self.gateway.0);
        let mut page = browser.follow(start, back).await?;
        if let Some(person) = person {
            page = self.log_in(browser, &page, person).await?;
            page = browser.follow(page, back).await?;
        }
        page.location()
    }

    /// Fills in the provider's form.
    async fn log_in(&self, browser: &mut Browser, form: &Page, person: &str) -> anyhow::Result<Page> {
        ensure!(form.url.path().starts_with("/interaction/"), "{form:?}");
        browser
            .post(&form.url, &[("login", person), ("password", "any")])
            .await
    }

    /// A whole login in a new browser: what the gateway answers.
    pub async fn login(&self, person: &str) -> anyhow::Result<Page> {
        let mut browser = self.browser();
        let back = self.authorize(&mut browser, "", Some(person)).await?;
        browser.get(&back).await
    }

    /// The token of a login that has to succeed.
    pub async fn token(&self, person: &str) -> anyhow::Result<String> {
        let page = self.login(person).await?;
        ensure!(page.status == 201, "{page:?}");
        Ok(page.json()?["token"].as_str().context("no token")?.to_owned())
    }

    /// Types a device login's code and agrees.
    pub async fn type_code(&self, address: &str, person: &str) -> anyhow::Result<()> {
        let mut browser = self.browser();
        let page = browser.get(&Url::parse(address)?).await?;
        let device = Url::parse(&format!("https://localhost:{}/device", self.port))?;
        let code = page.field("user_code")?;
        let xsrf = page.field("xsrf")?;
        let confirm = browser
            .post(&device, &[("xsrf", &xsrf), ("user_code", &code)])
            .await?;
        let xsrf = confirm.field("xsrf")?;
        let agreed = [("xsrf", xsrf.as_str()), ("user_code", &code), ("confirm", "yes")];
        let page = browser.post(&device, &agreed).await?;
        let form = browser.follow(page, |_| false).await?;
        let page = self.log_in(&mut browser, &form, person).await?;
        let done = browser.follow(page, |_| false).await?;
        ensure!(done.status == 200 && done.body.contains("Success"), "{done:?}");
        Ok(())
    }
}
