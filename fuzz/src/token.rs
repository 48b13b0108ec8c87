//! Enrolment and API tokens.

use kantaloupe_proto::token::{TOKEN_LEN, Token, TokenKind};
use secrecy::ExposeSecret as _;

/// A text that is read as a token is exactly what the token reveals, and `Debug` does not show its secret.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    for kind in [TokenKind::Enrollment, TokenKind::Api] {
        let Ok(token) = Token::parse(kind, text) else {
            continue;
        };
        let revealed = token.reveal();
        assert_eq!(
            revealed.expose_secret(),
            text.trim_ascii(),
            "another text was read as this token"
        );
        assert_eq!(revealed.expose_secret().len(), TOKEN_LEN);
        let secret = revealed
            .expose_secret()
            .split('_')
            .nth(2)
            .expect("a token has four parts");
        assert!(!format!("{token:?}").contains(secret), "Debug shows the secret");
        assert!(token.matches_hash(&token.secret_hash()));
    }
}
