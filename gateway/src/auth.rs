//! Who calls: API tokens, kept in memory after their first use so that requests do not wait for the store.
//!
//! A token that is deleted is forgotten at once, and the streams that it opened end: each holds the same
//! [`Identity`], whose `revoked` they watch.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{
            AtomicI64, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header};
use kantaloupe_proto::token::{Token, TokenError, TokenKind};
use parking_lot::{Mutex, RwLock};
use secrecy::SecretString;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    authorize::{Access, Accesses, Caller},
    directory::Cluster,
    people::{People, Registry, Scope, User},
    store::{ApiToken, ApiTokenKind, Store, StoreError},
};

/// Tokens kept in memory. One entry is some 500 bytes, and 300 more for each cluster that it was used for.
const MAX_CACHED: usize = 10_000;
/// How often tokens are looked at for those whose time is over. A look at all of them takes a tenth of a millisecond.
const EXPIRY_EVERY: Duration = Duration::from_secs(1);
/// How often it is stored when tokens were last used.
const USED_EVERY: Duration = Duration::from_mins(1);
/// How long a token is shown after it expired, seconds: long enough to see why something stopped working.
const EXPIRED_KEPT: i64 = 30 * 24 * 3600;

/// A caller.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) token_id: String,
    pub(crate) kind: ApiTokenKind,
    /// What of the user's rights the token has; all of them if not there.
    pub(crate) scope: Option<Scope>,
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    pub(crate) organization_id: String,
    /// The user's name as a header value, made once.
    pub(crate) user_header: HeaderValue,
    pub(crate) expires_at: Option<i64>,
    /// Set when the token is deleted, or when its user may do nothing any more.
    pub(crate) revoked: CancellationToken,
    /// Set, and replaced, when the user's rights have changed.
    changed: Mutex<CancellationToken>,
    accesses: Accesses,
    used_at: AtomicI64,
    /// What the store has of it.
    used_at_stored: AtomicI64,
    secret_hash: Vec<u8>,
}

impl Identity {
    fn new(row: ApiToken, user: &User) -> Result<Self, AuthError> {
        let scope = match row.scope {
            None => None,
            // Written by this gateway. If it cannot be read, nothing is what is left of the rights.
            Some(json) => Some(serde_json::from_str(&json).map_err(|_| AuthError::Unknown)?),
        };
        let revoked = CancellationToken::new();
        Ok(Self {
            // Names are checked when users are made, so this cannot fail; if it did, nobody is the safe answer.
            user_header: HeaderValue::from_str(&user.name).map_err(|_| AuthError::Unknown)?,
            token_id: row.id,
            kind: row.kind,
            scope,
            user_id: row.user_id,
            user_name: user.name.clone(),
            organization_id: user.organization_id.clone(),
            expires_at: row.expires_at,
            changed: Mutex::new(revoked.child_token()),
            revoked,
            accesses: Accesses::default(),
            used_at: AtomicI64::new(0),
            used_at_stored: AtomicI64::new(0),
            secret_hash: row.secret_hash,
        })
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            user_id: &self.user_id,
            scope: self.scope.as_ref(),
            revoked: &self.revoked,
        }
    }

    /// What the caller holds on a cluster, or as the user with the id `target`; `None` if he cannot see it.
    pub(crate) fn access(
        &self,
        people: &Registry,
        target: Option<&str>,
        cluster: &Cluster,
    ) -> Option<Arc<Access>> {
        if *self.organization_id != *cluster.organization_id {
            return None;
        }
        self.accesses.get(people, self.caller(), target, &cluster.id)
    }

    /// Set when the caller's rights on any cluster have changed, and when they are gone.
    pub(crate) fn changed(&self) -> CancellationToken {
        self.changed.lock().clone()
    }

    fn reassess(&self, before: &People, next: &People) {
        self.accesses.reassess(next, self.caller());
        if next.differs_for(before, &self.user_id) {
            let mut changed = self.changed.lock();
            changed.cancel();
            *changed = self.revoked.child_token();
        }
    }
}

