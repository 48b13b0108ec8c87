//! Rules that every row keeps, and that the documentation is generated from these rows.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use kantaloupe_checks::{Check, Code, Lang, Text, all, get, markdown};

fn texts(check: &Check) -> Vec<(&'static str, &Text)> {
    let mut texts = vec![
        ("title", &check.title),
        ("cause", &check.cause),
        ("remedy", &check.remedy),
    ];
    texts.extend(check.name.as_ref().map(|name| ("name", name)));
    texts
}

#[test]
fn codes_are_unique_and_well_formed() {
    let mut seen = HashSet::new();
    for check in all() {
        let code = check.code.as_str();
        assert!(seen.insert(code), "{code} is there twice");
        let parts: Vec<&str> = code.split('-').collect();
        assert_eq!((parts.len(), parts[0]), (3, "KTA"), "{code}");
        assert!(
            parts[1]
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()),
            "{code}"
        );
        assert!(
            parts[2].len() == 3 && parts[2].chars().all(|c| c.is_ascii_digit()),
            "{code}"
        );
        assert_eq!(check.code.area(), parts[1]);
        assert_eq!(get(check.code).code, check.code);
    }
}

#[test]
fn every_text_is_there_in_both_languages() {
    for check in all() {
        for (part, text) in texts(check) {
            let code = check.code;
            assert!(
                text.en.len() > if part == "name" { 3 } else { 10 } && text.en.is_ascii(),
                "{code} {part}: {}",
                text.en
            );
            let chinese = text
                .zh
                .chars()
                .filter(|c| ('\u{4e00}'..='\u{9fff}').contains(c))
                .count();
            // Names of products stay as they are.
            assert!(part == "name" || chinese >= 4, "{code} {part}: {}", text.zh);
            assert!(
                !text.zh.ends_with('.') && !text.zh.contains(", "),
                "{code} {part}: {}",
                text.zh
            );
            for text in [text.en, text.zh] {
                assert!(
                    !text.contains('\n') && text.trim() == text,
                    "{code} {part}: {text}"
                );
            }
            let sentence = text.en.ends_with('.') && text.zh.ends_with('。');
            let words = !text.en.ends_with('.') && !text.zh.ends_with('。');
            assert!(
                if part == "title" || part == "name" {
                    words
                } else {
                    sentence
                },
                "{code} {part}"
            );
        }
    }
}

#[test]
fn a_code_is_read_in_every_form_that_people_type() {
    for text in ["KTA-AUTH-003", "kta-auth-003", "AUTH-003", " auth-003\n"] {
        assert_eq!(text.parse(), Ok(Code::AUTH_003), "{text}");
    }
    for text in ["", "KTA-", "KTA-AUTH-999", "AUTH", "KTA-KTA-AUTH-003"] {
        assert!(text.parse::<Code>().is_err(), "{text}");
    }
    assert_eq!(Code::AUTH_003.to_string(), "KTA-AUTH-003");
}

#[test]
fn a_language_is_read_from_a_locale() {
    for (text, lang) in [
        ("zh", Lang::Zh),
        ("zh_CN.UTF-8", Lang::Zh),
        ("EN", Lang::En),
        ("en-GB", Lang::En),
    ] {
        assert_eq!(text.parse(), Ok(lang), "{text}");
    }
    assert!("fr".parse::<Lang>().is_err() && "".parse::<Lang>().is_err());
}

/// After a change of the rows: `cargo run -p kantaloupe-checks --example generate-docs`.
#[test]
fn the_documentation_is_generated_from_the_rows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/checks");
    for (name, lang) in [("en.md", Lang::En), ("zh.md", Lang::Zh)] {
        let written = fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(
            written,
            markdown::page(lang),
            "{name} is stale: run the example generate-docs"
        );
    }
}
