//! From a person at the provider to a user here.
//!
//! A person is known again by issuer and subject, and by nothing else: a name or an e-mail address that equals a local
//! user's is a reason to refuse, never to hand the account over.

use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::{OidcError, provider::Person};
use crate::{
    app::App,
    login::{Session, keep_session, new_session, seal::Purpose},
    people::{self, ChangeError, User, check_name},
    problem::ApiError,
    store::{StoreError, logins::ProviderSession, people::UserRow},
};

/// Why a person got no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmitError {
    /// Something about the person, or the provider.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AdmitError> for ApiError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Oidc(error) => error.into(),
            AdmitError::Store(error) => error.into(),
        }
    }
}

/// Lets a person in: makes or finds the user, brings the groups up to date, and makes a session.
pub(crate) async fn admit(app: &Arc<App>, person: Person, now: i64) -> Result<Session, AdmitError> {
    let oidc = super::of(app)?;
    let issuer = oidc.provider.config.issuer.clone();
    let known = app.store.external_user(&issuer, &person.subject).await?;
    let user_id = match known {
        Some(id) => id,
        None => create(app, &person, now).await?,
    };
    set_groups(app, &user_id, &person.groups).await?;
    let people = app.people.current();
    let user = enabled(people.user(&user_id))?;
    let organization = people
        .organization(&user.organization_id)
        .map_or_else(String::new, |organization| organization.name.clone());
    let (session, token) = new_session(user, &organization, now);
    let refresh_token = person.refresh_token.as_ref().map(|token| {
        app.logins.seals.seal(
            Purpose::RefreshToken,
            &session.token_id,
            token.expose_secret().as_bytes(),
        )
    });
    let from_provider = ProviderSession {
        token_id: session.token_id.clone(),
        user_id: user.id.clone(),
        issuer,
        subject: person.subject,
        session: person.session,
        refresh_token,
        checked_at: now,
    };
    keep_session(app, token, user.id.clone(), now, Some(from_provider)).await?;
    tracing::info!(
        user = user.name,
        token = session.token_id,
        "logged in at the provider"
    );
    Ok(session)
}

fn enabled(user: Option<&User>) -> Result<&User, OidcError> {
    user.filter(|user| user.disabled_at.is_none())
        .ok_or_else(|| OidcError::Name("the user is disabled here, or was deleted just now".to_owned()))
}

/// Makes the user for somebody who comes for the first time.
async fn create(app: &Arc<App>, person: &Person, now: i64) -> Result<String, AdmitError> {
    let config = &super::of(app)?.provider.config;
    if let Err(why) = check_name(&person.user_name) {
        return Err(OidcError::Name(format!(
            "the provider's name of this person cannot be used: {why}"
        ))
        .into());
    }
    let (issuer, subject) = (config.issuer.clone(), person.subject.clone());
    let (organization, name) = (config.organization.clone(), person.user_name.clone());
    let made = people::change(app, move |people, tx| {
        Box::pin(async move {
            // Two first logins at once: the second finds what the first has made.
            if let Some(id) = tx.external_user(&issuer, &subject).await? {
                return Ok(id);
            }
            let organization = people.organization_named(&organization).ok_or_else(|| {
                ChangeError::Gone(format!("organisation {organization:?} (--oidc-organization)"))
            })?;
            if people.user_like(&organization.id, &name).is_some() {
                return Err(ChangeError::Taken(format!("the name {name:?} is another user's")));
            }
            let user = UserRow {
                id: uuid::Uuid::new_v4().to_string(),
                organization_id: organization.id.clone(),
                display_name: name.clone(),
                name,
                kind: "person".to_owned(),
                member_of: "[]".to_owned(),
                created_at: now,
                disabled_at: None,
            };
            tx.add_user(&user).await?;
            tx.add_external_identity(&issuer, &subject, &user.id, now).await?;
            Ok(user.id)
        })
    })
    .await;
    made.map_err(refusal)
}

/// Writes the groups of a user, if they are others than before; rights that came from one that is gone end at once.
pub(super) async fn set_groups(app: &Arc<App>, user_id: &str, groups: &[String]) -> Result<(), AdmitError> {
    let people = app.people.current();
    if enabled(people.user(user_id))?.groups == groups {
        return Ok(());
    }
    let (user_id, groups) = (user_id.to_owned(), groups.to_vec());
    people::change(app, move |people, tx| {
        Box::pin(async move {
            let user = people
                .user(&user_id)
                .ok_or_else(|| ChangeError::Gone("such user any more".to_owned()))?;
            tracing::info!(user = user.name, ?groups, "groups changed at the provider");
            let mut row = user.row();
            row.member_of = serde_json::to_string(&groups).expect("texts always serialize");
            tx.update_user(&row).await?;
            Ok(())
        })
    })
    .await
    .map_err(refusal)
}

fn refusal(error: ChangeError) -> AdmitError {
    match error {
        ChangeError::Store(error) => error.into(),
        other => OidcError::Name(other.to_string()).into(),
    }
}
