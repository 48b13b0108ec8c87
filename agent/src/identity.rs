//! Who this agent is: an Ed25519 key and what the gateway said at enrolment, both in one Secret of the agent's namespace.
//!
//! The key is written before the enrolment that uses it. If the answer to the enrolment is lost, the next attempt
//! sends the same token with the same key, and the gateway gives the same answer instead of "token already used".

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kantaloupe_checks::Code;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use secrecy::{ExposeSecret, SecretBox};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::fault::{self, Failure};

/// Data key of the PKCS#8 key.
const PRIVATE_KEY: &str = "private-key";
/// Data key of [`Enrolled`].
const IDENTITY: &str = "identity.json";
/// The API server answers such small requests in milliseconds, or is in trouble.
const API_TIMEOUT: Duration = Duration::from_secs(15);
/// Another replica may write at the same moment; it does so at most twice (key, identity).
const MAX_CONFLICTS: usize = 4;

/// A private key that signs assertions.
pub(crate) struct Key {
    pkcs8: SecretBox<Vec<u8>>,
    pair: Ed25519KeyPair,
}

impl Key {
    /// Makes a new one.
    pub(crate) fn generate() -> Result<Self, Failure> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| {
            Failure::transient(fault::new(
                Code::AUTH_008,
                "no key could be made",
                "the agent's key",
            ))
        })?;
        Self::from_pkcs8(document.as_ref().to_vec()).ok_or_else(|| {
            Failure::transient(fault::new(
                Code::AUTH_008,
                "no key could be made",
                "the agent's key",
            ))
        })
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).ok()?;
        Some(Self {
            pkcs8: SecretBox::new(Box::new(pkcs8)),
            pair,
        })
    }

    /// Signs with it.
    pub(crate) fn pair(&self) -> &Ed25519KeyPair {
        &self.pair
    }

    /// The raw public half.
    pub(crate) fn public(&self) -> [u8; 32] {
        self.pair
            .public_key()
            .as_ref()
            .try_into()
            .expect("an Ed25519 public key has 32 bytes")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// What the gateway said at enrolment, and where. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Enrolled {
    pub(crate) cluster_id: String,
    pub(crate) key_id: String,
    pub(crate) audience: String,
    pub(crate) control_plane_url: String,
    pub(crate) cluster_uid: String,
    /// RFC 3339.
    #[serde(rename = "enrolledAt")]
    pub(crate) time: String,
    /// Public part of the token that was used: a token with another id is a wish to enrol anew.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) token_id: String,
}

/// A key that the gateway knows.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) key: Arc<Key>,
    pub(crate) enrolled: Enrolled,
}

/// What the Secret holds.
#[derive(Debug)]
pub(crate) struct Stored {
    /// `None`: the Secret is not there.
    secret: Option<Secret>,
    pub(crate) key: Option<Arc<Key>>,
    pub(crate) enrolled: Option<Enrolled>,
}

impl Stored {
    /// The identity, if it is complete.
    pub(crate) fn identity(&self) -> Option<Identity> {
        Some(Identity {
            key: Arc::clone(self.key.as_ref()?),
            enrolled: self.enrolled.clone()?,
        })
    }
}

/// The Secret.
#[derive(Clone)]
pub(crate) struct KeyStore {
    api: Api<Secret>,
    name: String,
    namespace: String,
}

impl KeyStore {
    pub(crate) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// Reads the Secret. Data that cannot be understood counts as absent, so that a new enrolment can replace it.
    pub(crate) async fn load(&self) -> Result<Stored, Failure> {
        let secret = bounded(self.api.get_opt(&self.name))
            .await
            .map_err(|error| self.failure("read", error))?;
        let data = secret.as_ref().and_then(|secret| secret.data.as_ref());
        let key = data
            .and_then(|data| data.get(PRIVATE_KEY))
            .and_then(|bytes| Key::from_pkcs8(bytes.0.clone()))
            .map(Arc::new);
        let enrolled = data
            .and_then(|data| data.get(IDENTITY))
            .and_then(|bytes| serde_json::from_slice(&bytes.0).ok());
        Ok(Stored {
            secret,
            key,
            enrolled,
        })
    }