/// Why a caller is nobody.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// No `Authorization: Bearer` header.
    #[error("the request has no bearer token")]
    Missing,
    /// Not a token.
    #[error("the bearer token is not an API token: {0}")]
    Malformed(#[from] TokenError),
    /// A token that is not known, or whose secret is wrong.
    #[error("the API token is not valid")]
    Unknown,
    /// A token whose time is over.
    #[error("the API token expired")]
    Expired,
    /// Nobody could be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tokens and users that are nobody any more, though the store still has them: it could not be written. Only administrators and the owners of
/// tokens add to it, each entry after a write that failed.
#[derive(Debug, Default)]
struct Denied {
    tokens: HashSet<String>,
    users: HashSet<String>,
}

impl Denied {
    fn has(&self, token_id: &str, user_id: &str) -> bool {
        self.tokens.contains(token_id) || self.users.contains(user_id)
    }
}

/// Knows the callers.
#[derive(Debug)]
pub(crate) struct Auth {
    store: Store,
    people: Arc<Registry>,
    cache: RwLock<HashMap<String, Arc<Identity>>>,
    /// What the store could not be told.
    denied: RwLock<Denied>,
    /// Grows with every revocation: what was read from the store before one is not cached after it.
    epoch: AtomicU64,
}

impl Auth {
    pub(crate) fn new(store: Store, people: Arc<Registry>) -> Self {
        Self {
            store,
            people,
            cache: RwLock::default(),
            denied: RwLock::default(),
            epoch: AtomicU64::new(0),
        }
    }

    /// Who sent these headers, at `now` (Unix seconds).
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        now: i64,
    ) -> Result<Arc<Identity>, AuthError> {
        let token = Token::parse(TokenKind::Api, bearer(headers).ok_or(AuthError::Missing)?)?;
        let cached = self.cache.read().get(&token.id).cloned();
        let identity = match cached {
            Some(identity) => identity,
            None => self.look_up(&token).await?,
        };
        if !token.matches_hash(&identity.secret_hash) {
            return Err(AuthError::Unknown);
        }
        if identity.expires_at.is_some_and(|at| at <= now) {
            return Err(AuthError::Expired);
        }
        if identity.used_at.load(Relaxed) < now {
            identity.used_at.store(now, Relaxed);
        }
        Ok(identity)
    }

    async fn look_up(&self, token: &Token) -> Result<Arc<Identity>, AuthError> {
        loop {
            let before = self.epoch.load(SeqCst);
            let row = self.store.api_token(&token.id).await?.ok_or(AuthError::Unknown)?;
            if self.denied.read().has(&row.id, &row.user_id) {
                return Err(AuthError::Unknown);
            }
            // Only a caller who knows the secret may fill the cache.
            if !token.matches_hash(&row.secret_hash) {
                return Err(AuthError::Unknown);
            }
            let people = self.people.current();
            let user = people.enabled_user(&row.user_id).ok_or(AuthError::Unknown)?;
            if let Some(identity) = self.keep(Identity::new(row, user)?, before) {
                return Ok(identity);
            }
        }
    }

    /// Puts an identity into the cache; `None` if rights were taken away since `epoch`, perhaps its own.
    fn keep(&self, identity: Identity, epoch: u64) -> Option<Arc<Identity>> {
        let mut cache = self.cache.write();
        if self.epoch.load(SeqCst) != epoch {
            return None;
        }
        if cache.len() >= MAX_CACHED {
            // Whoever has an open stream stays, so that deleting the token can end it.
            cache.retain(|_, identity| Arc::strong_count(identity) > 1);
        }
        // Two requests may have looked at once; all must share one `revoked`.
        Some(Arc::clone(
            cache
                .entry(identity.token_id.clone())
                .or_insert_with(|| Arc::new(identity)),
        ))
    }

    /// Deletes a token of this user and ends what it opened; whether there was one. If the store cannot be written, the token is nobody's all
    /// the same, until the gateway's next start.
    pub(crate) async fn revoke(&self, user_id: &str, token_id: &str) -> Result<bool, StoreError> {
        let deleted = self.store.delete_api_token(user_id, token_id).await;
        let gone = |identity: &Identity| identity.token_id == token_id && identity.user_id == user_id;
        match &deleted {
            Ok(true) => {
                self.forget(gone);
                self.denied.write().tokens.remove(token_id);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, token = token_id, "a token is refused, but only until the next start (KTA-SRV-006)");
                self.denied.write().tokens.insert(token_id.to_owned());
                self.forget(gone);
            }
        }
        deleted
    }

    /// A user is nobody until the gateway's next start, or until [`Auth::settle_user`]: the store could not be written.
    pub(crate) fn deny_user(&self, user_id: &str) {
        tracing::error!(
            user = user_id,
            "a user is refused, but only until the next start (KTA-SRV-006)"
        );
        self.denied.write().users.insert(user_id.to_owned());
        self.forget(|identity| identity.user_id == user_id);
    }

    /// The store says now what this user is.
    pub(crate) fn settle_user(&self, user_id: &str) {
        self.denied.write().users.remove(user_id);
    }

    /// Forgets tokens that the store has no more, and ends what they opened.
    pub(crate) fn forget(&self, gone: impl Fn(&Identity) -> bool) {
        let mut cache = self.cache.write();
        self.epoch.fetch_add(1, SeqCst);
        cache.retain(|_, identity| {
            let gone = gone(identity);
            if gone {
                identity.revoked.cancel();
            }
            !gone
        });
    }

    /// People have changed: ends what is no longer allowed.
    pub(crate) fn reassess(&self, before: &People, next: &People) {
        self.forget(|identity| next.enabled_user(&identity.user_id).is_none());
        for identity in self.cache.read().values() {
            identity.reassess(before, next);
        }
    }

    /// When a token was last used, if it was since the gateway started.
    pub(crate) fn used_at(&self, token_id: &str) -> Option<i64> {
        let cache = self.cache.read();
        Some(cache.get(token_id)?.used_at.load(Relaxed)).filter(|at| *at > 0)
    }

    /// Ends what tokens opened whose time is over; whether there was one.
    pub(crate) fn end_expired(&self, now: i64) -> bool {
        let is_over = |identity: &Identity| identity.expires_at.is_some_and(|at| at <= now);
        let any = self.cache.read().values().any(|identity| is_over(identity));
        if any {
            self.forget(is_over);
        }
        any
    }

    async fn tidy(&self, now: i64) -> Result<(), StoreError> {
        self.store_used().await?;
        self.store.delete_expired_tokens(now - EXPIRED_KEPT).await
    }

    /// Stores when tokens were last used, of those for which that is new.
    pub(crate) async fn store_used(&self) -> Result<(), StoreError> {
        let used: Vec<(Arc<Identity>, i64)> = self
            .cache
            .read()
            .values()
            .filter_map(|identity| {
                let at = identity.used_at.load(Relaxed);
                (at > identity.used_at_stored.load(Relaxed)).then(|| (Arc::clone(identity), at))
            })
            .collect();
        if used.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = used
            .iter()
            .map(|(identity, at)| (identity.token_id.clone(), *at))
            .collect();
        self.store.api_tokens_used(&rows).await?;
        for (identity, at) in used {
            identity.used_at_stored.store(at, Relaxed);
        }
        Ok(())
    }
}

