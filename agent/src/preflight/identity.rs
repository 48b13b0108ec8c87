//! The agent's identity and token, for `doctor`.

use std::{fs, path::Path, time::Duration};

use kantaloupe_checks::{Code, Outcome, Verdict};
use kantaloupe_gpu::platform::{
    checks::{bad, skipped},
    facts::Rights,
};
use kantaloupe_proto::token::{Token, TokenKind};
use tokio::time::timeout;

use crate::{config::Config, connect::cluster_uid, identity::KeyStore};

/// Two small requests to the API server.
const ANSWER: Duration = Duration::from_secs(4);
/// A token is a line; a longer file is something else.
const MAX_TOKEN: u64 = 4096;

/// CFG-003, AUTH-001, AUTH-005 and AUTH-008.
pub(super) async fn outcomes(
    config: &Config,
    client: Option<&kube::Client>,
    rights: Option<&Rights>,
) -> Vec<Outcome> {
    let token = token(&config.token_file);
    let Some(client) = client else {
        return [Code::CFG_003, Code::AUTH_001, Code::AUTH_005, Code::AUTH_008]
            .map(|code| skipped(code, Code::K8S_001))
            .into();
    };
    let store = KeyStore::new(client.clone(), &config.pod_namespace, &config.secret_name);
    let asked = timeout(ANSWER, async { tokio::join!(store.load(), cluster_uid(client)) }).await;
    let subject = format!("Secret {}/{}", config.pod_namespace, config.secret_name);
    let (stored, uid) = match asked {
        Ok((Ok(stored), uid)) => (stored, uid.ok()),
        Ok((Err(failure), _)) => {
            let mut outcomes = vec![
                bad(Code::AUTH_008, failure.fault.what_and_detail()).command(format!(
                    "kubectl -n {} get secret {}",
                    config.pod_namespace, config.secret_name
                )),
            ];
            outcomes.extend(
                [Code::CFG_003, Code::AUTH_001, Code::AUTH_005].map(|code| skipped(code, Code::AUTH_008)),
            );
            return outcomes;
        }
        Err(_elapsed) => {
            return [Code::CFG_003, Code::AUTH_001, Code::AUTH_005, Code::AUTH_008]
                .map(|code| Outcome::new(code, Verdict::Unknown, format!("{subject}: no answer in time")))
                .into();
        }
    };
    let identity = stored.identity();
    let mut outcomes = Vec::new();
    outcomes.push(match (&identity, &token) {
        (Some(_), _) => Outcome::new(
            Code::CFG_003,
            Verdict::Pass,
            format!("{subject} holds an identity"),
        ),
        (None, Ok(Some(_))) => Outcome::new(Code::CFG_003, Verdict::Pass, "there is an enrolment token"),
        (None, _) => bad(
            Code::CFG_003,
            format!("{subject} holds no identity, and there is no token"),
        )
        .command("helm upgrade kantaloupe-agent <chart> --reuse-values --set enrollment.token=<token>"),
    });
    outcomes.push(match token {
        Ok(Some(id)) => Outcome::new(Code::AUTH_001, Verdict::Pass, format!("token {id} is whole")),
        Ok(None) => Outcome::new(Code::AUTH_001, Verdict::Skip, "there is no token"),
        Err(why) if identity.is_some() => Outcome::new(
            Code::AUTH_001,
            Verdict::Skip,
            format!("{why}; it is not needed any more"),
        ),
        Err(why) => bad(Code::AUTH_001, why),
    });
    outcomes.push(match (&identity, uid) {
        (None, _) => Outcome::new(Code::AUTH_005, Verdict::Skip, "the agent has not enrolled"),
        (Some(_), None) => Outcome::new(
            Code::AUTH_005,
            Verdict::Unknown,
            "the UID of kube-system could not be read",
        ),
        (Some(identity), Some(uid)) if identity.enrolled.cluster_uid == uid => {
            Outcome::new(Code::AUTH_005, Verdict::Pass, format!("cluster {uid}")).evidence("clusterUid", uid)
        }
        (Some(identity), Some(uid)) => bad(
            Code::AUTH_005,
            format!(
                "the identity is of cluster {}, this one is {uid}",
                identity.enrolled.cluster_uid
            ),
        )
        .command("kubectl get namespace kube-system -o jsonpath='{.metadata.uid}'"),
    });
    let writable = rights.map(|rights| rights.allows("update", "", "secrets", Some(&config.secret_name)));
    outcomes.push(match writable {
        Some(true) => Outcome::new(
            Code::AUTH_008,
            Verdict::Pass,
            format!("{subject} can be read and written"),
        ),
        Some(false) => bad(Code::AUTH_008, format!("{subject} can be read, but not written")),
        None => Outcome::new(
            Code::AUTH_008,
            Verdict::Unknown,
            format!("{subject} can be read; whether written is not known"),
        ),
    });
    outcomes
}

/// The public part of the token in the file, `None` without a file, or what is wrong with it. Never the token itself.
fn token(path: &Path) -> Result<Option<String>, String> {
    let Ok(meta) = fs::metadata(path) else {
        return Ok(None);
    };
    if meta.len() > MAX_TOKEN {
        return Err(format!(
            "{} is no token: it is {} bytes long",
            path.display(),
            meta.len()
        ));
    }
    let text =
        fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    match Token::parse(TokenKind::Enrollment, text.trim()) {
        Ok(token) => Ok(Some(token.id.clone())),
        Err(error) => Err(format!("the token in {}: {error}", path.display())),
    }
}
