//! Tokens of all kinds against the rules for them, signed here with keys of our own.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair as _, RsaEncoding, RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

use super::{
    claims::{self, ClaimsError, Expected, LEEWAY},
    config::Claims,
    jws::{JwsError, Keys, MAX_TOKEN, Token},
};

const NOW: i64 = 1_790_000_000;
const ISSUER: &str = "https://id.example.com";
const CLIENT: &str = "gateway";

fn expected() -> Expected<'static> {
    Expected {
        issuer: ISSUER,
        client_id: CLIENT,
        nonce: Some("nonce-1"),
        subject: None,
        now: NOW,
    }
}

fn good() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "subject-1",
        "aud": CLIENT,
        "iat": NOW,
        "exp": NOW + 300,
        "nonce": "nonce-1",
        "sid": "session-1",
        "preferred_username": "ann",
        "groups": ["b", "a", "b"],
    })
}

fn signed_text(head: &Value, claims: &Value) -> String {
    let encode = |value: &Value| BASE64.encode(value.to_string());
    format!("{}.{}", encode(head), encode(claims))
}

fn token(head: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let text = signed_text(head, claims);
    let signature = BASE64.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

type Sign<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

struct Rsa(KeyPair);

impl Rsa {
    fn new(size: KeySize) -> Self {
        Self(KeyPair::generate(size).unwrap())
    }

    fn sign(&self, padding: &'static dyn RsaEncoding, text: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(padding, &SystemRandom::new(), text, &mut signature)
            .unwrap();
        signature
    }

    fn jwk(&self, kid: &str) -> Value {
        // RSAPublicKey (RFC 8017, appendix A.1.1) of 2,048 bits: SEQUENCE { INTEGER 0 n, INTEGER 65537 }.
        let der = self.0.public_key().as_ref();
        assert_eq!((der.len(), &der[265..]), (270, &[2, 3, 1, 0, 1][..]));
        let (n, e) = (&der[9..265], &der[267..]);
        json!({ "kty": "RSA", "kid": kid, "use": "sig", "n": BASE64.encode(n), "e": BASE64.encode(e) })
    }

    fn rs256(&self, kid: &str, claims: &Value) -> String {
        token(&json!({ "alg": "RS256", "kid": kid }), claims, |text| {
            self.sign(&signature::RSA_PKCS1_SHA256, text)
        })
    }
}

fn keys(all: &[Value]) -> Keys {
    Keys::parse(json!({ "keys": all }).to_string().as_bytes()).unwrap()
}

fn verify(token: &str, keys: &Keys) -> Result<Vec<u8>, JwsError> {
    Token::parse(token, "JWT")?.verify(keys)
}

fn check(claims: &Value) -> Result<claims::IdToken, ClaimsError> {
    claims::check(claims.to_string().as_bytes(), &expected())
}

#[test]
fn every_accepted_algorithm_verifies_with_its_own_kind_of_key_only() {
    let rsa = Rsa::new(KeySize::Rsa2048);
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let point = |key: &[u8], curve: &str, kid: &str| {
        let half = (key.len() - 1) / 2;
        json!({ "kty": "EC", "crv": curve, "kid": kid, "x": BASE64.encode(&key[1..=half]), "y": BASE64.encode(&key[half + 1..]) })
    };
    let keys = keys(&[
        rsa.jwk("rsa"),
        point(p256.public_key().as_ref(), "P-256", "p256"),
        point(p384.public_key().as_ref(), "P-384", "p384"),
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": BASE64.encode(ed25519.public_key()) }),
    ]);
    let random = SystemRandom::new();
    let pairs: [(&str, &str, Sign<'_>); 9] = [
        ("RS256", "rsa", &|text| {
            rsa.sign(&signature::RSA_PKCS1_SHA256, text)
        }),
        ("RS384", "rsa", &|text| {
            rsa.sign(&signature::RSA_PKCS1_SHA384, text)
        }),
        ("RS512", "rsa", &|text| {
            rsa.sign(&signature::RSA_PKCS1_SHA512, text)
        }),
        ("PS256", "rsa", &|text| rsa.sign(&signature::RSA_PSS_SHA256, text)),
        ("PS384", "rsa", &|text| rsa.sign(&signature::RSA_PSS_SHA384, text)),
        ("PS512", "rsa", &|text| rsa.sign(&signature::RSA_PSS_SHA512, text)),
        ("ES256", "p256", &|text| {
            p256.sign(&random, text).unwrap().as_ref().to_vec()
        }),
        ("ES384", "p384", &|text| {
            p384.sign(&random, text).unwrap().as_ref().to_vec()
        }),
        ("EdDSA", "ed", &|text| ed25519.sign(text).as_ref().to_vec()),
    ];
    for (alg, kid, sign) in pairs {
        let text = token(&json!({ "alg": alg, "kid": kid, "typ": "JWT" }), &good(), sign);
        let payload = verify(&text, &keys).unwrap_or_else(|error| panic!("{alg}: {error}"));
        assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), good());
        // One bit of what was signed, or of the signature.
        for at in [3, text.find('.').unwrap() + 5, text.len() - 20] {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(
                verify(std::str::from_utf8(&changed).unwrap(), &keys).is_err(),
                "{alg} at {at}"
            );
        }
        for (_, other, _) in pairs.iter().filter(|(_, other, _)| *other != kid) {
            let wrong = token(&json!({ "alg": alg, "kid": other }), &good(), sign);
            assert_eq!(
                verify(&wrong, &keys).unwrap_err(),
                JwsError::WrongKey,
                "{alg} with {other}"
            );
        }
    }
}

