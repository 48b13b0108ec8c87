//! Signed tokens of a provider (JWS compact serialization, RFC 7515) and the keys that sign them (JWK, RFC 7517).
//! No I/O, no clock.
//!
//! Only what an OIDC provider signs ID tokens with is known here: asymmetric algorithms. There is no `none` and no
//! `HS256` to be talked into, and a key is used with an algorithm of its own kind only.

use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

/// Longest token. Those with hundreds of groups have some 20 KiB.
pub(crate) const MAX_TOKEN: usize = 64 << 10;
/// Keys of one provider; the largest have about ten.
const MAX_KEYS: usize = 100;
/// Characters of a key's name.
const MAX_KID: usize = 256;

/// An algorithm (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alg {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Alg {
    fn of(name: &Value) -> Option<Self> {
        Some(match name.as_str()? {
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "PS256" => Self::PS256,
            "PS384" => Self::PS384,
            "PS512" => Self::PS512,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            "EdDSA" | "Ed25519" => Self::EdDSA,
            _ => return None,
        })
    }
}

/// Why a token is not what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwsError {
    /// Too long.
    #[error("the token is longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// Not three parts of base64url with a JSON object in the first.
    #[error("the token is no signed JSON web token")]
    Form,
    /// `none`, `HS256` or one that nobody knows.
    #[error("the token is signed with an algorithm that is not accepted")]
    Algorithm,
    /// A token in a token, or a compressed one.
    #[error("the token holds something else than claims")]
    Nested,
    /// `crit` names what must be understood (RFC 7515, section 4.1.11).
    #[error("the token needs an extension that is not known")]
    Critical,
    /// An access or logout token, say.
    #[error("the token is of another kind")]
    Kind,
    /// No key with this name.
    #[error("the token is signed with a key that the provider does not publish")]
    UnknownKey,
    /// Several keys, and the token names none.
    #[error("the token does not say which of the provider's keys signed it")]
    AmbiguousKey,
    /// The key is for something else.
    #[error("the key that the token names is not for signatures of this kind")]
    WrongKey,
    /// Somebody else signed it, or it was changed.
    #[error("the token's signature is wrong")]
    Signature,
}

/// What the head of a token may say. `jku`, `jwk` and `x5u` are not read: keys come from the provider's address only.
#[derive(Debug, Deserialize)]
struct Head {
    alg: Value,
    kid: Option<String>,
    typ: Option<String>,
    cty: Option<String>,
    zip: Option<Value>,
    crit: Option<Value>,
}

/// A token that was taken apart. Nothing in it is to be believed before [`Token::verify`].
#[derive(Debug)]
pub(crate) struct Token<'a> {
    alg: Alg,
    kid: Option<String>,
    signed: &'a str,
    signature: Vec<u8>,
    payload: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Takes a token of one of these kinds (`typ`, without `application/`) apart. Without a kind in it, it is an ID
    /// token.
    pub(crate) fn parse(text: &'a str, kind: &str) -> Result<Self, JwsError> {
        if text.len() > MAX_TOKEN {
            return Err(JwsError::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JwsError::Form)?;
        let (head, payload) = signed.split_once('.').ok_or(JwsError::Form)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Form);
        // Five parts would be an encrypted token; a dot is no character of base64url.
        let (head, payload, signature) = (decode(head)?, decode(payload)?, decode(signature)?);
        let head: Head = serde_json::from_slice(&head).map_err(|_| JwsError::Form)?;
        let alg = Alg::of(&head.alg).ok_or(JwsError::Algorithm)?;
        if head.crit.is_some() {
            return Err(JwsError::Critical);
        }
        if head.cty.is_some() || head.zip.is_some() {
            return Err(JwsError::Nested);
        }
        let typ = head.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
        if typ.strip_prefix("application/").unwrap_or(&typ) != kind.to_ascii_lowercase() {
            return Err(JwsError::Kind);
        }
        if head.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(JwsError::UnknownKey);
        }
        Ok(Self {
            alg,
            kid: head.kid,
            signed,
            signature,
            payload,
        })
    }

    /// The claims, if one of these keys signed them.
    pub(crate) fn verify(self, keys: &Keys) -> Result<Vec<u8>, JwsError> {
        keys.find(self.kid.as_deref(), self.alg)?.verify(
            self.alg,
            self.signed.as_bytes(),
            &self.signature,
        )?;
        Ok(self.payload)
    }
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A public key.
#[derive(Debug)]
struct Key {
    kid: Option<String>,
    /// The only algorithm it is for, if the provider says so.
    alg: Option<Alg>,
    material: Material,
}

