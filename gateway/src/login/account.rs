//! What people change about how they log in, and what administrators change for them.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    LoginError, Origin, Proof, password, recovery, seal::Purpose, session::end_sessions, sign_in, totp,
};
use crate::{app::App, people::User};

/// A secret to be set up in an authenticator app.
#[derive(Debug)]
pub(crate) struct NewTotp {
    /// As people type it.
    pub(crate) secret: SecretString,
    /// As a QR code carries it.
    pub(crate) uri: SecretString,
}

/// Sets a user's own password; the present one has to be shown, if there is one. Other sessions of the user end.
pub(crate) async fn change_password(
    app: &Arc<App>,
    user: &User,
    organization: &str,
    origin: &Origin,
    current: Option<SecretString>,
    new: SecretString,
) -> Result<(), LoginError> {
    local(app, user).await?;
    password::check(&user.name, &new)?;
    if app.store.credentials(&user.id).await?.is_some() {
        let current = current.ok_or(LoginError::Wrong)?;
        if current.expose_secret() == new.expose_secret() {
            return Err(password::Weak::Same.into());
        }
        app.logins
            .confirm(app, user, organization, origin, current)
            .await?;
    }
    set_password(app, user, new, false, Some(&origin.token_id)).await
}

/// Gives a user another password, to be changed at the next login. All sessions of the user end.
pub(crate) async fn reset_password(app: &Arc<App>, user: &User) -> Result<SecretString, LoginError> {
    local(app, user).await?;
    let new = password::generate();
    set_password(app, user, new.clone(), true, None).await?;
    Ok(new)
}

async fn set_password(
    app: &Arc<App>,
    user: &User,
    new: SecretString,
    must_change: bool,
    but: Option<&str>,
) -> Result<(), LoginError> {
    let hash = app.logins.passwords.hash(new).await?;
    app.store
        .set_password(&user.id, &hash, must_change, App::now())
        .await?;
    end_sessions(app, &user.id, but).await?;
    Ok(())
}

/// Whoever comes from a provider has no second way in: it would stay open when the provider closes its own.
async fn local(app: &App, user: &User) -> Result<(), LoginError> {
    if user.is_service {
        return Err(LoginError::Conflict(
            "a service account has tokens and no password",
        ));
    }
    if app.store.is_external(&user.id).await? {
        return Err(LoginError::Conflict(
            "this user logs in at the OpenID Connect provider and has no password here",
        ));
    }
    Ok(())
}

/// Makes a secret for an authenticator app. It counts from when a code of it was shown.
pub(crate) async fn propose_totp(
    app: &Arc<App>,
    user: &User,
    organization: &str,
    origin: &Origin,
    password: SecretString,
) -> Result<NewTotp, LoginError> {
    app.logins
        .confirm(app, user, organization, origin, password)
        .await?;
    let secret = totp::generate();
    let sealed = app.logins.seals.seal(Purpose::Totp, &user.id, &secret);
    if !app.store.propose_totp(&user.id, &sealed).await? {
        return Err(LoginError::Conflict(
            "codes are asked for already; take the protection off before setting it up again",
        ));
    }
    Ok(NewTotp {
        secret: totp::base32(&secret),
        uri: totp::uri(&user.name, &secret),
    })
}

/// Takes the first code of the app; from now on logins need one. The recovery codes are shown this once.
pub(crate) async fn confirm_totp(
    app: &Arc<App>,
    user: &User,
    organization: &str,
    origin: &Origin,
    code: &SecretString,
) -> Result<Vec<SecretString>, LoginError> {
    let now = App::now();
    let proposed = app.store.totp(&user.id).await?;
    let proposed = proposed
        .filter(|totp| totp.confirmed_at.is_none())
        .ok_or(LoginError::Conflict("there is nothing to confirm"))?;
    let secret = app
        .logins
        .seals
        .unseal(Purpose::Totp, &user.id, &proposed.secret)
        .ok_or(LoginError::Key)?;
    let attempt = app.logins.begin(organization, &user.name, origin.source)?;
    let step = totp::verify(&secret, code.expose_secret(), now, None).ok_or(LoginError::Wrong)?;
    app.logins.succeeded(&attempt);
    let codes = recovery::generate();
    let hashes: Vec<_> = codes.iter().filter_map(recovery::hash).collect();
    if !app
        .store
        .confirm_totp(&user.id, &proposed.secret, step, &hashes, now)
        .await?
    {
        return Err(LoginError::Conflict("there is nothing to confirm"));
    }
    Ok(codes)
}

/// Takes the protection by codes off; password and a code have to be shown.
pub(crate) async fn disable_totp(
    app: &Arc<App>,
    user: &User,
    organization: &str,
    origin: &Origin,
    password: SecretString,
    proof: &Proof,
) -> Result<(), LoginError> {
    let credentials = app
        .logins
        .confirm(app, user, organization, origin, password)
        .await?;
    if credentials.totp.is_some() && proof.totp.is_none() && proof.recovery_code.is_none() {
        return Err(LoginError::CodeNeeded);
    }
    let attempt = app.logins.begin(organization, &user.name, origin.source)?;
    if !sign_in::take_code(app, &user.id, &credentials, proof, App::now()).await? {
        return Err(LoginError::Wrong);
    }
    app.logins.succeeded(&attempt);
    app.store.delete_totp(&user.id).await?;
    Ok(())
}

/// Takes it off somebody who lost phone and recovery codes.
pub(crate) async fn reset_totp(app: &Arc<App>, user: &User) -> Result<(), LoginError> {
    if app.store.delete_totp(&user.id).await? {
        Ok(())
    } else {
        Err(LoginError::Conflict("this user has no codes to take off"))
    }
}
