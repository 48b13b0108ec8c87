//! The body of an enrolment, which anybody may send.

use kantaloupe_proto::{
    agent_api::EnrollRequest,
    token::{Token, TokenKind},
};
use secrecy::ExposeSecret;

/// What is read shows no token, and a key that is read has its length.
pub fn run(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<EnrollRequest>(data) else {
        return;
    };
    let shown = format!("{request:?}");
    let text = request.token.expose_secret();
    if Token::parse(TokenKind::Enrollment, text).is_ok() {
        assert!(!shown.contains(text), "the token shows");
    }
}