impl Key {
    fn fits(&self, alg: Alg) -> bool {
        let kind = match self.material {
            Material::Rsa { .. } => matches!(
                alg,
                Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::PS256 | Alg::PS384 | Alg::PS512
            ),
            Material::P256(_) => alg == Alg::ES256,
            Material::P384(_) => alg == Alg::ES384,
            Material::Ed25519(_) => alg == Alg::EdDSA,
        };
        kind && self.alg.is_none_or(|only| only == alg)
    }

    /// For an algorithm that fits.
    fn verify(&self, alg: Alg, message: &[u8], signature: &[u8]) -> Result<(), JwsError> {
        let plain = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature)
        };
        let verified = match &self.material {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(rsa(alg), message, signature),
            Material::P256(point) => plain(&ECDSA_P256_SHA256_FIXED, point),
            Material::P384(point) => plain(&ECDSA_P384_SHA384_FIXED, point),
            Material::Ed25519(key) => plain(&ED25519, key),
        };
        verified.map_err(|_| JwsError::Signature)
    }
}

/// All of these refuse keys below 2,048 bits.
fn rsa(alg: Alg) -> &'static RsaParameters {
    match alg {
        Alg::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Alg::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Alg::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Alg::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Alg::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        // The others do not fit a key of RSA, which was checked before.
        Alg::RS256 | Alg::ES256 | Alg::ES384 | Alg::EdDSA => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}

/// The keys that a provider publishes (`jwks_uri`).
#[derive(Debug, Default)]
pub(crate) struct Keys(Vec<Key>);

#[derive(Deserialize)]
struct KeySetJson {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct KeyJson {
    kty: String,
    kid: Option<String>,
    alg: Option<Value>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads a key set. Keys of kinds that are not known, or for encryption, are left out, as RFC 7517 (section 5)
    /// asks; `None` if it is no key set or has more keys than anybody has.
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        let set: KeySetJson = serde_json::from_slice(json).ok()?;
        if set.keys.len() > MAX_KEYS {
            return None;
        }
        Some(Self(set.keys.into_iter().filter_map(key).collect()))
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, kid: Option<&str>, alg: Alg) -> Result<&Key, JwsError> {
        let named = |key: &&Key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let mut fitting = self.0.iter().filter(named).filter(|key| key.fits(alg));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(JwsError::AmbiguousKey),
            (None, _) if kid.is_some() && self.0.iter().any(|key| named(&key)) => Err(JwsError::WrongKey),
            (None, _) => Err(JwsError::UnknownKey),
        }
    }
}

fn key(value: Value) -> Option<Key> {
    /// First byte of an uncompressed point (SEC 1, section 2.3.3).
    const UNCOMPRESSED: u8 = 4;
    let json: KeyJson = serde_json::from_value(value).ok()?;
    if json.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let alg = match json.alg {
        Some(alg) => Some(Alg::of(&alg)?),
        None => None,
    };
    let decode = |field: Option<String>| URL_SAFE_NO_PAD.decode(field?).ok();
    let point = |size: usize| {
        let (x, y) = (decode(json.x.clone())?, decode(json.y.clone())?);
        (x.len() == size && y.len() == size).then(|| [&[UNCOMPRESSED], x.as_slice(), y.as_slice()].concat())
    };
    let material = match (json.kty.as_str(), json.crv.as_deref()) {
        ("RSA", _) => Material::Rsa {
            n: decode(json.n)?,
            e: decode(json.e)?,
        },
        ("EC", Some("P-256")) => Material::P256(point(32)?),
        ("EC", Some("P-384")) => Material::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(decode(json.x)?),
        _ => return None,
    };
    Some(Key {
        kid: json.kid,
        alg,
        material,
    })
}
