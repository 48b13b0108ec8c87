//! Paths that every server on the way reads alike.

/// Longest path, in bytes as sent. Names have at most 253 characters; the rest is for paths behind `proxy`.
pub const MAX_PATH_LEN: usize = 8 * 1024;

/// Rounds of decoding after which a path must no longer change: the API server decodes once, a program behind its
/// proxy perhaps once more.
const MAX_DECODINGS: usize = 2;

/// Why a request is refused before anybody asks whether it is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// An HTTP method that the Kubernetes API does not use.
    #[error("the method is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]
    Method,
    /// Empty, or an absolute URI, or anything else that does not start with a slash.
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// Longer than [`MAX_PATH_LEN`].
    #[error("the path is longer than {MAX_PATH_LEN} bytes")]
    TooLong,
    /// A percent sign without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("the path is not correctly percent-encoded")]
    Encoding,
    /// Encoded more than twice.
    #[error("the path is percent-encoded more than twice")]
    Nested,
    /// Two slashes in a row.
    #[error("the path has an empty segment (//)")]
    EmptySegment,
    /// A segment `.` or `..`, in any encoding.
    #[error("the path has a segment that is . or ..")]
    DotSegment,
    /// An encoded slash.
    #[error("the path has an encoded slash (%2f)")]
    EncodedSlash,
    /// A character that some servers give another meaning.
    #[error(
        "the path has a character that is not allowed: backslash, semicolon, control or unencoded character"
    )]
    Character,
    /// `/watch` or `/proxy` without a resource behind it.
    #[error("the path ends before it names a resource")]
    Incomplete,
    /// A credential in the query, which every server on the way writes into its log.
    #[error("the query carries a token: it belongs into the Authorization header")]
    TokenInQuery,
    /// `/watch/...` with a method that does not read.
    #[error("a watch path is for GET only")]
    WatchMethod,
}

/// The path as the API server will see it, decoded once, if there is only one way to read it.
pub(super) fn canonical(path: &str) -> Result<String, PathError> {
    if path.len() > MAX_PATH_LEN {
        return Err(PathError::TooLong);
    }
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    // As sent, only visible ASCII; `?` and `#` end a path.
    if !path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
    {
        return Err(PathError::Character);
    }
    let decoded = decode(path)?;
    let mut previous = path.to_owned();
    let mut current = decoded.clone();
    for _ in 0..MAX_DECODINGS {
        check(&current, slashes(&previous))?;
        let next = decode_leniently(&current);
        if next == current {
            return Ok(decoded);
        }
        previous = std::mem::replace(&mut current, next);
    }
    Err(PathError::Nested)
}

fn slashes(path: &str) -> usize {
    path.bytes().filter(|byte| *byte == b'/').count()
}

/// `expected` is how many slashes there were before decoding: one more came out of an encoding.
fn check(path: &str, expected: usize) -> Result<(), PathError> {
    if path
        .chars()
        .any(|character| character.is_control() || matches!(character, '\\' | ';'))
    {
        return Err(PathError::Character);
    }
    if slashes(path) != expected {
        return Err(PathError::EncodedSlash);
    }
    if path.contains("//") {
        return Err(PathError::EmptySegment);
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(PathError::DotSegment);
    }
    Ok(())
}

/// Percent-decodes once, as the API server does.
pub(super) fn decode(text: &str) -> Result<String, PathError> {
    let (decoded, whole) = decode_bytes(text);
    if !whole {
        return Err(PathError::Encoding);
    }
    String::from_utf8(decoded).map_err(|_| PathError::Encoding)
}

/// Percent-decodes what can be decoded, as a careless program behind the API server's proxy does.
fn decode_leniently(text: &str) -> String {
    String::from_utf8_lossy(&decode_bytes(text).0).into_owned()
}

/// The decoded bytes, and whether every percent sign began a correct encoding; one that did not stays as it is.
fn decode_bytes(text: &str) -> (Vec<u8>, bool) {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut whole = true;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = (
            bytes.get(at + 1).and_then(|byte| digit(*byte)),
            bytes.get(at + 2).and_then(|byte| digit(*byte)),
        );
        if let (b'%', (Some(high), Some(low))) = (byte, digits) {
            decoded.push(high << 4 | low);
            at += 3;
        } else {
            whole &= byte != b'%';
            decoded.push(byte);
            at += 1;
        }
    }
    (decoded, whole)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
