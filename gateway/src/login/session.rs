//! Sessions: API tokens that a login makes, and that end by themselves.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use kantaloupe_proto::token::{Token, TokenKind};

use super::LoginError;
use crate::{
    app::App,
    people::User,
    store::{ApiTokenKind, NewApiToken, StoreError, logins::ProviderSession},
};

/// Seconds of a session: a working day.
const SESSION_SECS: i64 = 12 * 3600;
/// Sessions of one user; the oldest ends for a new one. Programs that log in for every call use tokens instead.
const MAX_SESSIONS: u32 = 50;
/// Name of the token.
const NAME: &str = "session";

/// Where a request comes from, and with which token.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) source: IpAddr,
    pub(crate) token_id: String,
}

/// A session, as its owner sees it once.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) token: secrecy::SecretString,
    pub(crate) token_id: String,
    pub(crate) user_name: String,
    pub(crate) organization: String,
    pub(crate) expires_at: i64,
}

/// Makes a session, which is good once it is kept.
pub(crate) fn new_session(user: &User, organization: &str, now: i64) -> (Session, Token) {
    let token = Token::generate(TokenKind::Api);
    let session = Session {
        token: token.reveal(),
        token_id: token.id.clone(),
        user_name: user.name.clone(),
        organization: organization.to_owned(),
        expires_at: now + SESSION_SECS,
    };
    (session, token)
}

/// Keeps a session, and ends the oldest ones if there are too many.
pub(crate) async fn keep_session(
    app: &Arc<App>,
    token: Token,
    user_id: String,
    now: i64,
    from_provider: Option<ProviderSession>,
) -> Result<(), StoreError> {
    let inner = Arc::clone(app);
    app.to_the_end(async move {
        let new = NewApiToken {
            token: &token,
            kind: ApiTokenKind::Session,
            user_id: &user_id,
            name: NAME,
            scope: None,
            now,
            expires_at: Some(now + SESSION_SECS),
        };
        let ended = inner
            .store
            .add_session(&new, from_provider.as_ref(), MAX_SESSIONS)
            .await?;
        ended_sessions(&inner, ended);
        Ok(())
    })
    .await
}

/// Ends all sessions of a user but one, and what they opened.
pub(crate) async fn end_sessions(app: &Arc<App>, user_id: &str, but: Option<&str>) -> Result<(), StoreError> {
    let (inner, user_id, but) = (Arc::clone(app), user_id.to_owned(), but.map(str::to_owned));
    app.to_the_end(async move {
        let ended = inner.store.delete_sessions(&user_id, but.as_deref()).await?;
        ended_sessions(&inner, ended);
        Ok(())
    })
    .await
}

fn ended_sessions(app: &App, ids: Vec<String>) {
    if ids.is_empty() {
        return;
    }
    let ids: HashSet<_> = ids.into_iter().collect();
    app.auth.forget(|identity| ids.contains(&identity.token_id));
    app.revocations.send_replace(());
}

/// Ends a session with its streams. What the provider has of it is returned, so that it can be ended there as well.
pub(crate) async fn logout(
    app: &Arc<App>,
    user_id: &str,
    token_id: &str,
    kind: ApiTokenKind,
) -> Result<Option<ProviderSession>, LoginError> {
    if kind != ApiTokenKind::Session {
        return Err(LoginError::Conflict(
            "this token is not a session; delete it with DELETE /api/v1/tokens/<id>",
        ));
    }
    let at_provider = app.store.provider_session(token_id).await?;
    let (inner, user_id, token_id) = (Arc::clone(app), user_id.to_owned(), token_id.to_owned());
    app.to_the_end(async move {
        inner.auth.revoke(&user_id, &token_id).await?;
        inner.revocations.send_replace(());
        Ok::<_, StoreError>(())
    })
    .await?;
    Ok(at_provider)
}