#[test]
fn none_and_symmetric_algorithms_do_not_exist() {
    let rsa = Rsa::new(KeySize::Rsa2048);
    let keys = keys(&[rsa.jwk("k1")]);
    let jwk = rsa.jwk("k1");
    let public = jwk["n"].as_str().unwrap();
    // The public key as the secret of an HMAC, in each form that somebody may take it in.
    let pem =
        aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(rsa.0.public_key())
            .unwrap();
    for secret in [
        public.as_bytes().to_vec(),
        BASE64.decode(public).unwrap(),
        pem.as_ref().to_vec(),
    ] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let text = token(&json!({ "alg": "HS256", "kid": "k1" }), &good(), |text| {
            hmac::sign(&key, text).as_ref().to_vec()
        });
        assert_eq!(verify(&text, &keys).unwrap_err(), JwsError::Algorithm);
    }
    for alg in [
        json!("none"),
        json!("None"),
        json!("nOnE"),
        json!("NONE"),
        json!(""),
        json!("HS512"),
        json!("RS1"),
        json!(null),
        json!(["RS256"]),
        json!({ "RS256": null }),
        json!(7),
    ] {
        for signature in [vec![], vec![0; 256]] {
            let text = token(&json!({ "alg": alg, "kid": "k1" }), &good(), |_| signature);
            assert_eq!(verify(&text, &keys).unwrap_err(), JwsError::Algorithm, "{alg}");
        }
    }
    // The right algorithm and no signature.
    let text = token(&json!({ "alg": "RS256", "kid": "k1" }), &good(), |_| vec![]);
    assert_eq!(verify(&text, &keys).unwrap_err(), JwsError::Signature);
    // A symmetric key in the provider's key set is no key.
    let set = json!({ "keys": [{ "kty": "oct", "kid": "k1", "k": "c2VjcmV0" }] });
    assert!(Keys::parse(set.to_string().as_bytes()).unwrap().is_empty());
}

