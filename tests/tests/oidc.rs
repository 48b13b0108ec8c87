//! Login at a real OpenID Connect provider. Needs no root.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kantaloupe_tests::{
    bare::{Bare, NAMESPACES, Setup},
    browser::{Browser, Page},
    oidc::{AFTER_LOGOUT, BACKCHANNEL, CLIENT_SECRET, Plan, Provider},
    processes::Gateway,
    tunnel::{Tls, localhost},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// Streams whose rights are gone end within this time.
const CUT: Duration = Duration::from_secs(2);
/// Longest for what happens by itself within a second or two, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway and its provider.
struct Site {
    provider: Provider,
    gateway: Gateway,
    _dir: TempDir,
}

impl Site {
    async fn start() -> anyhow::Result<Self> {
        Self::with(vec![]).await
    }

    async fn with(more: Vec<String>) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("kantaloupe-oidc-")?;
        let plan = Plan::new(&dir.path().join("provider"))?;
        let gateway = gateway(dir.path(), &plan, more).await?;
        let accounts = json!({"ann": {"groups": ["ops"]}, "bob": {"groups": []}, "admin": {"groups": []}});
        let provider = plan.start(&gateway, accounts).await?;
        Ok(Self {
            provider,
            gateway,
            _dir: dir,
        })
    }

    /// Starts a login and comes back from the provider; the address to go to at the gateway.
    async fn back(&self, browser: &mut Browser) -> anyhow::Result<Url> {
        self.provider.authorize(browser, "", Some("ann")).await
    }

    async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> anyhow::Result<Page> {
        let url = self.provider.at_gateway(path)?;
        let bearer = format!("Bearer {token}");
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        self.provider.browser().send(method, &url, &headers, &text).await
    }
}

async fn gateway(dir: &Path, plan: &Plan, more: Vec<String>) -> anyhow::Result<Gateway> {
    let mut arguments = plan.arguments();
    arguments.push("--log-level=trace".to_owned());
    arguments.push(format!("--oidc-after-logout={AFTER_LOGOUT}"));
    arguments.extend(more);
    Gateway::start_with(dir, &Tls::new(), arguments).await
}

/// The same address with one parameter of the query changed, or gone.
fn with_param(url: &Url, name: &str, value: Option<&str>) -> Url {
    let mut changed = url.clone();
    let pairs: Vec<_> = url
        .query_pairs()
        .filter(|(key, _)| key != name)
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    changed.query_pairs_mut().clear().extend_pairs(pairs);
    if let Some(value) = value {
        changed.query_pairs_mut().append_pair(name, value);
    }
    changed
}