/// Ends what tokens opened whose time is over, and stores when tokens were last used; until `stop`.
pub(crate) async fn watch_tokens(app: &App, stop: &CancellationToken) {
    let mut ticks = interval(EXPIRY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tidied = Instant::now();
    loop {
        let stopped = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            _ = ticks.tick() => false,
        };
        if app.auth.end_expired(App::now()) {
            app.revocations.send_replace(());
        }
        if stopped || tidied.elapsed() >= USED_EVERY {
            tidied = Instant::now();
            if let Err(error) = app.auth.tidy(App::now()).await {
                app.metrics.store_failures.inc();
                tracing::warn!(%error, "last use of tokens not stored (KTA-SRV-006)");
            }
        }
        if stopped {
            return;
        }
    }
}

/// The bearer token of a request. Of two nobody could say which one counts, so they are none.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The bearer token of a request, for handing it back to its owner.
pub(crate) fn bearer_secret(headers: &HeaderMap) -> Option<SecretString> {
    bearer(headers).map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use tempfile::TempDir;

    use super::*;
    use crate::{
        people::create_first_admin,
        store::{DEFAULT_ORGANIZATION, NewApiToken},
    };

    const NOW: i64 = 1_790_000_000;

    fn headers(token: &Token) -> HeaderMap {
        let value = format!("Bearer {}", token.reveal().expose_secret());
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    async fn auth() -> (Auth, Token, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let token = Token::generate(TokenKind::Api);
        create_first_admin(&store, &token, NOW).await.unwrap();
        let people = Arc::new(Registry::new(store.people().await.unwrap()));
        (Auth::new(store, people), token, dir)
    }

    #[tokio::test]
    async fn a_token_is_known_again_without_the_store() {
        let (auth, token, _dir) = auth().await;
        let identity = auth.authenticate(&headers(&token), NOW).await.unwrap();
        assert_eq!(
            (identity.user_name.as_str(), identity.organization_id.as_str()),
            ("admin", DEFAULT_ORGANIZATION)
        );
        auth.store.close().await;
        let again = auth.authenticate(&headers(&token), NOW).await.unwrap();
        assert!(Arc::ptr_eq(&identity, &again));
    }

    #[tokio::test]
    async fn missing_damaged_unknown_and_forged_tokens_are_refused() {
        let (auth, token, _dir) = auth().await;
        let refused = auth.authenticate(&HeaderMap::new(), NOW).await.unwrap_err();
        assert!(matches!(refused, AuthError::Missing));
        let basic = HeaderMap::from_iter([(header::AUTHORIZATION, "Basic abc".parse().unwrap())]);
        assert!(matches!(
            auth.authenticate(&basic, NOW).await.unwrap_err(),
            AuthError::Missing
        ));
        let short = HeaderMap::from_iter([(header::AUTHORIZATION, "Bearer kta_abc".parse().unwrap())]);
        assert!(matches!(
            auth.authenticate(&short, NOW).await.unwrap_err(),
            AuthError::Malformed(_)
        ));
        let unknown = Token::generate(TokenKind::Api);
        assert!(matches!(
            auth.authenticate(&headers(&unknown), NOW).await.unwrap_err(),
            AuthError::Unknown
        ));
        // The right id with another secret, before and after the token is cached.
        let mut forged = Token::generate(TokenKind::Api);
        forged.id.clone_from(&token.id);
        assert!(matches!(
            auth.authenticate(&headers(&forged), NOW).await.unwrap_err(),
            AuthError::Unknown
        ));
        auth.authenticate(&headers(&token), NOW).await.unwrap();
        assert!(matches!(
            auth.authenticate(&headers(&forged), NOW).await.unwrap_err(),
            AuthError::Unknown
        ));
    }

    #[tokio::test]
    async fn an_expired_token_is_refused_also_from_memory() {
        let (auth, token, _dir) = auth().await;
        let admin = auth.authenticate(&headers(&token), NOW).await.unwrap();
        let short = Token::generate(TokenKind::Api);
        let new = NewApiToken {
            token: &short,
            kind: ApiTokenKind::Personal,
            user_id: &admin.user_id,
            name: "short",
            scope: None,
            now: NOW,
            expires_at: Some(NOW + 10),
        };
        auth.store.create_api_token(&new).await.unwrap();
        auth.authenticate(&headers(&short), NOW + 9).await.unwrap();
        assert!(matches!(
            auth.authenticate(&headers(&short), NOW + 10).await.unwrap_err(),
            AuthError::Expired
        ));
    }

    #[tokio::test]
    async fn a_deleted_token_is_refused_at_once_and_its_streams_are_told() {
        let (auth, token, _dir) = auth().await;
        let identity = auth.authenticate(&headers(&token), NOW).await.unwrap();
        assert!(!auth.revoke("someone-else", &token.id).await.unwrap());
        assert!(auth.revoke(&identity.user_id, &token.id).await.unwrap());
        assert!(identity.revoked.is_cancelled());
        assert!(matches!(
            auth.authenticate(&headers(&token), NOW).await.unwrap_err(),
            AuthError::Unknown
        ));
    }

    #[tokio::test]
    async fn what_was_read_before_a_revocation_is_not_kept_after_it() {
        let (auth, token, _dir) = auth().await;
        let row = auth.store.api_token(&token.id).await.unwrap().unwrap();
        let user_id = row.user_id.clone();
        let before = auth.epoch.load(SeqCst);
        auth.revoke(&user_id, &token.id).await.unwrap();
        let people = auth.people.current();
        let identity = Identity::new(row, people.user(&user_id).unwrap()).unwrap();
        assert!(auth.keep(identity, before).is_none());
    }
}
