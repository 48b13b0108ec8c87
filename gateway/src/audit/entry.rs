//! One entry of the audit: its members, its canonical form and its hash. No I/O, no clock.
//!
//! The canonical form is the JSON object with its members in the order of [`Entry`], without white space and without
//! those that have no value. The hash is SHA-256 over it, `prev` included; it is then written as the last member:
//!
//! ```text
//! {"seq":7,"at":"2026-01-02T03:04:05.678Z",...,"prev":"<hash of 6>"}            <- what is hashed
//! {"seq":7,"at":"2026-01-02T03:04:05.678Z",...,"prev":"<hash of 6>","hash":"<64 hexadecimal digits>"}
//! ```

use std::{borrow::Cow, fmt, str::FromStr};

use aws_lc_rs::digest::{Context, Digest, SHA256, SHA256_OUTPUT_LEN};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What stands between the canonical form and the hash, and behind it.
const BEFORE_HASH: &[u8] = b",\"hash\":\"";
const AFTER_HASH: &[u8] = b"\"}";
/// Bytes of a line that are not hashed, without the line's end.
const UNHASHED: usize = BEFORE_HASH.len() + 2 * SHA256_OUTPUT_LEN + AFTER_HASH.len();
/// Bytes of one text. Kubernetes' names have at most 253; a longer one is cut, so that an entry has a bound.
const MAX_TEXT: usize = 256;
/// What our tokens begin with. Whoever puts one where a name belongs must not find it in the audit.
const TOKENS: [&str; 2] = ["kta_", "kte_"];

/// SHA-256 of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash([u8; SHA256_OUTPUT_LEN]);

/// What part of a request an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Written before the request leaves.
    Begin,
    /// How it ended; the only entry of a request that was refused.
    End,
    /// Something that is not one request to a cluster: a change through the API, a login, the gateway itself.
    Event,
}

/// Whether it was let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Decision {
    #[default]
    Allow,
    Deny,
}

/// A recording of a terminal session: which one in the entry before it, what became of it in the one after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordingNote<'a> {
    /// Path in the folder of recordings.
    #[serde(borrow)]
    pub(crate) file: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Of the whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<Hash>,
}

/// An entry without its hash. Empty texts are members that are not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    /// Counts up from 1 without a gap.
    pub(crate) seq: u64,
    /// When it was written; milliseconds.
    #[serde(serialize_with = "milliseconds")]
    pub(crate) at: Timestamp,
    /// The request's id, also in the agent's log and the API server's audit log.
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) id: Cow<'a, str>,
    pub(crate) phase: Phase,
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) organization: Cow<'a, str>,
    /// Whom the cluster takes the caller for.
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) user: Cow<'a, str>,
    /// Who it really is, if it is not `user`.
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) actor: Cow<'a, str>,
    /// The public id of the token.
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) token: Cow<'a, str>,
    /// Address of the caller, without port.
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) source: Cow<'a, str>,
    /// The cluster's id.
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) cluster: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) role: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) verb: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) group: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) resource: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) subresource: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) namespace: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) name: Cow<'a, str>,
    /// The path, without the query, of what is no resource.
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) path: Cow<'a, str>,
    pub(crate) decision: Decision,
    /// The HTTP status that the caller got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Why it was refused, or ended early, or what changed.
    #[serde(borrow, default, skip_serializing_if = "empty")]
    pub(crate) reason: Cow<'a, str>,
    /// Bytes of the body, or of the stream, from the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) received: Option<u64>,
    /// Bytes of the body, or of the stream, to the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<u64>,
    /// Duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ms: Option<u64>,
    /// Of a terminal session that is recorded.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) recording: Option<RecordingNote<'a>>,
    /// The hash of the entry before.
    pub(crate) prev: Hash,
}

/// A line that is not what an entry was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Not of an entry's form.
    #[error("it is not an entry")]
    NotAnEntry,
    /// The content does not have the hash that it names.
    #[error("its content was changed: it does not have the hash that it names")]
    Changed,
}

