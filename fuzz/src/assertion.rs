//! The header with which an agent proves who it is.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use kantaloupe_proto::assertion::{NonceIssuer, Unverified, sign};

/// The key that the corpus is signed with; it protects nothing.
const SEED: [u8; 32] = [7; 32];

/// Nothing but what [`sign`] makes is verified, and no text passes for a nonce.
pub fn run(data: &[u8]) {
    let Ok(header) = str::from_utf8(data) else { return };
    assert!(
        NonceIssuer::new().verify(header, 0).is_err(),
        "a nonce that nobody issued was accepted"
    );
    let Ok(unverified) = Unverified::parse(header) else {
        return;
    };
    let key = Ed25519KeyPair::from_seed_unchecked(&SEED).expect("any 32 bytes are a seed");
    let public = key
        .public_key()
        .as_ref()
        .try_into()
        .expect("an Ed25519 key has 32 bytes");
    if let Ok(claims) = unverified.verify(&public) {
        let (_, signed) = header.split_once(' ').expect("a header has a scheme");
        assert!(
            sign(&claims, &key).ends_with(signed),
            "another header than the signed one was verified"
        );
    }
}
