//! Asks the provider about open sessions again and again: who was put out of a group there loses its rights here, and
//! who is nobody there any more loses the session, without waiting for the next login.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    OidcError,
    admit::{AdmitError, set_groups},
};
use crate::{
    app::App,
    audit,
    login::{self, seal::Purpose},
    store::{ApiTokenKind, logins::ProviderSession},
};

/// How often it is looked for sessions whose time has come.
const TICK: Duration = Duration::from_secs(10);
/// Sessions that are asked about at once: a provider sees no burst.
const AT_ONCE: usize = 8;
/// Sessions read from the store at once.
const BATCH: u32 = 64;

/// Runs until told to stop.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    let Some(oidc) = &app.logins.oidc else {
        return;
    };
    let every = oidc.provider.config.refresh;
    let mut ticks = interval(every.min(TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = check_due(&app, every) => {}
        }
    }
}

async fn check_due(app: &Arc<App>, every: Duration) {
    let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX).max(1);
    loop {
        let now = App::now();
        let due = match app
            .store
            .sessions_to_check(now.saturating_sub(every), now, BATCH)
            .await
        {
            Ok(due) => due,
            Err(error) => return tracing::error!(%error, "sessions cannot be read"),
        };
        let more = due.len() == BATCH as usize;
        futures::stream::iter(due)
            .for_each_concurrent(AT_ONCE, |session| async move {
                // Said where it failed.
                let _ = refresh_one(app, &session, now).await;
            })
            .await;
        if !more {
            return;
        }
    }
}

/// Asks about one session; it is over if the provider says so.
pub(crate) async fn refresh_one(
    app: &Arc<App>,
    session: &ProviderSession,
    now: i64,
) -> Result<(), AdmitError> {
    let asked = ask(app, session, now).await;
    match &asked {
        Ok(()) => {}
        Err(AdmitError::Oidc(error @ (OidcError::Refused(_) | OidcError::Name(_)))) => {
            tracing::info!(token = session.token_id, why = %error, "session ended: the provider does not know it any more");
            ended(app, session, &error.to_string());
            let ended = login::logout(app, &session.user_id, &session.token_id, ApiTokenKind::Session).await;
            if let Err(error) = ended {
                tracing::error!(%error, token = session.token_id, "a session could not be ended");
            }
        }
        Err(error) => {
            // The provider's fault: the session goes on, and the next turn is at the usual time.
            tracing::warn!(token = session.token_id, %error, "a session could not be checked at the provider");
            if let Err(error) = app.store.session_checked(&session.token_id, None, now).await {
                tracing::error!(%error, "a session's check cannot be stored");
            }
        }
    }
    asked
}

/// Says so in the audit. It ends also if that cannot be written.
pub(super) fn ended(app: &App, session: &ProviderSession, why: &str) {
    let people = app.people.current();
    let Some(user) = people.user(&session.user_id) else {
        return;
    };
    let organization = people.organization(&user.organization_id);
    let event = audit::Event {
        organization: organization.map_or("", |organization| organization.name.as_str()),
        user: &user.name,
        token: &session.token_id,
        verb: "logout",
        resource: "sessions",
        reason: why,
        ..audit::Event::default()
    };
    // It says itself what is wrong.
    let _ = audit::record(app, &event);
}

async fn ask(app: &Arc<App>, session: &ProviderSession, now: i64) -> Result<(), AdmitError> {
    let oidc = super::of(app)?;
    // Another provider was set up since: it cannot answer for this one's people.
    if session.issuer != oidc.provider.config.issuer {
        return Err(OidcError::Refused("the session is of another provider".to_owned()).into());
    }
    let token = refresh_token(app, session)
        .ok_or_else(|| OidcError::Refused("its refresh token cannot be read (login.key)".to_owned()))?;
    let tokens = oidc.provider.refresh(&token).await?;
    let person = oidc
        .provider
        .person(tokens, None, Some(&session.subject), now)
        .await?;
    let sealed = person.refresh_token.as_ref().map(|token| {
        let plain = token.expose_secret().as_bytes();
        app.logins
            .seals
            .seal(Purpose::RefreshToken, &session.token_id, plain)
    });
    app.store
        .session_checked(&session.token_id, sealed.as_deref(), now)
        .await?;
    set_groups(app, &session.user_id, &person.groups).await
}

/// Gives the refresh token of a session that has ended back to the provider.
pub(crate) fn give_back(app: &Arc<App>, session: &ProviderSession) {
    let Some(token) = refresh_token(app, session) else {
        return;
    };
    let inner = Arc::clone(app);
    let task = async move {
        if let Some(oidc) = &inner.logins.oidc
            && let Err(error) = oidc.provider.revoke(&token).await
        {
            // It ends by itself some day; the session here has ended already.
            tracing::warn!(%error, "the provider did not take a refresh token back");
        }
    };
    app.user_tasks.spawn(task.in_current_span());
}

fn refresh_token(app: &App, session: &ProviderSession) -> Option<SecretString> {
    let plain = app.logins.seals.unseal(
        Purpose::RefreshToken,
        &session.token_id,
        session.refresh_token.as_ref()?,
    )?;
    String::from_utf8(plain).ok().map(SecretString::from)
}
