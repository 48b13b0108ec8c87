//! Login with the password of a local account.
//!
//! An unknown name, a disabled user, a wrong password and a wrong code have one answer, and it takes as long: the same
//! lookups are made and one hash is compared in every case.

use std::{net::IpAddr, sync::Arc};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    LoginError, Logins, Origin, Session,
    metrics::{Method, Outcome},
    password, recovery,
    seal::Purpose,
    session, totp,
};
use crate::{
    app::App,
    people::{People, User},
    store::logins::Credentials,
};

/// An id that no user has: what is looked up for names that are not there.
const NOBODY: &str = "";

/// What somebody shows besides the password.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// Code of the authenticator app.
    pub(crate) totp: Option<SecretString>,
    /// One of the recovery codes.
    pub(crate) recovery_code: Option<SecretString>,
}

/// What somebody sends to log in.
#[derive(Debug)]
pub(crate) struct SignIn {
    pub(crate) organization: String,
    pub(crate) name: String,
    pub(crate) password: SecretString,
    pub(crate) proof: Proof,
    pub(crate) new_password: Option<SecretString>,
    pub(crate) source: IpAddr,
}

/// Logs somebody in.
pub(crate) async fn sign_in(app: &Arc<App>, request: SignIn) -> Result<Session, LoginError> {
    let result = attempt(app, &request).await;
    if let Err(error) = &result {
        // Not what was typed: some type their password where the name goes.
        let people = app.people.current();
        let user = known(&people, &request).map(|user| user.name.as_str());
        tracing::info!(user, source = %request.source, why = %error, "login refused");
        let organization = user.map_or("", |_| &request.organization);
        let reason = error.to_string();
        app.audit
            .refused_login(organization, user.unwrap_or_default(), request.source, &reason);
    }
    app.logins.metrics.count(Method::Password, Outcome::of(&result));
    result
}

/// Who can log in so under that name.
fn known<'a>(people: &'a People, request: &SignIn) -> Option<&'a User> {
    people
        .organization_named(&request.organization)
        .and_then(|organization| people.user_named(&organization.id, &request.name))
        .filter(|user| user.disabled_at.is_none() && !user.is_service)
}

async fn attempt(app: &Arc<App>, request: &SignIn) -> Result<Session, LoginError> {
    let now = App::now();
    let people = app.people.current();
    let user = known(&people, request);
    let user_id = user.map_or(NOBODY, |user| user.id.as_str());
    let logins = &app.logins;
    let attempt = logins.begin(&request.organization, &request.name, request.source)?;
    let outcome = check(app, user_id, request, now).await;
    let outcome = match (outcome, user) {
        (Ok(change), Some(user)) => Ok((change, user)),
        (Ok(_), None) => Err(LoginError::Wrong),
        (Err(error), _) => Err(error),
    };
    let (change, user) = match outcome {
        Ok(known) => known,
        Err(error) => {
            // Whether a password is right must not be for free to find out, but who has to type a code now has not failed.
            if !matches!(error, LoginError::Wrong) {
                logins.undecided(&attempt);
            }
            return Err(error);
        }
    };
    logins.succeeded(&attempt);
    if let Some(hash) = change {
        app.store.set_password(&user.id, &hash, false, now).await?;
        session::end_sessions(app, &user.id, None).await?;
    }
    let (session, token) = session::new_session(user, &request.organization, now);
    session::keep_session(app, token, user.id.clone(), now, None).await?;
    tracing::info!(user = user.name, source = %request.source, token = session.token_id, "logged in");
    Ok(session)
}

/// Checks everything, and takes the code; the hash of the new password, if there is one.
async fn check(
    app: &Arc<App>,
    user_id: &str,
    request: &SignIn,
    now: i64,
) -> Result<Option<String>, LoginError> {
    let logins = &app.logins;
    let credentials = app.store.credentials(user_id).await?;
    let stored = credentials.as_ref().map(|known| known.hash.clone());
    if !logins.passwords.verify(stored, request.password.clone()).await? {
        return Err(LoginError::Wrong);
    }
    let credentials = credentials.ok_or(LoginError::Wrong)?;
    // The code comes last, because it is good once: what is wrong besides is said before it is spent.
    let proof = &request.proof;
    if credentials.totp.is_some() && proof.totp.is_none() && proof.recovery_code.is_none() {
        return Err(LoginError::CodeNeeded);
    }
    match &request.new_password {
        None if credentials.must_change => return Err(LoginError::ChangeNeeded),
        None => {}
        Some(new) if new.expose_secret() == request.password.expose_secret() => {
            return Err(password::Weak::Same.into());
        }
        Some(new) => password::check(&request.name, new)?,
    }
    if !take_code(app, user_id, &credentials, proof, now).await? {
        return Err(LoginError::Wrong);
    }
    match &request.new_password {
        Some(new) => Ok(Some(logins.passwords.hash(new.clone()).await?)),
        None => Ok(None),
    }
}

/// Whether the code is right, or none is needed. It is good for nothing afterwards.
pub(super) async fn take_code(
    app: &App,
    user_id: &str,
    credentials: &Credentials,
    proof: &Proof,
    now: i64,
) -> Result<bool, LoginError> {
    let Some(sealed) = &credentials.totp else {
        return Ok(true);
    };
    if let Some(code) = &proof.recovery_code {
        let Some(hash) = recovery::hash(code) else {
            return Ok(false);
        };
        return Ok(app.store.use_recovery_code(user_id, &hash).await?);
    }
    let Some(code) = &proof.totp else {
        return Ok(false);
    };
    let secret = app
        .logins
        .seals
        .unseal(Purpose::Totp, user_id, sealed)
        .ok_or(LoginError::Key)?;
    match totp::verify(&secret, code.expose_secret(), now, credentials.last_step) {
        // Two requests with one code: the store lets one of them have it.
        Some(step) => Ok(app.store.use_totp_step(user_id, step).await?),
        None => Ok(false),
    }
}

impl Logins {
    /// Checks the password of somebody who is logged in, for what a stolen session must not be enough for. Failures
    /// count as those of logins do.
    pub(super) async fn confirm(
        &self,
        app: &App,
        user: &User,
        organization: &str,
        origin: &Origin,
        password: SecretString,
    ) -> Result<Credentials, LoginError> {
        let result = self.reconfirm(app, user, organization, origin, password).await;
        self.metrics.count(Method::Confirmation, Outcome::of(&result));
        result
    }

    async fn reconfirm(
        &self,
        app: &App,
        user: &User,
        organization: &str,
        origin: &Origin,
        password: SecretString,
    ) -> Result<Credentials, LoginError> {
        let attempt = self.begin(organization, &user.name, origin.source)?;
        let checked = async {
            let credentials = app.store.credentials(&user.id).await?;
            let stored = credentials.as_ref().map(|known| known.hash.clone());
            let right = self.passwords.verify(stored, password).await?;
            credentials.filter(|_| right).ok_or(LoginError::Wrong)
        };
        let result = checked.await;
        match &result {
            Ok(_) => self.succeeded(&attempt),
            Err(LoginError::Wrong) => {}
            Err(_) => self.undecided(&attempt),
        }
        result
    }
}