    /// Writes a new key and removes what belonged to the old one. If someone else wrote meanwhile, theirs wins.
    pub(crate) async fn write_key(&self, over: Stored, key: Key) -> Result<Stored, Failure> {
        let pkcs8 = ByteString(key.pkcs8.expose_secret().clone());
        let written = self.write(over, |secret| {
            let data = secret.data.get_or_insert_default();
            data.insert(PRIVATE_KEY.to_owned(), pkcs8);
            data.remove(IDENTITY);
        });
        match written.await? {
            Some(secret) => Ok(Stored {
                secret: Some(secret),
                key: Some(Arc::new(key)),
                enrolled: None,
            }),
            None => self.load().await,
        }
    }

    /// Writes what the gateway said about the stored key.
    pub(crate) async fn write_enrolled(
        &self,
        mut over: Stored,
        enrolled: &Enrolled,
    ) -> Result<Identity, Failure> {
        let json = serde_json::to_vec(enrolled).expect("strings serialize");
        for _ in 0..MAX_CONFLICTS {
            let Some(key) = over.key.clone() else { break };
            let written = self.write(over, |secret| {
                secret
                    .data
                    .get_or_insert_default()
                    .insert(IDENTITY.to_owned(), ByteString(json.clone()));
            });
            if written.await?.is_some() {
                return Ok(Identity {
                    key,
                    enrolled: enrolled.clone(),
                });
            }
            over = self.load().await?;
            if over.key.as_ref().is_none_or(|now| now.public() != key.public()) {
                break;
            }
            if let Some(identity) = over.identity() {
                return Ok(identity);
            }
        }
        let what =
            "something else keeps changing the Secret while the agent enrols; is there a second agent?";
        Err(Failure::transient(fault::new(
            Code::AUTH_006,
            what,
            self.subject(),
        )))
    }

    /// `None`: a conflict, read again.
    async fn write(&self, over: Stored, change: impl FnOnce(&mut Secret)) -> Result<Option<Secret>, Failure> {
        let result = if let Some(mut secret) = over.secret {
            change(&mut secret);
            // Replace and not patch: the resource version makes a write over an unseen change fail.
            bounded(self.api.replace(&self.name, &PostParams::default(), &secret)).await
        } else {
            let metadata = ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            };
            let mut secret = Secret {
                metadata,
                type_: Some("Opaque".to_owned()),
                ..Secret::default()
            };
            change(&mut secret);
            bounded(self.api.create(&PostParams::default(), &secret)).await
        };
        match result {
            Ok(secret) => Ok(Some(secret)),
            Err(ApiError::Refused(409)) => Ok(None),
            Err(error) => Err(self.failure("write", error)),
        }
    }

    fn subject(&self) -> String {
        format!("Secret {}/{}", self.namespace, self.name)
    }

    fn failure(&self, verb: &str, error: ApiError) -> Failure {
        let (code, what) = match error {
            ApiError::Refused(403) => (
                Code::AUTH_008,
                format!(
                    "the API server does not let the agent {verb} its Secret: its service account needs get and \
                     update on Secret {:?} (the chart's Role; or create, where the Secret does not exist)",
                    self.name
                ),
            ),
            ApiError::Refused(status) if verb == "write" => (
                Code::AUTH_008,
                format!("the API server answered {status} when the agent wrote its Secret"),
            ),
            other => (
                Code::K8S_001,
                format!("the agent cannot {verb} its Secret: {other}"),
            ),
        };
        Failure::transient(fault::new(code, what, self.subject()))
    }
}

/// How a call to the API server failed; without anything of the objects in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// It answered with this status.
    #[error("it answered HTTP {0}")]
    Refused(u16),
    /// No or no usable answer.
    #[error("{0}")]
    Failed(String),
}

/// Awaits a call with [`API_TIMEOUT`].
pub(crate) async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match timeout(API_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(ApiError::Refused(status.code)),
        // The text of a failed parse may quote the object; a Secret's must not be quoted.
        Ok(Err(kube::Error::SerdeError(_))) => {
            Err(ApiError::Failed("the answer could not be read".to_owned()))
        }
        Ok(Err(error)) => Err(ApiError::Failed(fault::chain(&error))),
        Err(_elapsed) => Err(ApiError::Failed(format!(
            "no answer within {} s",
            API_TIMEOUT.as_secs()
        ))),
    }
}
