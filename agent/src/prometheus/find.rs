//! Finds the cluster's Prometheus: the configured one, or what the cluster's objects lead to.

use std::time::Duration;

use kantaloupe_checks::{Code, Fault};
use kantaloupe_gpu::{
    metrics::{
        locate::{self, Candidate},
        server::Server,
    },
    platform::{KINDS, Objects, Read},
};
use tokio::time::Instant;
use tracing::debug;

use super::{
    client::{Client, Limits},
    error::QueryError,
};
use crate::{
    config::{Auth, Monitoring},
    fault, listing,
};

/// For all lists together.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Addresses that are named when none answers.
const NAMED: usize = 4;

/// A Prometheus that answers.
pub struct Found {
    /// Asks it.
    pub client: Client,
    /// What it is.
    pub server: Server,
    /// Why it was asked: for people.
    pub found_by: String,
    /// Which names of the table it has, with the number of their series.
    pub names: Vec<(&'static str, u64)>,
}

/// One address that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Its URL.
    pub url: String,
    /// Why it was tried.
    pub found_by: String,
    /// Why it is not it.
    pub error: QueryError,
}

/// Why none was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotFound {
    /// What was tried.
    pub tried: Vec<Tried>,
    /// Kinds of objects that the agent may not list.
    pub forbidden: Vec<String>,
    /// Lists that failed otherwise.
    pub failed: Vec<String>,
}

impl NotFound {
    /// Notes which objects might have led to one and are not known.
    fn unread(&mut self, objects: &Objects) {
        for kind in locate::KINDS {
            match objects.read.get(kind) {
                Some(Read::Forbidden) => self.forbidden.push(kind.to_owned()),
                Some(Read::Failing(why)) => self.failed.push(format!("{kind} ({why})")),
                Some(Read::Ok | Read::Absent) | None => {}
            }
        }
    }

    /// For the user.
    pub fn fault(&self) -> Fault {
        if let [one] = &*self.tried {
            return one.error.fault(&one.url);
        }
        let list = |entries: &[String]| entries.join(", ");
        let tried: Vec<_> = self
            .tried
            .iter()
            .take(NAMED)
            .map(|tried| format!("{}: {}", tried.url, tried.error))
            .collect();
        let mut detail = if tried.is_empty() {
            "no object of the cluster leads to one".to_owned()
        } else {
            tried.join("; ")
        };
        if !self.forbidden.is_empty() {
            detail.push_str("; the agent may not list ");
            detail.push_str(&list(&self.forbidden));
        }
        if !self.failed.is_empty() {
            detail.push_str("; not to be listed: ");
            detail.push_str(&list(&self.failed));
        }
        fault::new(Code::MON_001, "no Prometheus that answers was found", detail)
    }
}

/// Lists what leads to one, and finds it.
pub async fn find(settings: &Monitoring, kube: &kube::Client, limits: Limits) -> Result<Found, NotFound> {
    let kinds = KINDS
        .iter()
        .filter(|kind| settings.url.is_none() && locate::KINDS.contains(&kind.name));
    let objects = listing::objects(kube, kinds, Instant::now() + LIST_TIMEOUT).await;
    find_by(settings, &objects, limits).await
}

/// Finds it by objects that are known already. Without a configured URL the first that has any of the wanted metrics is it, or else
/// the first that answers.
pub(super) async fn find_by(
    settings: &Monitoring,
    objects: &Objects,
    limits: Limits,
) -> Result<Found, NotFound> {
    let mut none = NotFound::default();
    let candidates = if let Some(url) = &settings.url {
        vec![Candidate {
            url: url.to_string(),
            found_by: "configuration".to_owned(),
        }]
    } else {
        none.unread(objects);
        locate::candidates(objects)
    };
    let mut second_best: Option<Found> = None;
    for Candidate { url, found_by } in candidates {
        // Credentials are for the configured address alone.
        let auth = settings
            .url
            .as_ref()
            .map_or(Auth::None, |_| settings.auth.clone());
        let tried = try_one(&url, settings, auth, limits, &found_by).await;
        match tried {
            Ok(found) if !found.names.is_empty() => return Ok(found),
            Ok(found) => second_best = second_best.or(Some(found)),
            Err(error) => {
                debug!(url, found_by, %error, "not a Prometheus that answers");
                none.tried.push(Tried { url, found_by, error });
            }
        }
    }
    second_best.ok_or(none)
}

async fn try_one(
    url: &str,
    settings: &Monitoring,
    auth: Auth,
    limits: Limits,
    found_by: &str,
) -> Result<Found, QueryError> {
    let client = Client::new(url, settings.ca_file.as_deref(), auth, limits)?;
    let server = client.identify().await?;
    let names = client.present().await?;
    Ok(Found {
        client,
        server,
        found_by: found_by.to_owned(),
        names,
    })
}
