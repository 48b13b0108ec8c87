use aws_lc_rs::signature::KeyPair as _;
use proptest::prelude::*;

use super::*;

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn public(key: &Ed25519KeyPair) -> [u8; 32] {
    key.public_key().as_ref().try_into().unwrap()
}

fn claims() -> Claims {
    Claims {
        key_id: "k-1".to_owned(),
        cluster_id: "c-7f3k9q2m".to_owned(),
        cluster_uid: "9f0e3c1a-0000-4000-8000-000000000000".to_owned(),
        audience: "gw.example.com".to_owned(),
        nonce: "nonce".to_owned(),
        issued_at: 1_790_000_000,
        tunnel_id: "0190a1b2-0000-7000-8000-000000000000".to_owned(),
        session: SessionKind::Control,
        instance: "kantaloupe-agent-abc".to_owned(),
    }
}

fn header_of(json: &[u8], key: &Ed25519KeyPair) -> String {
    let signature = key.sign(&signed_bytes(json));
    format!(
        "{SCHEME} {}.{}",
        URL_SAFE_NO_PAD.encode(json),
        URL_SAFE_NO_PAD.encode(signature.as_ref())
    )
}

#[test]
fn what_is_signed_is_verified() {
    let header = sign(&claims(), &key());
    let unverified = Unverified::parse(&header).unwrap();
    assert_eq!(unverified.key_id(), "k-1");
    assert_eq!(unverified.verify(&public(&key())).unwrap(), claims());
}

#[test]
fn the_claims_have_the_documented_names() {
    let json = serde_json::to_value(claims()).unwrap();
    let mut names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "audience",
        "clusterId",
        "clusterUid",
        "instance",
        "issuedAt",
        "keyId",
        "nonce",
        "session",
        "tunnelId",
    ];
    assert_eq!(names, expected);
    assert_eq!(json["session"], "control");
}

#[test]
fn another_key_is_refused() {
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let unverified = Unverified::parse(&sign(&claims(), &key())).unwrap();
    assert_eq!(
        unverified.verify(&public(&other)).unwrap_err(),
        AssertionError::Signature
    );
}

#[test]
fn altered_claims_are_refused() {
    let header = sign(&claims(), &key());
    let (_, signature) = header.rsplit_once('.').unwrap();
    for alter in [
        |claims: &mut Claims| claims.cluster_id = "c-other".to_owned(),
        |claims: &mut Claims| claims.nonce = "other".to_owned(),
        |claims: &mut Claims| claims.session = SessionKind::Data,
        |claims: &mut Claims| claims.issued_at += 1,
    ] {
        let mut altered = claims();
        alter(&mut altered);
        let json = serde_json::to_vec(&altered).unwrap();
        let forged = format!("{SCHEME} {}.{signature}", URL_SAFE_NO_PAD.encode(json));
        let unverified = Unverified::parse(&forged).unwrap();
        assert_eq!(
            unverified.verify(&public(&key())).unwrap_err(),
            AssertionError::Signature
        );
    }
}

#[test]
fn a_signature_for_another_purpose_is_refused() {
    let json = serde_json::to_vec(&claims()).unwrap();
    let signature = key().sign(&json);
    let header = format!(
        "{SCHEME} {}.{}",
        URL_SAFE_NO_PAD.encode(&json),
        URL_SAFE_NO_PAD.encode(signature.as_ref())
    );
    let unverified = Unverified::parse(&header).unwrap();
    assert_eq!(
        unverified.verify(&public(&key())).unwrap_err(),
        AssertionError::Signature
    );
}

