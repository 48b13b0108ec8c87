//! Nonces that the gateway need not remember until they are used.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::random;

/// Seconds in which a nonce must come back: challenge and upgrade follow each other on one connection, so that a
/// minute is ample even through a slow proxy, and short enough to keep the set of used ones small.
pub const NONCE_TTL_SECS: i64 = 60;

const RANDOM_LEN: usize = 16;
const EXPIRY_LEN: usize = 8;
const BODY_LEN: usize = RANDOM_LEN + EXPIRY_LEN;
const TAG_LEN: usize = 32;

/// Why a nonce is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// Not made by this process: another gateway, an earlier run, or made up.
    #[error("the nonce was not issued by this gateway process")]
    Foreign,
    /// Its time is over.
    #[error("the nonce has expired")]
    Expired,
}

/// A nonce that this process issued and that has not expired. Whoever accepts it must remember `id` until
/// `expires_at` and refuse it a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce {
    /// The random part.
    pub id: [u8; RANDOM_LEN],
    /// Unix seconds from which on [`NonceIssuer::verify`] refuses it anyway.
    pub expires_at: i64,
}

/// Makes nonces and recognises them, without keeping any: random bytes and an expiry under an HMAC, whose key is
/// random per process.
pub struct NonceIssuer {
    key: hmac::Key,
}

impl fmt::Debug for NonceIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NonceIssuer").finish_non_exhaustive()
    }
}

impl Default for NonceIssuer {
    fn default() -> Self {
        Self::new()
    }
}

impl NonceIssuer {
    /// An issuer with a new key: nonces of any other issuer are foreign to it.
    pub fn new() -> Self {
        let mut key = [0_u8; 32];
        random::fill(&mut key);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        }
    }

    /// A nonce that is good for [`NONCE_TTL_SECS`] from `now` (Unix seconds).
    pub fn issue(&self, now: i64) -> String {
        let mut bytes = [0_u8; BODY_LEN + TAG_LEN];
        random::fill(&mut bytes[..RANDOM_LEN]);
        bytes[RANDOM_LEN..BODY_LEN].copy_from_slice(&now.saturating_add(NONCE_TTL_SECS).to_be_bytes());
        let tag = hmac::sign(&self.key, &bytes[..BODY_LEN]);
        bytes[BODY_LEN..].copy_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether this issuer made `nonce` and it is still good at `now` (Unix seconds).
    pub fn verify(&self, nonce: &str, now: i64) -> Result<Nonce, NonceError> {
        let mut bytes = [0_u8; BODY_LEN + TAG_LEN];
        match URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes) {
            Ok(len) if len == bytes.len() => {}
            _ => return Err(NonceError::Foreign),
        }
        let (body, tag) = bytes.split_at(BODY_LEN);
        hmac::verify(&self.key, body, tag).map_err(|_| NonceError::Foreign)?;
        let (id, expiry) = body.split_at(RANDOM_LEN);
        let expires_at = i64::from_be_bytes(expiry.try_into().expect("eight bytes were split off"));
        if now >= expires_at {
            return Err(NonceError::Expired);
        }
        Ok(Nonce {
            id: id.try_into().expect("sixteen bytes were split off"),
            expires_at,
        })
    }
}
