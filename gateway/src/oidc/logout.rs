//! The provider says that somebody has logged out there (OpenID Connect Back-Channel Logout 1.0): his sessions here are over.

use std::sync::Arc;

use secrecy::SecretString;

use super::{
    OidcError,
    admit::AdmitError,
    claims::LogoutToken,
    refresh::{ended, give_back},
};
use crate::app::App;

/// What the audit has of it.
const WHY: &str = "the provider has ended the session";

/// Ends the sessions that a logout token names; how many. The token is good once.
pub(crate) async fn logout_by_provider(
    app: &Arc<App>,
    token: &SecretString,
    now: i64,
) -> Result<usize, AdmitError> {
    let oidc = super::of(app)?;
    let LogoutToken {
        subject,
        session,
        id,
        until,
    } = oidc.provider.logout(token, now).await?;
    if !oidc.used.first(&id, until, now) {
        return Err(OidcError::Login("this logout token was used already").into());
    }
    let issuer = &oidc.provider.config.issuer;
    let sessions = app
        .store
        .sessions_of(issuer, subject.as_deref(), session.as_deref())
        .await?;
    let (mut count, mut failed) = (0, None);
    for session in sessions {
        let (inner, user, token_id) = (Arc::clone(app), session.user_id.clone(), session.token_id.clone());
        let gone = app.to_the_end(async move {
            let gone = inner.auth.revoke(&user, &token_id).await;
            inner.revocations.send_replace(());
            gone
        });
        match gone.await {
            Ok(true) => {
                ended(app, &session, WHY);
                give_back(app, &session);
                app.logins.metrics.ended_by_provider.inc();
                count += 1;
            }
            Ok(false) => {}
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        // In memory they are over all the same; the provider may want to know.
        Some(error) => Err(error.into()),
        None => Ok(count),
    }
}
