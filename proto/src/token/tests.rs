use proptest::prelude::*;

use super::*;

/// Made by another program from the documented format, so that a change of it is seen.
const KNOWN: &str = "kte_0123456789ab_abcdefghijklmnopqrstuvwxyz012345_CRC";

fn known() -> String {
    let covered = KNOWN.strip_suffix("_CRC").unwrap();
    // CRC-32 (IEEE), bit by bit.
    let mut crc = u32::MAX;
    for byte in covered.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    format!("{covered}_{:08x}", !crc)
}

#[test]
fn the_documented_format_is_read() {
    let token = Token::parse(TokenKind::Enrollment, &known()).unwrap();
    assert_eq!(token.id, "0123456789ab");
    let expected = digest::digest(&digest::SHA256, b"abcdefghijklmnopqrstuvwxyz012345");
    assert_eq!(token.secret_hash(), expected.as_ref());
    assert_eq!(token.reveal().expose_secret(), known());
}

#[test]
fn white_space_around_it_is_ignored() {
    Token::parse(TokenKind::Enrollment, &format!("  {}\r\n", known())).unwrap();
}

#[test]
fn each_kind_of_damage_has_its_own_name() {
    let good = known();
    let wrong_last = if good.ends_with('0') { "1" } else { "0" };
    let table = [
        (String::new(), TokenError::Empty),
        (" \n\t".to_owned(), TokenError::Empty),
        (good.replacen("kte_", "kta_", 1), TokenError::Prefix),
        ("glpat-abcdef".to_owned(), TokenError::Prefix),
        ("https://gw.example.com".to_owned(), TokenError::Prefix),
        ("kt".to_owned(), TokenError::Truncated),
        ("kte_".to_owned(), TokenError::Truncated),
        (good[..TOKEN_LEN - 1].to_owned(), TokenError::Truncated),
        (format!("{good}0"), TokenError::Shape),
        (format!("{good}_more"), TokenError::Shape),
        (good.to_uppercase().replacen("KTE_", "kte_", 1), TokenError::Shape),
        (good.replacen('5', "é", 1), TokenError::Shape),
        (good.replacen("89ab_a", "89a_ba", 1), TokenError::Shape),
        (good.replacen("012345_", "0123456", 1), TokenError::Shape),
        (good.replacen("abcdef", "abcdeg", 1), TokenError::Checksum),
        (
            good[..TOKEN_LEN - 1].to_owned() + wrong_last,
            TokenError::Checksum,
        ),
    ];
    for (text, expected) in table {
        assert_eq!(
            Token::parse(TokenKind::Enrollment, &text).unwrap_err(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn debug_output_hides_the_secret() {
    let token = Token::parse(TokenKind::Enrollment, &known()).unwrap();
    let text = format!("{token:?} {:?}", token.reveal());
    assert!(
        text.contains("0123456789ab") && !text.contains("abcdefgh"),
        "{text}"
    );
}

#[test]
fn the_hash_of_another_secret_does_not_match() {
    let token = Token::generate(TokenKind::Api);
    assert!(token.matches_hash(&token.secret_hash()));
    assert!(!token.matches_hash(&Token::generate(TokenKind::Api).secret_hash()));
    assert!(!token.matches_hash(&[]) && !token.matches_hash(&token.secret_hash()[..31]));
}

#[test]
fn all_36_characters_come_up_about_equally_often() {
    let mut counts = [0_u32; 128];
    let rounds = 2_000;
    for _ in 0..rounds {
        for byte in Token::generate(TokenKind::Api).secret.expose_secret().bytes() {
            counts[usize::from(byte)] += 1;
        }
    }
    // 64,000 draws: 1,778 expected of each, standard deviation 42. Without the rejection the first four
    // would come up 14% more often (6 deviations).
    for symbol in (b'0'..=b'9').chain(b'a'..=b'z') {
        let count = counts[usize::from(symbol)];
        assert!(
            (1_560..=1_990).contains(&count),
            "{} came up {count} times",
            char::from(symbol)
        );
    }
    assert_eq!(counts.iter().sum::<u32>(), rounds * 32);
}

fn kind() -> impl Strategy<Value = TokenKind> {
    prop_oneof![Just(TokenKind::Enrollment), Just(TokenKind::Api)]
}

proptest! {
    #[test]
    fn what_is_generated_is_read_back(kind in kind()) {
        let token = Token::generate(kind);
        let text = token.reveal();
        prop_assert_eq!(text.expose_secret().len(), TOKEN_LEN);
        let back = Token::parse(kind, text.expose_secret()).unwrap();
        prop_assert_eq!(&back.id, &token.id);
        prop_assert_eq!(back.secret_hash(), token.secret_hash());
    }

    #[test]
    fn one_wrong_character_is_always_noticed(kind in kind(), at in 0..TOKEN_LEN, wrong in any::<char>()) {
        let text = Token::generate(kind).reveal();
        let mut characters: Vec<char> = text.expose_secret().chars().collect();
        prop_assume!(characters[at] != wrong);
        // White space at an end is cut off and leaves a token that is too short: noticed as well.
        characters[at] = wrong;
        let damaged: String = characters.into_iter().collect();
        prop_assert!(Token::parse(kind, &damaged).is_err(), "{}", damaged);
    }

    #[test]
    fn a_lost_end_is_called_truncated(kind in kind(), len in 1..TOKEN_LEN) {
        let text = Token::generate(kind).reveal();
        prop_assert_eq!(Token::parse(kind, &text.expose_secret()[..len]).unwrap_err(), TokenError::Truncated);
    }

    #[test]
    fn two_characters_swapped_are_noticed(kind in kind(), at in 0..TOKEN_LEN - 1) {
        let text = Token::generate(kind).reveal();
        let mut bytes = text.expose_secret().as_bytes().to_vec();
        prop_assume!(bytes[at] != bytes[at + 1]);
        bytes.swap(at, at + 1);
        let damaged = String::from_utf8(bytes).unwrap();
        prop_assert!(Token::parse(kind, &damaged).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = Token::parse(TokenKind::Enrollment, &text);
        let _ = Token::parse(TokenKind::Api, &format!("kta_{text}"));
    }
}
