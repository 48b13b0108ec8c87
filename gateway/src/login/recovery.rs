//! Recovery codes: what lets somebody in who lost the phone. Each is good once. No I/O.

use aws_lc_rs::digest;
use secrecy::{ExposeSecret as _, SecretString};

use crate::ids;

/// Codes in a set.
pub(crate) const COUNT: usize = 10;
/// Characters of a code: 16 of 36 symbols are 82 bits, so a plain hash is enough to keep it.
const LEN: usize = 16;
const GROUP: usize = 4;

/// A new set.
pub(crate) fn generate() -> Vec<SecretString> {
    let code = || {
        let text = ids::random("", LEN);
        let groups: Vec<_> = (0..LEN).step_by(GROUP).map(|at| &text[at..at + GROUP]).collect();
        SecretString::from(groups.join("-"))
    };
    std::iter::repeat_with(code).take(COUNT).collect()
}

/// What is kept of a code; `None` if it cannot be one. People leave out hyphens and type capitals.
pub(crate) fn hash(code: &SecretString) -> Option<[u8; 32]> {
    let text = code.expose_secret();
    if text.len() > 2 * LEN {
        return None;
    }
    let text: String = text
        .chars()
        .filter(|c| !matches!(c, '-' | ' '))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if text.len() != LEN || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    digest::digest(&digest::SHA256, text.as_bytes())
        .as_ref()
        .try_into()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_differ_and_are_known_again_however_they_are_typed() {
        let codes = generate();
        let hashes: std::collections::HashSet<_> = codes.iter().map(|code| hash(code).unwrap()).collect();
        assert_eq!(hashes.len(), COUNT);
        let text = codes[0].expose_secret();
        assert_eq!(text.len(), 19);
        for typed in [text.to_uppercase(), text.replace('-', ""), text.replace('-', " ")] {
            assert_eq!(hash(&typed.into()), hash(&codes[0]));
        }
        for bad in [
            "",
            "abcd",
            "abcd-efgh-ijkl-mno",
            "abcd-efgh-ijkl-mnoé",
            &"a".repeat(5000),
        ] {
            assert_eq!(hash(&SecretString::from(bad)), None, "{bad:?}");
        }
    }
}
