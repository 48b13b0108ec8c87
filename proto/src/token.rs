//! Tokens that people copy: `kte_<id>_<secret>_<crc>` enrols one agent, `kta_<id>_<secret>_<crc>` calls the API.
//!
//! The id is public: it finds the record and may be logged. The checksum tells a damaged paste from a wrong token
//! without asking anybody. Whoever stores a token keeps [`Token::secret_hash`] only.

use aws_lc_rs::{constant_time, digest};
use secrecy::{ExposeSecret, SecretString};

use crate::random;

/// Characters of the public id.
pub const ID_LEN: usize = 12;
/// Characters of the secret: 32 of 36 symbols are 165 bits.
pub const SECRET_LEN: usize = 32;
const PREFIX_LEN: usize = 4;
const CRC_LEN: usize = 8;
/// Characters of a whole token.
pub const TOKEN_LEN: usize = PREFIX_LEN + ID_LEN + 1 + SECRET_LEN + 1 + CRC_LEN;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Enrols one agent, once.
    Enrollment,
    /// Calls the gateway's API as a person or a program.
    Api,
}

impl TokenKind {
    /// The first four characters of every token of this kind.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Enrollment => "kte_",
            Self::Api => "kta_",
        }
    }
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing but white space.
    #[error("the token is empty")]
    Empty,
    /// It starts unlike a token of the expected kind: another kind's token, or something else.
    #[error("the token does not start as this kind of token does")]
    Prefix,
    /// Too long, or with characters or separators where they do not belong.
    #[error("the token is not made up as a token is: it has characters that no token has, or too many")]
    Shape,
    /// Shorter than a token: the paste lost its end.
    #[error("the token is too short: its end is missing")]
    Truncated,
    /// The right shape, but the checksum says that a character is wrong.
    #[error("the token's checksum does not match: at least one character is wrong")]
    Checksum,
}

/// A well-formed token. `Debug` shows the kind and the id, never the secret.
#[derive(Debug, Clone)]
pub struct Token {
    /// What it is for.
    pub kind: TokenKind,
    /// The public part, by which its record is found.
    pub id: String,
    secret: SecretString,
}

impl Token {
    /// Makes a new random token.
    pub fn generate(kind: TokenKind) -> Self {
        Self {
            kind,
            id: random::base36::<ID_LEN>(),
            secret: SecretString::from(random::base36::<SECRET_LEN>()),
        }
    }

    /// Reads a token of the given kind; white space around it is ignored, since files end in a newline.
    pub fn parse(kind: TokenKind, text: &str) -> Result<Self, TokenError> {
        let text = text.trim_ascii();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        // A paste that lost its end may have lost part of the prefix as well.
        if !text.starts_with(kind.prefix()) && !kind.prefix().starts_with(text) {
            return Err(TokenError::Prefix);
        }
        if !text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_'))
        {
            return Err(TokenError::Shape);
        }
        if text.len() < TOKEN_LEN {
            return Err(TokenError::Truncated);
        }
        let mut parts = text.split('_').skip(1);
        let (Some(id), Some(secret), Some(crc), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Shape);
        };
        if id.len() != ID_LEN || secret.len() != SECRET_LEN || crc.len() != CRC_LEN {
            return Err(TokenError::Shape);
        }
        let covered = &text[..TOKEN_LEN - CRC_LEN - 1];
        if crc != checksum(covered) {
            return Err(TokenError::Checksum);
        }
        Ok(Self {
            kind,
            id: id.to_owned(),
            secret: SecretString::from(secret),
        })
    }

    /// SHA-256 of the secret part: what a store keeps.
    pub fn secret_hash(&self) -> [u8; 32] {
        let hash = digest::digest(&digest::SHA256, self.secret.expose_secret().as_bytes());
        hash.as_ref().try_into().expect("SHA-256 yields 32 bytes")
    }

    /// Whether `stored` is this token's [`Self::secret_hash`], in constant time.
    pub fn matches_hash(&self, stored: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.secret_hash(), stored).is_ok()
    }

    /// The whole text, as its holder types it.
    pub fn reveal(&self) -> SecretString {
        let covered = format!(
            "{}{}_{}",
            self.kind.prefix(),
            self.id,
            self.secret.expose_secret()
        );
        let crc = checksum(&covered);
        SecretString::from(format!("{covered}_{crc}"))
    }
}

fn checksum(covered: &str) -> String {
    format!("{:08x}", crc32fast::hash(covered.as_bytes()))
}

#[cfg(test)]
mod tests;
