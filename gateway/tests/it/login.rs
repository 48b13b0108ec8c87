//! Local accounts: passwords, codes, lockout and sessions.

use std::time::Duration;

use aws_lc_rs::hmac;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Client, Testbed, empty, text};

const PASSWORD: &str = "correct horse battery";

/// A login by nobody known; status, headers and answer.
async fn login(client: &Client, body: Value) -> (StatusCode, HeaderMap, Value) {
    let client = client.with_token("");
    let mut request = client.request(Method::POST, "/api/v1/login", text(&body.to_string()));
    request.headers_mut().remove("authorization");
    let (status, headers, bytes) = client.exchange(request).await;
    (
        status,
        headers,
        serde_json::from_slice(&bytes).unwrap_or_default(),
    )
}

fn named(name: &str, password: &str) -> Value {
    json!({ "name": name, "password": password })
}

fn with(mut body: Value, mut more: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .append(more.as_object_mut().unwrap());
    body
}

/// A gateway whose administrator has a password.
async fn testbed() -> Testbed {
    let testbed = Testbed::start().await;
    let (status, answer) = testbed
        .client
        .call(Method::POST, "/api/v1/password", json!({ "new": PASSWORD }))
        .await;
    assert_eq!(status, 204, "{answer}");
    testbed
}

/// A client with a new session of the administrator.
async fn session(testbed: &Testbed) -> Client {
    let (status, headers, answer) = login(&testbed.client, named("admin", PASSWORD)).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(headers["cache-control"], "no-store");
    testbed.client.with_token(answer["token"].as_str().unwrap())
}

async fn whoami(client: &Client) -> StatusCode {
    client.call(Method::GET, "/api/v1/whoami", Value::Null).await.0
}