impl Entry<'_> {
    /// An entry with nothing in it.
    pub(crate) fn new(phase: Phase) -> Self {
        Self {
            seq: 0,
            at: Timestamp::UNIX_EPOCH,
            id: Cow::Borrowed(""),
            phase,
            organization: Cow::Borrowed(""),
            user: Cow::Borrowed(""),
            actor: Cow::Borrowed(""),
            token: Cow::Borrowed(""),
            source: Cow::Borrowed(""),
            cluster: Cow::Borrowed(""),
            role: Cow::Borrowed(""),
            verb: Cow::Borrowed(""),
            group: Cow::Borrowed(""),
            resource: Cow::Borrowed(""),
            subresource: Cow::Borrowed(""),
            namespace: Cow::Borrowed(""),
            name: Cow::Borrowed(""),
            path: Cow::Borrowed(""),
            decision: Decision::Allow,
            status: None,
            reason: Cow::Borrowed(""),
            received: None,
            sent: None,
            ms: None,
            recording: None,
            prev: Hash::GENESIS,
        }
    }

    /// Appends the entry with its hash as one line, and says the hash.
    pub(crate) fn seal(&self, to: &mut Vec<u8>) -> Hash {
        let start = to.len();
        serde_json::to_writer(&mut *to, self).expect("texts and numbers always serialize");
        let hash = Hash::of(&[&to[start..]]);
        to.pop(); // the closing brace
        to.extend_from_slice(BEFORE_HASH);
        to.extend_from_slice(&hash.digits());
        to.extend_from_slice(AFTER_HASH);
        to.push(b'\n');
        hash
    }
}

impl<'a> Entry<'a> {
    /// Reads a line (without its end) and checks its own hash.
    pub(crate) fn open(line: &'a [u8]) -> Result<(Self, Hash), Unreadable> {
        let (content, rest) = line
            .len()
            .checked_sub(UNHASHED)
            .and_then(|at| line.split_at_checked(at))
            .ok_or(Unreadable::NotAnEntry)?;
        let named = rest
            .strip_prefix(BEFORE_HASH)
            .and_then(|rest| rest.strip_suffix(AFTER_HASH))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse::<Hash>().ok())
            .ok_or(Unreadable::NotAnEntry)?;
        if Hash::of(&[content, b"}"]) != named {
            return Err(Unreadable::Changed);
        }
        let entry = serde_json::from_slice(line).map_err(|_| Unreadable::NotAnEntry)?;
        Ok((entry, named))
    }
}

/// The number of a line's entry, without looking at the rest.
pub(crate) fn number(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// A text from outside as an entry has it: cut to a length, and without tokens.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    let token = TOKENS.iter().any(|prefix| text.contains(prefix));
    if text.len() <= MAX_TEXT && !token {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = TOKENS.iter().filter_map(|prefix| rest.find(prefix)).min() {
        kept.push_str(&rest[..at]);
        kept.push_str("[token removed]");
        let token = rest[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        rest = token.map_or("", |end| &rest[at + end..]);
    }
    kept.push_str(rest);
    if kept.len() > MAX_TEXT {
        kept.truncate(kept.floor_char_boundary(MAX_TEXT - '…'.len_utf8()));
        kept.push('…');
    }
    Cow::Owned(kept)
}

#[expect(clippy::ptr_arg, reason = "serde passes the field")]
fn empty(text: &Cow<'_, str>) -> bool {
    text.is_empty()
}

fn milliseconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

impl Hash {
    /// What the first entry follows.
    pub(crate) const GENESIS: Self = Self([0; SHA256_OUTPUT_LEN]);

    fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(part);
        }
        Self::from_digest(&context.finish())
    }

    /// A hash that was made piece by piece.
    ///
    /// # Panics
    /// If the digest is not of SHA-256.
    pub(crate) fn from_digest(digest: &Digest) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }

    pub(crate) const fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn digits(self) -> [u8; 2 * SHA256_OUTPUT_LEN] {
        let mut digits = [0; 2 * SHA256_OUTPUT_LEN];
        hex::encode_to_slice(self.0, &mut digits).expect("two digits for each byte");
        digits
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).expect("digits are ASCII"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 hexadecimal digits in lower case")]
pub(crate) struct NotAHash;

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(NotAHash); // one form only
        }
        hex::decode_to_slice(text, &mut hash).map_err(|_| NotAHash)?;
        Ok(Self(hash))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.digits()).expect("digits are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