#[test]
fn the_key_is_one_of_the_providers_and_for_this_use() {
    let (rsa, other) = (Rsa::new(KeySize::Rsa2048), Rsa::new(KeySize::Rsa2048));
    let published = keys(&[rsa.jwk("k1")]);
    assert!(verify(&rsa.rs256("k1", &good()), &published).is_ok());
    assert_eq!(
        verify(&rsa.rs256("k2", &good()), &published).unwrap_err(),
        JwsError::UnknownKey
    );
    assert_eq!(
        verify(&other.rs256("k1", &good()), &published).unwrap_err(),
        JwsError::Signature
    );
    let long = "k".repeat(300);
    assert_eq!(
        verify(&rsa.rs256(&long, &good()), &published).unwrap_err(),
        JwsError::UnknownKey
    );

    // Its own key in the head, or an address of one, is not looked at.
    let head = json!({ "alg": "RS256", "kid": "k1", "jwk": other.jwk("k1"), "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x" });
    let text = token(&head, &good(), |text| {
        other.sign(&signature::RSA_PKCS1_SHA256, text)
    });
    assert_eq!(verify(&text, &published).unwrap_err(), JwsError::Signature);

    // Rotation: the new key beside the old one, then the old one gone.
    let both = keys(&[rsa.jwk("k1"), other.jwk("k2")]);
    for text in [rsa.rs256("k1", &good()), other.rs256("k2", &good())] {
        assert!(verify(&text, &both).is_ok());
    }
    let after = keys(&[other.jwk("k2")]);
    assert_eq!(
        verify(&rsa.rs256("k1", &good()), &after).unwrap_err(),
        JwsError::UnknownKey
    );

    // Without a name the key has to be the only one that fits.
    let nameless = token(&json!({ "alg": "RS256" }), &good(), |text| {
        rsa.sign(&signature::RSA_PKCS1_SHA256, text)
    });
    assert!(verify(&nameless, &published).is_ok());
    assert_eq!(verify(&nameless, &both).unwrap_err(), JwsError::AmbiguousKey);
    assert_eq!(
        verify(
            &rsa.rs256("k1", &good()),
            &keys(&[rsa.jwk("k1"), other.jwk("k1")])
        )
        .unwrap_err(),
        JwsError::AmbiguousKey
    );

    // A key for one algorithm is not for another, and one for encryption for none.
    let mut only = rsa.jwk("k1");
    only["alg"] = json!("PS256");
    assert_eq!(
        verify(&rsa.rs256("k1", &good()), &keys(&[only.clone()])).unwrap_err(),
        JwsError::WrongKey
    );
    only["alg"] = json!("RSA-OAEP");
    assert!(keys(&[only]).is_empty());
    let mut encryption = rsa.jwk("k1");
    encryption["use"] = json!("enc");
    assert!(keys(&[encryption]).is_empty());
}

#[test]
fn weak_and_broken_keys_verify_nothing() {
    // 1,024 bits; aws-lc makes no such key, so it is written down: any modulus does, since the size is looked at first.
    let weak = json!({ "kty": "RSA", "kid": "k1", "n": BASE64.encode([0xc1; 128]), "e": "AQAB" });
    let text = token(&json!({ "alg": "RS256", "kid": "k1" }), &good(), |_| vec![1; 128]);
    assert_eq!(verify(&text, &keys(&[weak])).unwrap_err(), JwsError::Signature);
    let zero = json!({ "kty": "EC", "crv": "P-256", "kid": "k1", "x": BASE64.encode([0; 32]), "y": BASE64.encode([0; 32]) });
    let text = token(&json!({ "alg": "ES256", "kid": "k1" }), &good(), |_| vec![0; 64]);
    assert_eq!(verify(&text, &keys(&[zero])).unwrap_err(), JwsError::Signature);
    for broken in [
        json!({ "kty": "RSA", "kid": "k1" }),
        json!({ "kty": "RSA", "n": "!", "e": "AQAB" }),
        json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }),
        json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": "AA" }),
        json!({ "kty": 7 }),
        json!("key"),
        json!(null),
    ] {
        assert!(keys(std::slice::from_ref(&broken)).is_empty(), "{broken}");
    }
    for set in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
        assert!(Keys::parse(set.as_bytes()).is_none(), "{set}");
    }
    let many = vec![json!({}); 101];
    assert!(Keys::parse(json!({ "keys": many }).to_string().as_bytes()).is_none());
}