#[test]
fn claims_that_are_not_exactly_ours_are_refused_even_if_signed() {
    let mut unknown = serde_json::to_value(claims()).unwrap();
    unknown["admin"] = true.into();
    let mut missing = serde_json::to_value(claims()).unwrap();
    missing.as_object_mut().unwrap().remove("nonce");
    let doubled = serde_json::to_string(&claims())
        .unwrap()
        .replacen('{', r#"{"keyId":"k-2","#, 1);
    for json in [
        unknown.to_string(),
        missing.to_string(),
        doubled,
        "[]".to_owned(),
        String::new(),
    ] {
        let header = header_of(json.as_bytes(), &key());
        assert_eq!(
            Unverified::parse(&header).unwrap_err(),
            AssertionError::Claims,
            "{json}"
        );
    }
}

#[test]
fn oversize_is_refused_before_anything_is_decoded() {
    let mut long = claims();
    long.instance = "x".repeat(MAX_HEADER_LEN);
    assert_eq!(
        Unverified::parse(&sign(&long, &key())).unwrap_err(),
        AssertionError::TooLong
    );
}

#[test]
fn broken_headers_are_refused() {
    let good = sign(&claims(), &key());
    let credentials = good.strip_prefix("Kantaloupe ").unwrap();
    let (json, signature) = credentials.split_once('.').unwrap();
    let table = [
        (String::new(), AssertionError::Scheme),
        ("Kantaloupe".to_owned(), AssertionError::Scheme),
        (format!("Bearer {credentials}"), AssertionError::Scheme),
        (format!("Kantaloupe {json}"), AssertionError::Encoding),
        (
            format!("Kantaloupe {json}.{signature}="),
            AssertionError::Encoding,
        ),
        (
            format!("Kantaloupe {json}.{signature}.{signature}"),
            AssertionError::Encoding,
        ),
        (
            format!("Kantaloupe {json}.{}", &signature[..40]),
            AssertionError::Encoding,
        ),
        (format!("Kantaloupe  {credentials}"), AssertionError::Encoding),
        (
            format!("Kantaloupe +/{json}.{signature}"),
            AssertionError::Encoding,
        ),
    ];
    for (header, expected) in table {
        assert_eq!(Unverified::parse(&header).unwrap_err(), expected, "{header}");
    }
    // The scheme's case does not matter (RFC 9110, 11.1).
    Unverified::parse(&format!("kantaloupe {credentials}")).unwrap();
}

const NOW: i64 = 1_790_000_000;

#[test]
fn a_nonce_is_good_until_it_expires() {
    let issuer = NonceIssuer::new();
    let nonce = issuer.issue(NOW);
    let known = issuer.verify(&nonce, NOW).unwrap();
    assert_eq!(known.expires_at, NOW + NONCE_TTL_SECS);
    assert_eq!(issuer.verify(&nonce, NOW + NONCE_TTL_SECS - 1), Ok(known));
    assert_eq!(
        issuer.verify(&nonce, NOW + NONCE_TTL_SECS),
        Err(NonceError::Expired)
    );
}

#[test]
fn nonces_differ_and_belong_to_their_issuer() {
    let issuer = NonceIssuer::new();
    let (one, two) = (issuer.issue(NOW), issuer.issue(NOW));
    assert_ne!(
        issuer.verify(&one, NOW).unwrap().id,
        issuer.verify(&two, NOW).unwrap().id
    );
    assert_eq!(NonceIssuer::new().verify(&one, NOW), Err(NonceError::Foreign));
}

proptest! {
    #[test]
    fn one_wrong_character_in_a_nonce_is_noticed(at in 0_usize..75, wrong in "[ -~]") {
        let issuer = NonceIssuer::new();
        let mut nonce = issuer.issue(NOW);
        prop_assume!(nonce[at..=at] != wrong);
        nonce.replace_range(at..=at, &wrong);
        prop_assert_eq!(issuer.verify(&nonce, NOW), Err(NonceError::Foreign));
    }

    #[test]
    fn one_wrong_byte_in_the_header_is_noticed(at in 0_usize..400, wrong in "[!-~]") {
        let mut header = sign(&claims(), &key());
        let at = at.min(header.len() - 1);
        prop_assume!(!header[at..=at].eq_ignore_ascii_case(&wrong) || at > SCHEME.len());
        prop_assume!(header[at..=at] != wrong);
        header.replace_range(at..=at, &wrong);
        let accepted = Unverified::parse(&header).and_then(|unverified| unverified.verify(&public(&key())));
        prop_assert!(accepted.is_err(), "{}", header);
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = Unverified::parse(&text);
        let _ = Unverified::parse(&format!("Kantaloupe {text}"));
        let _ = NonceIssuer::new().verify(&text, NOW);
    }
}
