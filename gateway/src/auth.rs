//! Who calls: API tokens, kept in memory after their first use so that requests do not wait for the store.
//!
//! A token that is deleted is forgotten at once, and the streams that it opened end: each holds the same
//! [`Identity`], whose `revoked` they watch.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use http::{HeaderMap, HeaderValue, header};
use kantaloupe_proto::token::{Token, TokenError, TokenKind};
use parking_lot::RwLock;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::store::{ApiToken, Role, Store, StoreError};

/// Tokens kept in memory. One entry is some 300 bytes.
const MAX_CACHED: usize = 10_000;

/// A caller.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) token_id: String,
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    pub(crate) role: Role,
    /// The same as header values, made once.
    pub(crate) user_header: HeaderValue,
    pub(crate) role_header: HeaderValue,
    pub(crate) expires_at: Option<i64>,
    /// Set when the token is deleted.
    pub(crate) revoked: CancellationToken,
    secret_hash: Vec<u8>,
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

/// Knows the callers.
#[derive(Debug)]
pub(crate) struct Auth {
    store: Store,
    cache: RwLock<HashMap<String, Arc<Identity>>>,
    /// Grows with every revocation: what was read from the store before one is not cached after it.
    epoch: AtomicU64,
}

impl Auth {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            cache: RwLock::default(),
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
        Ok(identity)
    }

    async fn look_up(&self, token: &Token) -> Result<Arc<Identity>, AuthError> {
        loop {
            let before = self.epoch.load(SeqCst);
            let row = self.store.api_token(&token.id).await?.ok_or(AuthError::Unknown)?;
            // Only a caller who knows the secret may fill the cache.
            if !token.matches_hash(&row.secret_hash) {
                return Err(AuthError::Unknown);
            }
            if let Some(identity) = self.keep(Identity::try_from(row)?, before) {
                return Ok(identity);
            }
        }
    }

    /// Puts an identity into the cache; `None` if a token was deleted since `epoch`, perhaps this one.
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

    /// Deletes a token of this user and ends what it opened; whether there was one.
    pub(crate) async fn revoke(&self, user_id: &str, token_id: &str) -> Result<bool, StoreError> {
        let deleted = self.store.delete_api_token(user_id, token_id).await?;
        if deleted {
            let mut cache = self.cache.write();
            self.epoch.fetch_add(1, SeqCst);
            if let Some(identity) = cache.remove(token_id) {
                identity.revoked.cancel();
            }
        }
        Ok(deleted)
    }
}

impl TryFrom<ApiToken> for Identity {
    type Error = AuthError;

    fn try_from(row: ApiToken) -> Result<Self, AuthError> {
        Ok(Self {
            // Names are checked when users are made, so this cannot fail; if it did, nobody is the safe answer.
            user_header: HeaderValue::from_str(&row.user_name).map_err(|_| AuthError::Unknown)?,
            role_header: HeaderValue::from_static(row.role.as_str()),
            token_id: row.id,
            user_id: row.user_id,
            user_name: row.user_name,
            role: row.role,
            expires_at: row.expires_at,
            revoked: CancellationToken::new(),
            secret_hash: row.secret_hash,
        })
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
    use crate::store::NewApiToken;

    const NOW: i64 = 1_790_000_000;

    fn headers(token: &Token) -> HeaderMap {
        let value = format!("Bearer {}", token.reveal().expose_secret());
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    async fn auth() -> (Auth, Token, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let token = Token::generate(TokenKind::Api);
        store.create_first_admin(&token, NOW).await.unwrap();
        (Auth::new(store), token, dir)
    }

    #[tokio::test]
    async fn a_token_is_known_again_without_the_store() {
        let (auth, token, _dir) = auth().await;
        let identity = auth.authenticate(&headers(&token), NOW).await.unwrap();
        assert_eq!(
            (identity.user_name.as_str(), identity.role),
            ("admin", Role::Admin)
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
            user_id: &admin.user_id,
            name: "short",
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
        assert!(auth.keep(Identity::try_from(row).unwrap(), before).is_none());
    }
}