#[test]
fn what_is_no_plain_signed_token_is_refused() {
    let rsa = Rsa::new(KeySize::Rsa2048);
    let keys = keys(&[rsa.jwk("k1")]);
    let with_head = |more: Value| {
        let mut head = json!({ "alg": "RS256", "kid": "k1" });
        head.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        token(&head, &good(), |text| {
            rsa.sign(&signature::RSA_PKCS1_SHA256, text)
        })
    };
    assert!(verify(&with_head(json!({ "typ": "jwt", "x5t": "abc" })), &keys).is_ok());
    for (more, want) in [
        (json!({ "cty": "JWT" }), JwsError::Nested),
        (json!({ "zip": "DEF" }), JwsError::Nested),
        (json!({ "crit": ["exp"], "exp": 1 }), JwsError::Critical),
        (json!({ "crit": [] }), JwsError::Critical),
        (json!({ "typ": "at+jwt" }), JwsError::Kind),
        (json!({ "typ": "application/at+jwt" }), JwsError::Kind),
        (json!({ "typ": "logout+jwt" }), JwsError::Kind),
        (json!({ "kid": 7 }), JwsError::Form),
    ] {
        assert_eq!(
            verify(&with_head(more.clone()), &keys).unwrap_err(),
            want,
            "{more}"
        );
    }
    let fine = rsa.rs256("k1", &good());
    let parts: Vec<_> = fine.split('.').collect();
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b".to_owned(),
        parts[..2].join("."),
        format!("{fine}."),
        format!("{fine}.x.y"),
        format!(" {fine}"),
        format!("{fine}="),
        fine.replace('.', ":"),
        fine.replacen(parts[0], "e30", 1),
        fine.replacen(
            parts[0],
            &BASE64.encode(r#"{"alg":"RS256","alg":"none","kid":"k1"}"#),
            1,
        ),
    ] {
        assert!(
            matches!(verify(&bad, &keys).unwrap_err(), JwsError::Form),
            "{bad}"
        );
    }
    // A token as the content of a token: signed well, but its claims are none.
    let nested = format!("{}.{}", parts[0], BASE64.encode(&fine));
    let nested = format!(
        "{nested}.{}",
        BASE64.encode(rsa.sign(&signature::RSA_PKCS1_SHA256, nested.as_bytes()))
    );
    let payload = verify(&nested, &keys).unwrap();
    assert_eq!(
        claims::check(&payload, &expected()).unwrap_err(),
        ClaimsError::Form("claims")
    );

    let mut large = good();
    large["groups"] = json!(vec!["g".repeat(100); 1000]);
    let large = rsa.rs256("k1", &large);
    assert!(large.len() > MAX_TOKEN);
    assert_eq!(verify(&large, &keys).unwrap_err(), JwsError::TooLong);
}

#[test]
fn claims_are_of_the_issuer_for_this_client_in_this_login() {
    let token = check(&good()).unwrap();
    assert_eq!(
        (token.subject.as_str(), token.session.as_deref()),
        ("subject-1", Some("session-1"))
    );
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        check(&claims).map(|token| token.subject)
    };
    let without = |name: &str| {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        check(&claims).map(|token| token.subject)
    };
    for issuer in [
        "https://evil.example",
        "https://id.example.com/",
        "http://id.example.com",
        "",
    ] {
        assert!(
            matches!(with("iss", json!(issuer)), Err(ClaimsError::Issuer { .. })),
            "{issuer}"
        );
    }
    let audience = |value: Value| matches!(with("aud", value), Err(ClaimsError::Audience { .. }));
    assert!(audience(json!("other")) && audience(json!([])) && audience(json!(["other"])));
    assert!(audience(json!([CLIENT, "other"])), "several, and no azp");
    assert!(with("aud", json!([CLIENT])).is_ok());
    let mut two = good();
    two["aud"] = json!(["other", CLIENT]);
    for (azp, fine) in [
        (json!(CLIENT), true),
        (json!("other"), false),
        (json!([CLIENT]), false),
        (json!(null), false),
    ] {
        two["azp"] = azp.clone();
        assert_eq!(check(&two).is_ok(), fine, "{azp}");
    }
    assert!(matches!(
        with("azp", json!("other")),
        Err(ClaimsError::Audience { .. })
    ));
    for nonce in [json!("nonce-2"), json!(""), json!(null), json!(["nonce-1"])] {
        assert_eq!(with("nonce", nonce).unwrap_err(), ClaimsError::Nonce);
    }
    assert_eq!(without("nonce").unwrap_err(), ClaimsError::Nonce);
    for (name, bad) in [
        ("sub", json!("")),
        ("sub", json!("s".repeat(300))),
        ("sub", json!(7)),
        ("iss", json!([ISSUER])),
        ("aud", json!({ CLIENT: 1 })),
        ("aud", json!([CLIENT, 7])),
        ("exp", json!("tomorrow")),
        ("exp", json!(null)),
        ("iat", json!(true)),
        ("nbf", json!("now")),
    ] {
        assert_eq!(
            with(name, bad.clone()).unwrap_err(),
            ClaimsError::Form(name),
            "{bad}"
        );
    }
    for name in ["iss", "sub", "aud", "exp", "iat"] {
        assert_eq!(without(name).unwrap_err(), ClaimsError::Form(name));
    }
    let of_another = Expected {
        subject: Some("subject-2"),
        ..expected()
    };
    let refused = claims::check(good().to_string().as_bytes(), &of_another).unwrap_err();
    assert_eq!(refused, ClaimsError::Subject);
}

