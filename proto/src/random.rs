//! Randomness for tokens and nonces.

/// Fills `buffer` from the system's cryptographic generator.
pub(crate) fn fill(buffer: &mut [u8]) {
    aws_lc_rs::rand::fill(buffer).expect("the process's cryptographic generator yields bytes");
}

/// `N` characters of `[0-9a-z]`, each equally likely.
pub(crate) fn base36<const N: usize>() -> String {
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // 252 is the largest multiple of 36 in a byte: what lies above it would make the first characters likelier.
    const UNBIASED: u8 = 252;
    let mut text = String::with_capacity(N);
    let mut bytes = [0_u8; 64];
    while text.len() < N {
        fill(&mut bytes);
        let usable = bytes.iter().filter(|byte| **byte < UNBIASED);
        text.extend(
            usable
                .take(N - text.len())
                .map(|byte| char::from(ALPHABET[usize::from(byte % 36)])),
        );
    }
    text
}