/// The bytes that a secret stands for, as an app reads it (RFC 4648).
fn bytes(base32: &str) -> Vec<u8> {
    let mut secret = vec![];
    let (mut bits, mut held) = (0_u64, 0);
    for c in base32.bytes() {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
            .iter()
            .position(|known| *known == c)
            .unwrap();
        bits = bits << 5 | value as u64;
        held += 5;
        if held >= 8 {
            held -= 8;
            secret.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    secret
}

/// The code of an authenticator app, worked out from what is shown to people: RFC 6238 once more.
fn app_code(base32: &str, step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes(base32));
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let hash = tag.as_ref();
    let at = usize::from(hash[19] & 0xf);
    let word = u32::from_be_bytes(hash[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", word % 1_000_000)
}

fn step() -> i64 {
    jiff::Timestamp::now().as_second() / 30
}

#[tokio::test]
async fn a_password_makes_a_session_of_twelve_hours_that_ends_at_logout() {
    let testbed = testbed().await;
    let (status, _, answer) = login(&testbed.client, named("admin", PASSWORD)).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(
        (&answer["user"], &answer["organization"]),
        (&json!("admin"), &json!("default"))
    );
    let expires: jiff::Timestamp = answer["expiresAt"].as_str().unwrap().parse().unwrap();
    let minutes = (expires.as_second() - jiff::Timestamp::now().as_second()) / 60;
    assert!((719..=720).contains(&minutes), "{minutes}");
    let client = testbed.client.with_token(answer["token"].as_str().unwrap());
    let (status, who) = client.call(Method::GET, "/api/v1/whoami", Value::Null).await;
    assert_eq!((status.as_u16(), &who["tokenId"]), (200, &answer["tokenId"]));

    let other = session(&testbed).await;
    let (status, out) = client.call(Method::POST, "/api/v1/logout", Value::Null).await;
    assert_eq!((status.as_u16(), &out["providerLogoutUrl"]), (200, &Value::Null));
    assert_eq!(whoami(&client).await, 401);
    assert_eq!(whoami(&other).await, 200);
    let (status, problem) = testbed
        .client
        .call(Method::POST, "/api/v1/logout", Value::Null)
        .await;
    assert_eq!(status, 409, "a personal token is no session: {problem}");
    assert_eq!(whoami(&testbed.client).await, 200);
}

#[tokio::test]
async fn a_logout_ends_the_streams_of_the_session_within_two_seconds() {
    use http_body_util::BodyExt as _;
    let testbed = testbed().await;
    let client = session(&testbed).await;
    let mut connection = client.http1().await;
    let request = client.request(Method::GET, "/api/v1/inventory/events", empty());
    let response = connection.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    assert_eq!(
        client.call(Method::POST, "/api/v1/logout", Value::Null).await.0,
        200
    );
    let end = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(Duration::from_secs(2), end).await.unwrap();
}

#[tokio::test]
async fn unknown_names_and_wrong_passwords_get_the_same_answer_in_the_same_time() {
    let testbed = testbed().await;
    let mut best = [Duration::MAX; 3];
    let mut answers = vec![];
    // The machine does other things as well: the shortest of a few counts. More than 20 would be slowed down.
    for round in 0..9 {
        // A login, so that the wrong passwords of the rounds before are forgiven.
        assert_eq!(login(&testbed.client, named("admin", PASSWORD)).await.0, 201);
        let cases = [
            named("admin", "correct horse batterx"),
            named(&format!("nobody-{round}"), PASSWORD),
            json!({ "organization": format!("nowhere-{round}"), "name": "admin", "password": PASSWORD }),
        ];
        for (n, case) in cases.into_iter().enumerate() {
            let start = Instant::now();
            let (status, headers, answer) = login(&testbed.client, case.clone()).await;
            best[n] = best[n].min(start.elapsed());
            assert_eq!(status, 401, "{case}: {answer}");
            let names: Vec<_> = headers.keys().map(ToString::to_string).collect();
            answers.push((answer, names));
        }
        if round > 0 && alike(&best) {
            break;
        }
    }
    assert_eq!(login(&testbed.client, named("admin", "")).await.0, 401);
    assert_eq!(answers[0].0["code"], json!("KTA-LOGIN-001"));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert!(alike(&best), "{best:?}");
}

/// Whether no time is more than half again as long as another: without the hash it would be a twentieth.
fn alike(times: &[Duration]) -> bool {
    let (shortest, longest) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    *longest < *shortest * 3 / 2
}

#[tokio::test]
async fn failures_are_slowed_down_alike_for_names_that_are_there_and_that_are_not() {
    let testbed = Testbed::start().await;
    // The administrator has no password, and "nobody" is nobody.
    let mut seen = vec![];
    for name in ["admin", "nobody"] {
        let mut statuses = vec![];
        loop {
            let (status, headers, answer) = login(&testbed.client, named(name, "wrong wrong wrong")).await;
            statuses.push(status.as_u16());
            if status == 429 {
                assert_eq!(answer["code"], json!("KTA-SRV-003"));
                assert_eq!(headers["retry-after"], "1");
                break;
            }
        }
        seen.push(statuses);
    }
    assert_eq!(seen[0], [401, 401, 401, 401, 401, 429]);
    assert_eq!(seen[0], seen[1]);
    // Tokens work meanwhile: nobody is locked out of a session by somebody else's guesses.
    assert_eq!(whoami(&testbed.client).await, 200);
}

#[tokio::test]
async fn many_guesses_at_once_are_no_more_than_five() {
    let testbed = testbed().await;
    let guesses = (0..30).map(|n| login(&testbed.client, named("admin", &format!("a wrong password {n}"))));
    let answers = futures::future::join_all(guesses).await;
    let tried = answers.iter().filter(|(status, ..)| *status == 401).count();
    assert_eq!(tried, 5);
    assert!(
        answers
            .iter()
            .all(|(status, ..)| *status == 401 || *status == 429)
    );
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions_and_has_to_be_a_good_one() {
    let testbed = testbed().await;
    let (one, two) = (session(&testbed).await, session(&testbed).await);
    let change = async |client: &Client, current: Option<&str>, new: &str| {
        let body = json!({ "current": current, "new": new });
        client.call(Method::POST, "/api/v1/password", body).await
    };
    for (current, new, status, code) in [
        (None, "another horse battery", 401, "KTA-LOGIN-001"),
        (
            Some("wrong wrong wrong"),
            "another horse battery",
            401,
            "KTA-LOGIN-001",
        ),
        (Some(PASSWORD), PASSWORD, 400, "KTA-LOGIN-003"),
        (Some(PASSWORD), "short", 400, "KTA-LOGIN-003"),
        (Some(PASSWORD), "adminadminadmin", 400, "KTA-LOGIN-003"),
    ] {
        let (got, problem) = change(&one, current, new).await;
        assert_eq!((got.as_u16(), &problem["code"]), (status, &json!(code)), "{new}");
        assert!(
            !problem.to_string().contains(PASSWORD),
            "no password in an answer"
        );
    }
    assert_eq!(change(&one, Some(PASSWORD), "another horse battery").await.0, 204);
    assert_eq!(
        (whoami(&one).await, whoami(&two).await),
        (StatusCode::OK, StatusCode::UNAUTHORIZED)
    );
    assert_eq!(whoami(&testbed.client).await, 200, "tokens are not sessions");
    assert_eq!(login(&testbed.client, named("admin", PASSWORD)).await.0, 401);
    assert_eq!(
        login(&testbed.client, named("admin", "another horse battery"))
            .await
            .0,
        201
    );
}

#[tokio::test]
async fn codes_of_an_app_are_needed_once_set_up_and_good_once() {
    let testbed = testbed().await;
    let client = session(&testbed).await;
    let totp = async |path: &str, body: Value| {
        client
            .call(Method::POST, &format!("/api/v1/totp{path}"), body)
            .await
    };
    assert_eq!(totp("", json!({ "password": "wrong wrong wrong" })).await.0, 401);
    assert_eq!(totp("/confirm", json!({ "code": "123456" })).await.0, 409);
    let (status, proposed) = totp("", json!({ "password": PASSWORD })).await;
    assert_eq!(status, 201, "{proposed}");
    let secret = proposed["secret"].as_str().unwrap();
    assert!(
        proposed["uri"]
            .as_str()
            .unwrap()
            .starts_with("otpauth://totp/Kantaloupe:admin?secret=")
    );
    // Not asked for before it is confirmed: a mistyped secret locks nobody out.
    assert_eq!(login(&testbed.client, named("admin", PASSWORD)).await.0, 201);
    assert_eq!(totp("/confirm", json!({ "code": "000000" })).await.0, 401);
    let first = app_code(secret, step());
    let (status, confirmed) = totp("/confirm", json!({ "code": first })).await;
    assert_eq!(status, 200, "{confirmed}");
    let codes = confirmed["recoveryCodes"].as_array().unwrap();
    assert_eq!(codes.len(), 10);
    assert_eq!(
        totp("", json!({ "password": PASSWORD })).await.0,
        409,
        "not replaced without a code"
    );

    let enter = async |more: Value| {
        let (status, _, answer) = login(&testbed.client, with(named("admin", PASSWORD), more)).await;
        (
            status.as_u16(),
            answer["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let wrong = (401, "KTA-LOGIN-001".to_owned());
    let fine = (201, String::new());
    assert_eq!(enter(json!({})).await, (401, "KTA-LOGIN-002".to_owned()));
    assert_eq!(enter(json!({ "totp": first })).await, wrong, "used to confirm");
    // The next step's code is good already, since clocks differ.
    let next = app_code(secret, step() + 1);
    assert_eq!(enter(json!({ "totp": next })).await, fine);
    assert_eq!(enter(json!({ "totp": next })).await, wrong, "used");
    let recovery = codes[0].as_str().unwrap();
    assert_eq!(
        enter(json!({ "recoveryCode": recovery.to_uppercase() })).await,
        fine
    );
    assert_eq!(enter(json!({ "recoveryCode": recovery })).await, wrong, "used");
    let wrong_password = with(
        named("admin", "wrong wrong wrong"),
        json!({ "recoveryCode": codes[1] }),
    );
    assert_eq!(login(&testbed.client, wrong_password).await.0, 401);
    assert_eq!(
        enter(json!({ "recoveryCode": codes[1] })).await,
        fine,
        "not spent by a wrong password"
    );

    // Off again, with password and code only.
    assert_eq!(totp("/disable", json!({ "password": PASSWORD })).await.0, 401);
    let body = json!({ "password": PASSWORD, "recoveryCode": codes[2] });
    assert_eq!(totp("/disable", body).await.0, 204);
    assert_eq!(enter(json!({})).await, fine);
}

#[tokio::test]
async fn two_logins_with_one_code_at_once_are_one_login() {
    let testbed = testbed().await;
    let client = session(&testbed).await;
    let (_, proposed) = client
        .call(Method::POST, "/api/v1/totp", json!({ "password": PASSWORD }))
        .await;
    let secret = proposed["secret"].as_str().unwrap();
    let body = json!({ "code": app_code(secret, step()) });
    assert_eq!(
        client.call(Method::POST, "/api/v1/totp/confirm", body).await.0,
        200
    );
    let body = with(
        named("admin", PASSWORD),
        json!({ "totp": app_code(secret, step() + 1) }),
    );
    let logins = futures::future::join_all((0..4).map(|_| login(&testbed.client, body.clone()))).await;
    let good = logins.iter().filter(|(status, ..)| *status == 201).count();
    assert_eq!(good, 1, "{logins:?}");
}

#[tokio::test]
async fn a_lost_key_is_named_and_an_administrator_takes_the_codes_off() {
    let testbed = testbed().await;
    let client = session(&testbed).await;
    let (_, proposed) = client
        .call(Method::POST, "/api/v1/totp", json!({ "password": PASSWORD }))
        .await;
    let secret = proposed["secret"].as_str().unwrap().to_owned();
    let database = std::fs::read(testbed.dir.path().join("gateway.db-wal")).unwrap();
    assert!(
        !database
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    );
    let body = json!({ "code": app_code(&secret, step()) });
    assert_eq!(
        client.call(Method::POST, "/api/v1/totp/confirm", body).await.0,
        200
    );
    std::fs::remove_file(testbed.dir.path().join("login.key")).unwrap();
    let testbed = testbed.restart().await;
    let body = with(
        named("admin", PASSWORD),
        json!({ "totp": app_code(&secret, step() + 1) }),
    );
    let (status, _, answer) = login(&testbed.client, body).await;
    assert_eq!((status.as_u16(), &answer["code"]), (500, &json!("KTA-LOGIN-012")));
    let (status, answer) = testbed
        .client
        .call(Method::DELETE, "/api/v1/users/admin/totp", Value::Null)
        .await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(login(&testbed.client, named("admin", PASSWORD)).await.0, 201);
}

#[tokio::test]
async fn a_password_from_an_administrator_is_good_for_one_login_that_changes_it() {
    let testbed = testbed().await;
    let before = session(&testbed).await;
    let (status, reset) = testbed
        .client
        .call(Method::POST, "/api/v1/users/admin/password", Value::Null)
        .await;
    assert_eq!(status, 200, "{reset}");
    let given = reset["password"].as_str().unwrap();
    assert_eq!(whoami(&before).await, 401, "sessions of before have ended");
    assert_eq!(login(&testbed.client, named("admin", PASSWORD)).await.0, 401);
    let (status, _, answer) = login(&testbed.client, named("admin", given)).await;
    assert_eq!((status.as_u16(), &answer["code"]), (403, &json!("KTA-LOGIN-003")));
    let enter = async |new: &str| {
        login(
            &testbed.client,
            with(named("admin", given), json!({ "newPassword": new })),
        )
        .await
        .0
    };
    assert_eq!(enter("short").await, 400);
    assert_eq!(enter(given).await, 400);
    assert_eq!(enter("my very own password").await, 201);
    assert_eq!(login(&testbed.client, named("admin", given)).await.0, 401);
    assert_eq!(
        login(&testbed.client, named("admin", "my very own password"))
            .await
            .0,
        201
    );
    let missing = testbed
        .client
        .call(Method::POST, "/api/v1/users/nobody/password", Value::Null)
        .await;
    assert_eq!(missing.0, 404);
}

#[tokio::test]
async fn bodies_that_are_no_logins_are_refused_and_show_no_secret() {
    let testbed = testbed().await;
    for body in [
        json!({}),
        json!([]),
        json!({ "name": "admin" }),
        json!({ "name": "admin", "password": PASSWORD, "role": "admin" }),
        json!({ "name": "admin", "password": { "secret": PASSWORD } }),
        json!({ "name": "admin", "password": 7 }),
    ] {
        let (status, _, answer) = login(&testbed.client, body.clone()).await;
        assert_eq!(status, 400, "{body}");
        assert!(!answer.to_string().contains(PASSWORD), "{answer}");
    }
    let (status, ..) = login(&testbed.client, named("admin", &"x".repeat(70_000))).await;
    assert_eq!(status, 413);
    let (status, ..) = login(&testbed.client, named("admin", &"x".repeat(60_000))).await;
    assert_eq!(status, 401);
    // Each is counted by how it ended.
    let metrics = testbed.admin("/metrics").await;
    let refused = "kantaloupe_gateway_logins_total{method=\"password\",outcome=\"refused\"} ";
    let line = metrics.lines().find(|line| line.starts_with(refused)).unwrap();
    assert_ne!(line.strip_prefix(refused), Some("0"), "{line}");
    // Without a provider its paths say so.
    for (method, path) in [
        (Method::GET, "login"),
        (Method::POST, "device"),
        (Method::POST, "session"),
        (Method::POST, "backchannel-logout"),
    ] {
        let (status, _) = testbed
            .client
            .call(method, &format!("/api/v1/oidc/{path}"), Value::Null)
            .await;
        assert_eq!(status, 404, "{path}");
    }
}