#[test]
fn times_are_looked_at_with_a_minute_of_leeway() {
    let with = |changes: &[(&str, Value)]| {
        let mut claims = good();
        for (name, value) in changes {
            claims[name] = value.clone();
        }
        check(&claims).map(|_| ())
    };
    assert_eq!(with(&[("exp", json!(NOW - LEEWAY + 1))]), Ok(()));
    assert_eq!(
        with(&[("exp", json!(NOW - LEEWAY))]),
        Err(ClaimsError::Expired(LEEWAY))
    );
    assert_eq!(with(&[("iat", json!(NOW + LEEWAY))]), Ok(()));
    assert_eq!(
        with(&[("iat", json!(NOW + 3600)), ("exp", json!(NOW + 7200))]),
        Err(ClaimsError::NotYet(3600))
    );
    assert_eq!(with(&[("nbf", json!(NOW + 61))]), Err(ClaimsError::NotYet(61)));
    assert_eq!(with(&[("exp", json!(1_790_000_000.5))]), Ok(()));
    assert!(with(&[("exp", json!(-1e300))]).is_err());
    assert!(with(&[("exp", json!(i64::MIN))]).is_err());
    assert!(with(&[("iat", json!(1e300))]).is_err());
    assert!(with(&[("iat", json!(i64::MAX))]).is_err());
}

#[test]
fn names_and_groups_are_read_and_nothing_else_is_taken_for_them() {
    let names = Claims::default();
    let read = |claims: Value| {
        let all = claims.as_object().unwrap().clone();
        claims::groups(&all, &names)
    };
    let texts = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
    assert_eq!(read(good()), (texts(&["a", "b"]), false));
    assert_eq!(read(json!({ "groups": "ops" })), (texts(&["ops"]), false));
    assert_eq!(read(json!({})), (vec![], false));
    assert_eq!(
        read(json!({ "groups": ["ok", "", "a\nb", 7, null, ["x"], "x".repeat(300)] })),
        (texts(&["ok"]), true)
    );
    assert_eq!(read(json!({ "groups": { "admin": true } })), (vec![], true));
    let many: Vec<_> = (0..2000).map(|n| n.to_string()).collect();
    let (groups, left_out) = read(json!({ "groups": many }));
    assert_eq!((groups.len(), left_out), (1000, true));

    let name = |claims: Value, claim: &str| {
        let names = Claims {
            username: claim.to_owned(),
            ..Claims::default()
        };
        claims::user_name(claims.as_object().unwrap(), &names).map(str::to_owned)
    };
    assert_eq!(name(good(), "preferred_username").as_deref(), Some("ann"));
    assert_eq!(
        name(json!({ "preferred_username": ["ann"] }), "preferred_username"),
        None
    );
    let email = |verified: Value| {
        name(
            json!({ "email": "ann@example.com", "email_verified": verified }),
            "email",
        )
    };
    assert_eq!(email(json!(true)).as_deref(), Some("ann@example.com"));
    for not in [json!(false), json!("true"), json!(null), json!(1)] {
        assert_eq!(email(not), None);
    }
    assert_eq!(name(json!({ "email": "ann@example.com" }), "email"), None);

    let userinfo = |subject: &str| claims::userinfo(br#"{"sub":"s1","groups":["x"]}"#, subject);
    assert_eq!(userinfo("s1").unwrap()["groups"], json!(["x"]));
    assert_eq!(userinfo("s2").unwrap_err(), ClaimsError::Subject);
    assert!(claims::userinfo(b"{}", "s1").is_err() && claims::userinfo(b"[]", "s1").is_err());
}

#[test]
fn the_components_of_a_key_are_what_they_are_taken_for() {
    // The same signature, checked with the library alone: our reading of a JWK adds nothing and loses nothing.
    let rsa = Rsa::new(KeySize::Rsa2048);
    let jwk = rsa.jwk("k1");
    let part = |name: &str| BASE64.decode(jwk[name].as_str().unwrap()).unwrap();
    let components = RsaPublicKeyComponents {
        n: part("n"),
        e: part("e"),
    };
    let signature = rsa.sign(&signature::RSA_PKCS1_SHA256, b"text");
    components
        .verify(&signature::RSA_PKCS1_2048_8192_SHA256, b"text", &signature)
        .unwrap();
}
