//! Codes of authenticator apps: TOTP (RFC 6238) in the one form that all apps take: SHA-1, 6 digits, 30 seconds.
//! No I/O, no clock.

use aws_lc_rs::{constant_time, hmac};
use secrecy::{ExposeSecret as _, SecretString};

/// Seconds that a code lasts.
const STEP_SECS: i64 = 30;
/// Steps before and after the present one whose codes are taken: clocks of phones are a little off, and people type.
const SKEW: i64 = 1;
/// Bytes of a secret: the length of a SHA-1 hash, as RFC 4226 (section 4) recommends.
pub(crate) const SECRET_LEN: usize = 20;
/// Digits of a code.
const DIGITS: usize = 6;
const MODULUS: u32 = 1_000_000;

/// A new secret.
pub(crate) fn generate() -> [u8; SECRET_LEN] {
    let mut secret = [0; SECRET_LEN];
    aws_lc_rs::rand::fill(&mut secret).expect("the process's cryptographic generator yields bytes");
    secret
}

/// The step that this code is of, if it is good at `now` (Unix seconds) and of a later step than `used`, the last one
/// that was taken: a code that somebody saw is good for nothing any more once its owner has used it.
pub(crate) fn verify(secret: &[u8], code: &str, now: i64, used: Option<i64>) -> Option<i64> {
    let code: String = code.chars().filter(|c| *c != ' ').collect();
    let present = now.div_euclid(STEP_SECS);
    let mut found = None;
    // All are compared, so that the time does not tell which.
    for step in present - SKEW..=present + SKEW {
        let expected = code_of(secret, step);
        let equal = constant_time::verify_slices_are_equal(expected.as_bytes(), code.as_bytes()).is_ok();
        if equal && used.is_none_or(|used| step > used) {
            found = Some(step);
        }
    }
    found
}

/// The code of a step (RFC 4226, section 5.3).
pub(crate) fn code_of(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let hash = tag.as_ref();
    let at = usize::from(hash[hash.len() - 1] & 0xf);
    let word = u32::from_be_bytes([hash[at] & 0x7f, hash[at + 1], hash[at + 2], hash[at + 3]]);
    format!("{:0DIGITS$}", word % MODULUS)
}

/// The secret as people type it into an app.
pub(crate) fn base32(secret: &[u8]) -> SecretString {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(secret.len().div_ceil(5) * 8);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in secret {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(char::from(ALPHABET[(bits >> held & 31) as usize]));
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        text.push(char::from(ALPHABET[(bits << (5 - held) & 31) as usize]));
    }
    text.into()
}

/// What an app reads from a QR code (the format is Google Authenticator's "Key URI").
pub(crate) fn uri(user: &str, secret: &[u8]) -> SecretString {
    let user: String = url::form_urlencoded::byte_serialize(user.as_bytes()).collect();
    let secret = base32(secret);
    format!(
        "otpauth://totp/Kantaloupe:{user}?secret={}&issuer=Kantaloupe",
        secret.expose_secret()
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, SHA-1; the table has 8 digits, of which 6 are ours.
    const RFC_SECRET: &[u8] = b"12345678901234567890";

    #[test]
    fn the_codes_of_the_rfc() {
        for (now, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_of(RFC_SECRET, now / STEP_SECS), code);
            assert_eq!(verify(RFC_SECRET, code, now, None), Some(now / STEP_SECS));
        }
    }

    #[test]
    fn a_code_is_good_for_its_step_and_the_neighbours_and_once() {
        let secret = generate();
        let (now, step) = (1_790_000_010, 1_790_000_010 / STEP_SECS);
        let code = code_of(&secret, step);
        for (offset, good) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            assert_eq!(
                verify(&secret, &code, now + offset * STEP_SECS, None).is_some(),
                good,
                "{offset}"
            );
        }
        assert_eq!(verify(&secret, &code, now, Some(step)), None, "used");
        assert_eq!(
            verify(&secret, &code, now, Some(step + 1)),
            None,
            "older than one that was used"
        );
        let next = code_of(&secret, step + 1);
        assert_eq!(verify(&secret, &next, now, Some(step)), Some(step + 1));
        let spaced = format!("{} {}", &code[..3], &code[3..]);
        assert_eq!(verify(&secret, &spaced, now, None), Some(step));
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let secret = generate();
        let code = code_of(&secret, 0);
        for bad in [
            "",
            "0",
            "1234567",
            "１２３４５６",
            "-00001",
            &code[1..],
            &format!("{code}0"),
        ] {
            assert_eq!(verify(&secret, bad, 0, None), None, "{bad:?}");
        }
    }

    #[test]
    fn base32_as_in_rfc_4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(plain.as_bytes()).expose_secret(), text);
        }
        let uri = uri("a@b", RFC_SECRET);
        assert_eq!(
            uri.expose_secret(),
            "otpauth://totp/Kantaloupe:a%40b?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Kantaloupe"
        );
    }
}
