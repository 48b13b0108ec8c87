//! Enrolment: from a token to an identity that is kept in the Secret.

#[cfg(test)]
mod tests;

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use kantaloupe_checks::Code;
use kantaloupe_proto::{
    agent_api::{ENROLL_PATH, EnrollRequest, EnrollResponse},
    token::{Token, TokenKind},
};
use tracing::info;

use crate::{
    config::Config,
    control_plane::ControlPlane,
    fault::{self, Failure},
    identity::{Enrolled, Identity, Key, KeyStore, Stored},
};

/// A token file is 62 bytes; anything longer is something else.
const MAX_TOKEN_FILE: u64 = 4096;
/// The whole enrolment: name, TCP, TLS, request.
const ENROLL_BUDGET: Duration = Duration::from_secs(20);

/// Takes what is stored, or enrols.
pub(crate) struct Enroller<'a> {
    pub(crate) config: &'a Config,
    pub(crate) control_plane: &'a ControlPlane,
    pub(crate) store: &'a KeyStore,
    /// UID of the `kube-system` namespace.
    pub(crate) cluster_uid: &'a str,
}

impl Enroller<'_> {
    /// An identity to connect with. `refused_key`: id of a key that the gateway did not accept.
    ///
    /// A stored identity wins over a token, since a token that has done its work stays in the Secret of the chart. Only
    /// where the identity is of no use, a token that it was not made with is a wish to enrol anew.
    pub(crate) async fn obtain(&self, refused_key: Option<&str>) -> Result<Identity, Failure> {
        let stored = self.store.load().await?;
        let Some(identity) = stored.identity() else {
            let token = self.token()?;
            let stored = match &stored.key {
                // A key without an identity: an earlier attempt whose answer may have been lost.
                Some(_) => stored,
                None => self.store.write_key(stored, Key::generate()?).await?,
            };
            return Box::pin(self.enroll(stored, &token)).await;
        };
        let refused = refused_key == Some(identity.enrolled.key_id.as_str());
        let useless = self.why_useless(&identity.enrolled);
        if (refused || useless.is_some())
            && let Some(token) = self.fresh_token(&identity.enrolled)
        {
            info!(
                cluster = identity.enrolled.cluster_id,
                "the stored identity is of no use and the token is new: enrolling anew"
            );
            let stored = self.store.write_key(stored, Key::generate()?).await?;
            return Box::pin(self.enroll(stored, &token)).await;
        }
        match useless {
            Some(failure) => Err(failure),
            // A refused key is tried again all the same: a revocation can be taken back.
            None => Ok(identity),
        }
    }

    /// A token that the identity was not made with.
    pub(crate) fn fresh_token(&self, enrolled: &Enrolled) -> Option<Token> {
        self.token().ok().filter(|token| token.id != enrolled.token_id)
    }

    fn why_useless(&self, enrolled: &Enrolled) -> Option<Failure> {
        if enrolled.cluster_uid != self.cluster_uid {
            let what = format!(
                "the stored identity belongs to another cluster (kube-system UID {}, this cluster's is {})",
                enrolled.cluster_uid, self.cluster_uid
            );
            return Some(Failure::permanent(fault::new(
                Code::AUTH_005,
                what,
                &enrolled.cluster_id,
            )));
        }
        let expected = self
            .config
            .cluster_id
            .as_ref()
            .filter(|expected| **expected != enrolled.cluster_id)?;
        Some(self.other_cluster(expected, &enrolled.cluster_id))
    }

    fn other_cluster(&self, expected: &str, found: &str) -> Failure {
        let what = format!("cluster.id is {expected}, but the gateway enrolled this agent as {found}");
        Failure::permanent(fault::new(Code::AUTH_005, what, self.control_plane.url()))
    }

    async fn enroll(&self, stored: Stored, token: &Token) -> Result<Identity, Failure> {
        // Another replica may have enrolled between our read and our write.
        if let Some(identity) = stored.identity() {
            return Ok(identity);
        }
        let Some(key) = stored.key.clone() else {
            let what = "the Secret lost its key while the agent enrolled";
            return Err(Failure::transient(fault::new(
                Code::AUTH_008,
                what,
                &self.config.secret_name,
            )));
        };
        let request = EnrollRequest {
            token: token.reveal(),
            public_key: key.public(),
            cluster_uid: self.cluster_uid.to_owned(),
            agent_version: crate::VERSION.to_owned(),
            time: Timestamp::now().as_second(),
        };
        let mut connection = self.control_plane.connect(ENROLL_BUDGET).await?;
        let answer: EnrollResponse = connection.post(ENROLL_PATH, &request).await?;
        if let Some(expected) = self
            .config
            .cluster_id
            .as_ref()
            .filter(|expected| **expected != answer.cluster_id)
        {
            return Err(self.other_cluster(expected, &answer.cluster_id));
        }
        let enrolled = Enrolled {
            cluster_id: answer.cluster_id,
            key_id: answer.key_id,
            audience: answer.audience,
            control_plane_url: self.control_plane.url().to_owned(),
            cluster_uid: self.cluster_uid.to_owned(),
            time: Timestamp::now().to_string(),
            token_id: token.id.clone(),
        };
        let identity = self.store.write_enrolled(stored, &enrolled).await?;
        info!(
            cluster = enrolled.cluster_id,
            name = answer.cluster_name,
            key = enrolled.key_id,
            "enrolled"
        );
        Ok(identity)
    }

    fn token(&self) -> Result<Token, Failure> {
        let path = &self.config.token_file;
        let text = read_token(path).map_err(|problem| {
            let what = format!("there is no identity yet and no enrolment token: {problem}");
            Failure::permanent(fault::new(Code::CFG_003, what, path.display().to_string()))
        })?;
        Token::parse(TokenKind::Enrollment, &text).map_err(|error| {
            Failure::permanent(fault::new(
                Code::AUTH_001,
                error.to_string(),
                path.display().to_string(),
            ))
        })
    }
}

/// The file's text; an empty file is as good as none.
fn read_token(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_TOKEN_FILE {
        return Err(format!("the file has {size} bytes and is not a token"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if text.trim().is_empty() {
        Err("the file is empty".to_owned())
    } else {
        Ok(text)
    }
}
