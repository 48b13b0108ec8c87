//! Public ids.

/// Characters of an id after its prefix.
const CLUSTER_LEN: usize = 8;
const KEY_LEN: usize = 12;
/// Of what people have many of.
const PEOPLE_LEN: usize = 12;
const CLUSTER_PREFIX: &str = "c-";
const KEY_PREFIX: &str = "k-";
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Largest multiple of 36 in a byte: what lies above would make the first characters likelier.
const UNBIASED: u8 = 252;

/// A new cluster id.
pub(crate) fn cluster() -> String {
    random(CLUSTER_PREFIX, CLUSTER_LEN)
}

/// A new key id.
pub(crate) fn key() -> String {
    random(KEY_PREFIX, KEY_LEN)
}

/// A new id of an organisation.
pub(crate) fn organization() -> String {
    random("o-", CLUSTER_LEN)
}

/// A new id of a binding.
pub(crate) fn binding() -> String {
    random("b-", PEOPLE_LEN)
}

/// A new id of a right to act as somebody else.
pub(crate) fn impersonator() -> String {
    random("i-", PEOPLE_LEN)
}

/// Whether a text has the form of a cluster id. Names of this form are refused: ids and names share one place in URLs.
pub(crate) fn looks_like_cluster(text: &str) -> bool {
    text.strip_prefix(CLUSTER_PREFIX)
        .is_some_and(|rest| rest.len() == CLUSTER_LEN && rest.bytes().all(|b| ALPHABET.contains(&b)))
}

/// `prefix` and `len` characters of `[0-9a-z]`, each equally likely.
pub(crate) fn random(prefix: &str, len: usize) -> String {
    let mut text = String::with_capacity(prefix.len() + len);
    text.push_str(prefix);
    let mut bytes = [0_u8; 32];
    while text.len() < prefix.len() + len {
        aws_lc_rs::rand::fill(&mut bytes).expect("the process's cryptographic generator yields bytes");
        let missing = prefix.len() + len - text.len();
        let usable = bytes.iter().filter(|b| **b < UNBIASED).take(missing);
        text.extend(usable.map(|b| char::from(ALPHABET[usize::from(b % 36)])));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_form_and_differ() {
        let (one, two) = (cluster(), cluster());
        assert!(looks_like_cluster(&one), "{one}");
        assert_ne!(one, two);
        assert_eq!(key().len(), KEY_PREFIX.len() + KEY_LEN);
        assert!(!looks_like_cluster("c-prod"));
        assert!(!looks_like_cluster("prod-abcdefgh"));
    }
}