fn param(url: &Url, name: &str) -> String {
    let found = url.query_pairs().find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn refused(page: &Page, status: u16, code: &str) -> anyhow::Result<()> {
    ensure!(
        (page.status.as_u16(), page.code().as_str()) == (status, code),
        "{status} {code}, not {page:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_in_the_browser_makes_a_session_and_nobody_else_can_finish_it() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let mut browser = site.provider.browser();
    let start = browser
        .get(&site.provider.at_gateway("/api/v1/oidc/login")?)
        .await?;
    let to = start.location()?;
    ensure!(param(&to, "code_challenge_method") == "S256" && param(&to, "response_type") == "code");
    ensure!(param(&to, "state").len() >= 43 && param(&to, "nonce").len() >= 43);
    let cookie = start.headers[header::SET_COOKIE].to_str()?;
    for part in ["__Host-", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/;"] {
        ensure!(cookie.contains(part), "{cookie}");
    }

    let back = site.back(&mut browser).await?;
    let mut thief = site.provider.browser();
    // Another browser with the whole address; with a login of its own under way; and this one with parts changed.
    refused(&thief.get(&back).await?, 400, "KTA-LOGIN-009")?;
    thief
        .get(&site.provider.at_gateway("/api/v1/oidc/login")?)
        .await?;
    refused(&thief.get(&back).await?, 400, "KTA-LOGIN-009")?;
    for changed in [
        with_param(&back, "state", None),
        with_param(&back, "state", Some("")),
        with_param(&back, "state", Some("x")),
    ] {
        refused(&browser.clone().get(&changed).await?, 400, "KTA-LOGIN-009")?;
    }

    let done = browser.clone().get(&back).await?;
    ensure!(done.status == 201, "{done:?}");
    ensure!(done.headers[header::CACHE_CONTROL] == "no-store");
    ensure!(done.headers[header::REFERRER_POLICY] == "no-referrer");
    let session = done.json()?;
    let token = session["token"].as_str().context("a token")?;
    let who = site
        .call(token, Method::GET, "/api/v1/whoami", Value::Null)
        .await?
        .json()?;
    ensure!(who["name"] == "ann" && who["groups"] == json!(["ops"]), "{who}");
    ensure!(who["tokenKind"] == "session" && who["role"].is_null(), "{who}");
    // The same address again, with the cookie still there, as the back button does.
    let again = browser.get(&back).await?;
    refused(&again, 400, "KTA-LOGIN-009")?;
    // A new login with the old code: the provider spends it once.
    let mut browser = site.provider.browser();
    let other = site.back(&mut browser).await?;
    let replayed = with_param(&other, "code", Some(&param(&back, "code")));
    refused(&browser.get(&replayed).await?, 403, "KTA-LOGIN-010")?;
    // An answer of another provider (RFC 9207), or one that does not say.
    for (iss, status, code) in [
        (Some("https://evil.example"), 502, "KTA-LOGIN-005"),
        (None, 400, "KTA-LOGIN-009"),
    ] {
        let mut browser = site.provider.browser();
        let back = site.back(&mut browser).await?;
        refused(&browser.get(&with_param(&back, "iss", iss)).await?, status, code)?;
    }
    // The same person once more is the same user; one who is refused there is nobody here.
    site.provider.token("ann").await?;
    let refusal = site.provider.login("nobody").await?;
    refused(&refusal, 403, "KTA-LOGIN-010")?;

    // What is good once or secret is nowhere in the log, at the most talkative level.
    let log = site.gateway.process.said();
    let state = param(&back, "state");
    for secret in [
        token,
        &param(&back, "code"),
        &state,
        CLIENT_SECRET,
        "__Host-kantaloupe-login=",
    ] {
        ensure!(
            !secret.is_empty() && !log.contains(secret),
            "{secret} is in the log"
        );
    }
    ensure!(log.contains("logged in at the provider"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_takes_its_session_once_and_no_other_host_is_returned_to() -> anyhow::Result<()> {
    let site = Site::start().await?;
    for evil in [
        "https://evil.example/",
        "//evil.example",
        "/%5Cevil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
    ] {
        let mut start = site.provider.at_gateway("/api/v1/oidc/login")?;
        let raw = evil.replace("%5C", "\\").replace("%09", "\t");
        start.query_pairs_mut().append_pair("returnTo", &raw);
        refused(&site.provider.browser().get(&start).await?, 400, "KTA-SRV-008")?;
    }
    let mut browser = site.provider.browser();
    let back = site
        .provider
        .authorize(&mut browser, "?returnTo=%2Fconsole%3Fa%3Db", Some("ann"))
        .await?;
    let page = browser.get(&back).await?;
    ensure!(
        page.status == 303 && page.headers[header::LOCATION] == "/console?a=b",
        "{page:?}"
    );
    ensure!(!page.body.contains("kta_"), "no token in the page or its address");
    let take = site.provider.at_gateway("/api/v1/oidc/session")?;
    let mut copy = browser.clone();
    let taken = browser.send(Method::POST, &take, &[], "").await?;
    ensure!(taken.status == 201, "{taken:?}");
    let token = taken.json()?["token"].as_str().context("a token")?.to_owned();
    ensure!(
        site.call(&token, Method::GET, "/api/v1/whoami", Value::Null)
            .await?
            .status
            == 200
    );
    refused(
        &copy.send(Method::POST, &take, &[], "").await?,
        400,
        "KTA-LOGIN-009",
    )?;
    let nobody = site.provider.browser().send(Method::POST, &take, &[], "").await?;
    refused(&nobody, 400, "KTA-LOGIN-009")?;

    // Logout ends the session here and names where to end it there; no token is in that address.
    let out = site
        .call(&token, Method::POST, "/api/v1/logout", Value::Null)
        .await?
        .json()?;
    ensure!(
        site.call(&token, Method::GET, "/api/v1/whoami", Value::Null)
            .await?
            .status
            == 401
    );
    let address = Url::parse(out["providerLogoutUrl"].as_str().context("an address")?)?;
    ensure!(param(&address, "id_token_hint").is_empty(), "{address}");
    // Until then the provider knows the person without asking.
    let known = site.provider.authorize(&mut browser, "", None).await?;
    ensure!(!param(&known, "code").is_empty(), "{known}");
    let page = browser.get(&address).await?;
    let xsrf = page.field("xsrf")?;
    let confirm = Url::parse(&format!(
        "https://localhost:{}/session/end/confirm",
        site.provider.port
    ))?;
    let ended = browser
        .post(&confirm, &[("xsrf", &xsrf), ("logout", "yes")])
        .await?;
    ensure!(ended.location()?.as_str().starts_with(AFTER_LOGOUT), "{ended:?}");
    let asked = site.provider.authorize(&mut browser, "", None).await;
    ensure!(asked.is_err(), "the provider asks again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_at_the_provider_ends_the_session_here_and_no_forged_one_does() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let log_in = async || {
        let mut browser = site.provider.browser();
        let back = site.back(&mut browser).await?;
        let page = browser.get(&back).await?;
        ensure!(page.status == 201, "{page:?}");
        let token = page.json()?["token"].as_str().context("no token")?.to_owned();
        anyhow::Ok((browser, token))
    };
    let status = async |token: &str| {
        let who = site
            .call(token, Method::GET, "/api/v1/whoami", Value::Null)
            .await?;
        anyhow::Ok(who.status.as_u16())
    };
    let (mut browser, first) = log_in().await?;
    let (_other, second) = log_in().await?;
    // The provider itself: its page for logging out, and then its call to the gateway.
    let end = Url::parse(&format!("https://localhost:{}/session/end", site.provider.port))?;
    let page = browser.get(&end).await?;
    let xsrf = page.field("xsrf")?;
    let confirm = Url::parse(&format!("{end}/confirm"))?;
    browser
        .post(&confirm, &[("xsrf", &xsrf), ("logout", "yes")])
        .await?;
    ensure!(
        (status(&first).await?, status(&second).await?) == (401, 200),
        "only the session that was ended is over: {}",
        site.provider.process.said()
    );
    // What others could send instead, each but for one thing a logout of ann.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let claims = json!({
        "iss": format!("https://localhost:{}", site.provider.port), "aud": "kantaloupe", "sub": "ann", "iat": now, "exp": now + 120,
        "jti": "once", "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    });
    let send = async |token: &str| {
        let url = site.provider.at_gateway(BACKCHANNEL)?;
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let page = site
            .provider
            .browser()
            .send(Method::POST, &url, &form, &format!("logout_token={token}"))
            .await?;
        anyhow::Ok(page.status.as_u16())
    };
    let kind = json!({"typ": "logout+jwt"});
    for (change, what) in [
        (json!({"iss": "https://evil.example"}), "another issuer"),
        (json!({"aud": "another-client"}), "another client"),
        (json!({"iat": now - 7200, "exp": now - 7000}), "an old one"),
        (
            json!({"iat": now - 7200, "exp": now + 7200}),
            "one that never ends",
        ),
        (json!({"iat": now + 7200, "exp": now + 7300}), "one of tomorrow"),
        (json!({"iat": null}), "no time"),
        (json!({"jti": null}), "no name"),
        (json!({"nonce": "n"}), "an ID token"),
        (json!({"events": null}), "no event"),
        (
            json!({"events": {"http://schemas.openid.net/event/other": {}}}),
            "another event",
        ),
        (
            json!({"events": {"http://schemas.openid.net/event/backchannel-logout": true}}),
            "an event that is none",
        ),
        (json!({"sub": null}), "nobody"),
        (json!({"sub": ["ann"]}), "no name of a person"),
    ] {
        let mut spoilt = claims.clone();
        for (name, value) in change.as_object().context("an object")? {
            match value {
                Value::Null => spoilt.as_object_mut().context("an object")?.remove(name),
                value => spoilt
                    .as_object_mut()
                    .context("an object")?
                    .insert(name.clone(), value.clone()),
            };
        }
        let token = site.provider.sign(spoilt, kind.clone()).await?;
        ensure!(send(&token).await? == 400, "{what}");
    }
    let good = site.provider.sign(claims.clone(), kind.clone()).await?;
    for (token, what) in [
        (format!("{}AAAA", &good[..good.len() - 4]), "another signature"),
        (
            site.provider
                .sign(claims.clone(), json!({"typ": "at+jwt"}))
                .await?,
            "an access token",
        ),
        (format!("{good}&logout_token={good}"), "two"),
        (String::new(), "none"),
        ("x".repeat(200_000), "a long one"),
    ] {
        let status = send(&token).await?;
        ensure!(
            status == 400 || (what == "a long one" && status == 413),
            "{what}: {status}"
        );
    }
    ensure!(
        status(&second).await? == 200,
        "nothing of that has ended a session"
    );
    ensure!(send(&good).await? == 200, "a good one");
    ensure!(
        status(&second).await? == 401,
        "all sessions of the person are over"
    );
    let (_third, third) = log_in().await?;
    ensure!(send(&good).await? == 400, "a token is good once");
    ensure!(
        status(&third).await? == 200,
        "the new session is not ended by the old token"
    );
    // In the audit: each end, and who could not log in.
    site.provider.set(json!({"trick": "nonce"})).await?;
    let page = site.provider.login("ann").await?;
    ensure!(page.status == 502, "{page:?}");
    let audit = site
        .gateway
        .json(Method::GET, "/api/v1/audit?phase=event&limit=200", None)
        .await?;
    let entries = audit["items"].as_array().context("no list")?;
    let count = |verb: &str, decision: &str, reason: &str| {
        entries
            .iter()
            .filter(|entry| entry["verb"] == verb && entry["decision"] == decision)
            .filter(|entry| entry["reason"].as_str().is_some_and(|text| text.contains(reason)))
            .count()
    };
    ensure!(
        count("logout", "allow", "the provider has ended the session") == 2,
        "{audit}"
    );
    ensure!(
        count("login", "deny", "is not the answer to this login") == 1,
        "{audit}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoilt_id_tokens_are_refused_and_local_users_are_not_taken_over() -> anyhow::Result<()> {
    let site = Site::start().await?;
    for (trick, code) in [
        ("signature", "KTA-LOGIN-008"),
        ("claims", "KTA-LOGIN-008"),
        ("audience", "KTA-LOGIN-008"),
        ("azp", "KTA-LOGIN-008"),
        ("issuer", "KTA-LOGIN-005"),
        ("nonce", "KTA-LOGIN-008"),
        ("expired", "KTA-LOGIN-007"),
        ("early", "KTA-LOGIN-007"),
        ("none", "KTA-LOGIN-008"),
        ("hmac", "KTA-LOGIN-008"),
        ("kid", "KTA-LOGIN-008"),
        ("garbage", "KTA-LOGIN-008"),
    ] {
        site.provider.set(json!({"trick": trick})).await?;
        let page = site.provider.login("ann").await?;
        refused(&page, 502, code).with_context(|| trick)?;
    }
    site.provider.set(json!({"trick": null})).await?;
    // Somebody whom the provider calls admin is not the local administrator, and gets no account of that name.
    let page = site.provider.login("admin").await?;
    refused(&page, 403, "KTA-LOGIN-011")?;
    let users = site
        .call(&site.gateway.token, Method::GET, "/api/v1/users", Value::Null)
        .await?
        .json()?;
    let names: Vec<_> = users["items"]
        .as_array()
        .context("users")?
        .iter()
        .map(|user| &user["name"])
        .collect();
    ensure!(names == [&json!("admin")], "{names:?}");
    // A name that is none.
    site.provider
        .set(json!({"accounts": {"x": {"name": "system:masters", "groups": []}, "ann": {"groups": []}}}))
        .await?;
    refused(&site.provider.login("x").await?, 403, "KTA-LOGIN-011")?;
    // After all that a good login works, from the ID token alone as well.
    site.provider.set(json!({"idToken": true})).await?;
    site.provider.token("ann").await?;
    // A user who is disabled here is not let in by the provider.
    let disabled = site
        .call(
            &site.gateway.token,
            Method::PATCH,
            "/api/v1/users/ann",
            json!({"disabled": true}),
        )
        .await?;
    ensure!(disabled.status == 200, "{disabled:?}");
    refused(&site.provider.login("ann").await?, 403, "KTA-LOGIN-011")?;
    // Nor can such a user get a password here, which would be a second way in.
    let reset = site
        .call(
            &site.gateway.token,
            Method::POST,
            "/api/v1/users/ann/password",
            Value::Null,
        )
        .await?;
    ensure!(reset.status == 409, "{reset:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_keys_of_the_provider_are_taken_while_the_gateway_runs() -> anyhow::Result<()> {
    let site = Site::start().await?;
    site.provider.token("ann").await?;
    for _ in 0..2 {
        site.provider.set(json!({"rotate": true})).await?;
        // Keys that were fetched just now are not fetched again at once; nobody has to wait for longer than that.
        let end = Instant::now() + PATIENCE;
        loop {
            let page = site.provider.login("ann").await?;
            if page.status == 201 {
                break;
            }
            refused(&page, 502, "KTA-LOGIN-008")?;
            ensure!(Instant::now() < end, "the new key is never taken");
            sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_without_a_browser_logs_in_with_a_code() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let start = site
        .call("", Method::POST, "/api/v1/oidc/device", Value::Null)
        .await?;
    ensure!(start.status == 200, "{start:?}");
    let device = start.json()?;
    let handle = device["deviceCode"].as_str().context("a handle")?;
    let poll = async |handle: &str| {
        let body = json!({ "deviceCode": handle });
        site.call("", Method::POST, "/api/v1/oidc/device/token", body)
            .await
    };
    let pending = poll(handle).await?;
    ensure!(
        pending.status == 202 && pending.json()?["status"] == "pending",
        "{pending:?}"
    );
    for foreign in ["", "abc", &handle[..handle.len() - 4], &handle.replace('A', "B")] {
        if foreign != handle {
            refused(&poll(foreign).await?, 400, "KTA-LOGIN-009")?;
        }
    }
    let address = device["verificationUriComplete"].as_str().context("an address")?;
    site.provider.type_code(address, "bob").await?;
    let end = Instant::now() + PATIENCE;
    let done = loop {
        let page = poll(handle).await?;
        if page.status != 202 {
            break page;
        }
        ensure!(Instant::now() < end, "{page:?}");
        let seconds = page.json()?["intervalSeconds"].as_u64().context("an interval")?;
        sleep(Duration::from_secs(seconds.min(5))).await;
    };
    ensure!(done.status == 201 && done.json()?["user"] == "bob", "{done:?}");
    // The code is spent.
    refused(&poll(handle).await?, 403, "KTA-LOGIN-010")?;
    let log = site.gateway.process.said();
    let code = device["userCode"].as_str().context("a code")?;
    ensure!(
        !log.contains(handle) && !log.contains(code),
        "a device code is in the log"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_set_up_name_their_cause() -> anyhow::Result<()> {
    let dir = TempDir::with_prefix("kantaloupe-oidc-")?;
    let plan = Plan::new(&dir.path().join("provider"))?;
    let mut gateway = gateway(dir.path(), &plan, vec![]).await?;
    let login = Url::parse(&format!(
        "https://localhost:{}/api/v1/oidc/login",
        gateway.addr.port()
    ))?;
    let mut browser = Browser::new([(gateway.addr.port(), gateway.tls.clone())]);
    // Not there yet; the gateway has started all the same.
    let page = browser.get(&login).await?;
    refused(&page, 502, "KTA-LOGIN-004")?;
    ensure!(
        page.body.contains(".well-known/openid-configuration"),
        "{}",
        page.body
    );

    let provider = plan.start(&gateway, json!({"ann": {"groups": []}})).await?;
    let end = Instant::now() + PATIENCE;
    while provider.browser().get(&login).await?.status != 303 {
        ensure!(
            Instant::now() < end,
            "the gateway does not see that the provider is there"
        );
        sleep(Duration::from_millis(200)).await;
    }
    // Another secret.
    plan.write_secret("a wrong secret")?;
    gateway.process.kill().await?;
    gateway.restart().await?;
    let page = provider.login("ann").await?;
    refused(&page, 502, "KTA-LOGIN-006")?;
    ensure!(page.body.contains("--oidc-client-secret-file"), "{}", page.body);
    ensure!(!gateway.process.said().contains("a wrong secret"));

    // A slash too many, and a certificate that is not trusted.
    let issuer = format!("--oidc-issuer={}/", plan.issuer());
    for (change, code, words) in [
        (issuer.as_str(), "KTA-LOGIN-005", "--oidc-issuer is"),
        ("--oidc-ca-file=", "KTA-LOGIN-004", "certificate"),
    ] {
        let flag = change.split_inclusive('=').next().unwrap_or_default();
        let mut arguments: Vec<_> = plan
            .arguments()
            .into_iter()
            .filter(|a| !a.starts_with(flag))
            .collect();
        if change != flag {
            arguments.push(change.to_owned());
        }
        let other = TempDir::with_prefix("kantaloupe-oidc-")?;
        let gateway = Gateway::start_with(other.path(), &Tls::new(), arguments).await?;
        let login = Url::parse(&format!(
            "https://localhost:{}/api/v1/oidc/login",
            gateway.addr.port()
        ))?;
        let mut browser = Browser::new([(gateway.addr.port(), gateway.tls.clone())]);
        let page = browser.get(&login).await?;
        refused(&page, 502, code)?;
        ensure!(page.body.contains(words), "{}", page.body);
    }
    Ok(())
}

/// A watch of pods through the tunnel; it is answered when this returns.
async fn watch(bare: &Bare, token: &str) -> anyhow::Result<(Incoming, AbortOnDropHandle<hyper::Result<()>>)> {
    let tcp = TcpStream::connect(bare.gateway.addr).await?;
    let tls = bare.gateway.tls.connector.connect(localhost(), tcp).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
    let task = AbortOnDropHandle::new(tokio::spawn(connection));
    let path = format!("/api/v1/namespaces/{}/pods?watch=true", NAMESPACES[0]);
    let request = Request::get(bare.path(&path))
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Empty::<bytes::Bytes>::new())?;
    let response = sender.send_request(request).await?;
    ensure!(response.status() == 200, "{}", response.status());
    let mut body = response.into_body();
    timeout(PATIENCE, body.frame())
        .await?
        .context("the first event")??;
    Ok((body, task))
}

async fn ends(mut body: Incoming, within: Duration) -> anyhow::Result<()> {
    let end = async { while let Some(Ok(_)) = body.frame().await {} };
    timeout(within, end).await.context("the watch goes on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_at_the_provider_decide_what_somebody_may_do_on_a_cluster() -> anyhow::Result<()> {
    let dir = TempDir::with_prefix("kantaloupe-oidc-")?;
    let plan = Plan::new(dir.path())?;
    let mut arguments = plan.arguments();
    arguments.push("--oidc-refresh=1s".to_owned());
    let bare = Setup {
        gateway: arguments,
        level: "trace",
        ..Setup::default()
    }
    .start()
    .await?;
    let people = |groups: &[&str]| json!({"ann": {"groups": groups}, "bob": {"groups": ["cooks"]}});
    let provider = plan.start(&bare.gateway, people(&["ops"])).await?;
    let pods = bare.path(&format!("/api/v1/namespaces/{}/pods", NAMESPACES[0]));
    let get = async |token: &str| Ok::<_, anyhow::Error>(bare.call(token, Method::GET, &pods, None).await?.0);

    let (ann, bob) = (provider.token("ann").await?, provider.token("bob").await?);
    ensure!(
        get(&ann).await? == StatusCode::NOT_FOUND,
        "no binding, no cluster"
    );
    let binding = json!({
        "subject": {"kind": "group", "name": "ops"},
        "role": "operator",
        "scope": {"kind": "cluster", "cluster": bare.id},
        "namespaces": [NAMESPACES[0]],
    });
    let admin = bare.gateway.token.clone();
    let (status, made) = bare
        .call(&admin, Method::POST, "/api/v1/bindings", Some(binding))
        .await?;
    ensure!(status == 201, "{made}");
    ensure!(get(&ann).await? == StatusCode::OK && get(&bob).await? == StatusCode::NOT_FOUND);
    let all = bare
        .call(&ann, Method::GET, &bare.path("/api/v1/pods"), None)
        .await?;
    ensure!(all.0 == StatusCode::FORBIDDEN, "{all:?}");
    // The API server's own audit log names the person.
    let entry = bare.entry(&format!("/namespaces/{}/pods", NAMESPACES[0])).await?;
    ensure!(
        entry["impersonatedUser"]["username"] == "kantaloupe:user:ann",
        "{entry}"
    );

    // Taken out of the group at the provider: the right goes, with the open watch, without a new login.
    let (open, _task) = watch(&bare, &ann).await?;
    provider.set(json!({"accounts": people(&[])})).await?;
    ends(open, PATIENCE).await?;
    ensure!(get(&ann).await? == StatusCode::NOT_FOUND);
    let who = bare.call(&ann, Method::GET, "/api/v1/whoami", None).await?;
    ensure!(who.0 == StatusCode::OK && who.1["groups"] == json!([]), "{who:?}");
    // And back in, asked for at once.
    provider
        .set(json!({"accounts": people(&["ops", "cooks"])}))
        .await?;
    let asked = bare
        .call(&ann, Method::POST, "/api/v1/oidc/refresh", None)
        .await?;
    ensure!(asked.0 == StatusCode::NO_CONTENT, "{asked:?}");
    ensure!(get(&ann).await? == StatusCode::OK);

    // Logout ends the session and its watch, and no other session of the same person.
    let second = provider.token("ann").await?;
    let (open, _task) = watch(&bare, &ann).await?;
    let out = bare.call(&ann, Method::POST, "/api/v1/logout", None).await?;
    ensure!(out.0 == StatusCode::OK, "{out:?}");
    ends(open, CUT).await?;
    ensure!(get(&ann).await? == StatusCode::UNAUTHORIZED && get(&second).await? == StatusCode::OK);

    // Somebody who is nobody at the provider any more loses the session, and what it opened, by itself.
    let (open, _task) = watch(&bare, &second).await?;
    provider
        .set(json!({"accounts": {"bob": {"groups": ["cooks"]}}}))
        .await?;
    ends(open, PATIENCE).await?;
    ensure!(get(&second).await? == StatusCode::UNAUTHORIZED);
    ensure!(bare.call(&bob, Method::GET, "/api/v1/whoami", None).await?.0 == StatusCode::OK);

    let log = bare.gateway.process.said();
    for token in [&ann, &second, &bob] {
        ensure!(!log.contains(token.as_str()), "a token is in the log");
    }
    Ok(())
}
