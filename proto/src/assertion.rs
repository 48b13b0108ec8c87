//! How an agent proves who it is at each connect: a signed statement in the `Authorization` header.
//!
//! `Kantaloupe <base64url(claims)>.<base64url(signature)>`, where the Ed25519 signature is over
//! `kantaloupe-connect-v1`, a zero byte and the claims' JSON bytes as sent. It works behind balancers that end TLS.
//! The nonce in it comes from the gateway, so that a copied header is worth nothing.

use aws_lc_rs::signature::{self, Ed25519KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

pub use nonce::{NONCE_TTL_SECS, Nonce, NonceError, NonceIssuer};

mod nonce;

/// Largest difference between the clocks of agent and gateway, in seconds, at which a connect is let in.
pub const MAX_CLOCK_SKEW_SECS: i64 = 300;

/// Longest header value that is looked at, in bytes.
pub const MAX_HEADER_LEN: usize = 4096;

/// The scheme in the `Authorization` header.
pub const SCHEME: &str = "Kantaloupe";

/// Keeps this signature from being valid for any other purpose of the same key.
const CONTEXT: &[u8] = b"kantaloupe-connect-v1\0";

const SIGNATURE_LEN: usize = 64;

/// Which of a tunnel's two sessions a link carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionKind {
    /// Small and always there: the gRPC services.
    Control,
    /// Requests to the API server, with large windows.
    Data,
}

/// What the agent states when it connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claims {
    /// Id of the key that signs, given at enrolment.
    pub key_id: String,
    /// The cluster that the agent speaks for.
    pub cluster_id: String,
    /// UID of the `kube-system` namespace, read at this start of the agent.
    pub cluster_uid: String,
    /// The gateway that this is meant for, as named at enrolment.
    pub audience: String,
    /// The challenge's nonce.
    pub nonce: String,
    /// The agent's clock, Unix seconds.
    pub issued_at: i64,
    /// One UUID per connect attempt, the same for its two sessions and for their resumed carriers.
    pub tunnel_id: String,
    /// Which session this carrier is for.
    pub session: SessionKind,
    /// The agent's pod name.
    pub instance: String,
}

/// Why a header is not a valid assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Longer than [`MAX_HEADER_LEN`].
    #[error("the assertion is longer than {MAX_HEADER_LEN} bytes")]
    TooLong,
    /// Another scheme than [`SCHEME`].
    #[error("the authorization scheme is not {SCHEME}")]
    Scheme,
    /// Not two base64url parts with a point between them.
    #[error("the assertion is not two base64url parts")]
    Encoding,
    /// The claims are not the JSON object that they must be.
    #[error("the assertion's claims cannot be read")]
    Claims,
    /// Not signed by this key, or altered since.
    #[error("the assertion's signature is not valid for this key")]
    Signature,
}

/// The value of the `Authorization` header for these claims.
pub fn sign(claims: &Claims, key: &Ed25519KeyPair) -> String {
    let json = serde_json::to_vec(claims).expect("strings and integers always serialize");
    let signature = key.sign(&signed_bytes(&json));
    format!(
        "{SCHEME} {}.{}",
        URL_SAFE_NO_PAD.encode(&json),
        URL_SAFE_NO_PAD.encode(signature.as_ref())
    )
}

fn signed_bytes(json: &[u8]) -> Vec<u8> {
    [CONTEXT, json].concat()
}

/// A header that reads as an assertion but whose signature nobody has checked yet.
///
/// It yields the key's id, with which the public key is found, and nothing else.
#[derive(Debug)]
pub struct Unverified {
    claims: Claims,
    json: Vec<u8>,
    signature: [u8; SIGNATURE_LEN],
}

impl Unverified {
    /// Reads the value of an `Authorization` header.
    pub fn parse(header: &str) -> Result<Self, AssertionError> {
        if header.len() > MAX_HEADER_LEN {
            return Err(AssertionError::TooLong);
        }
        let (scheme, credentials) = header.split_once(' ').ok_or(AssertionError::Scheme)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(AssertionError::Scheme);
        }
        let (claims, signature) = credentials.split_once('.').ok_or(AssertionError::Encoding)?;
        let json = decode(claims)?;
        let signature = decode(signature)?
            .try_into()
            .map_err(|_| AssertionError::Encoding)?;
        let claims = serde_json::from_slice(&json).map_err(|_| AssertionError::Claims)?;
        Ok(Self {
            claims,
            json,
            signature,
        })
    }

    /// The key that the sender says it signed with.
    pub fn key_id(&self) -> &str {
        &self.claims.key_id
    }

    /// The claims, if `public_key` (raw Ed25519) signed them.
    ///
    /// Audience, nonce, time and cluster are the caller's to compare.
    pub fn verify(self, public_key: &[u8; 32]) -> Result<Claims, AssertionError> {
        UnparsedPublicKey::new(&signature::ED25519, public_key)
            .verify(&signed_bytes(&self.json), &self.signature)
            .map_err(|_| AssertionError::Signature)?;
        Ok(self.claims)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, AssertionError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| AssertionError::Encoding)
}

#[cfg(test)]
mod tests;
