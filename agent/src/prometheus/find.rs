//! Finds the cluster's Prometheus: the configured one, or what the cluster's objects lead to.

use std::time::Duration;

use kantaloupe_checks::{Code, Fault};
use kantaloupe_gpu::metrics::{
    locate::{self, Candidate, Listed, Managed},
    server::Server,
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::timeout;
use tracing::debug;

use super::{
    client::{Client, Limits},
    error::QueryError,
};
use crate::{
    config::{Auth, Monitoring},
    fault,
};

/// Objects of one answer of the API server.
const PAGE: u32 = 250;
/// 20,000 Services are more than a cluster has; a Prometheus among later ones has to be configured.
const MAX_PAGES: usize = 80;
/// For one page.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
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
    /// How many names of the table it has.
    pub names: usize,
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

/// Finds it. Without a configured URL the first that has any of the wanted metrics is it, or else the first that answers.
pub async fn find(settings: &Monitoring, kube: &kube::Client, limits: Limits) -> Result<Found, NotFound> {
    let mut none = NotFound::default();
    let candidates = match &settings.url {
        Some(url) => vec![Candidate {
            url: url.to_string(),
            found_by: "configuration".to_owned(),
        }],
        None => locate::candidates(&list(kube, &mut none).await),
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
            Ok(found) if found.names > 0 => return Ok(found),
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
    let names = client.present().await?.len();
    Ok(Found {
        client,
        server,
        found_by: found_by.to_owned(),
        names,
    })
}

/// Lists what may lead to one. A kind that is not installed is an empty list.
async fn list(kube: &kube::Client, none: &mut NotFound) -> Listed {
    let services = pages(kube, "/api/v1/services", "services", locate::may_be, none).await;
    let all = |_: &Managed| true;
    let operator = "/apis/monitoring.coreos.com/v1/prometheuses";
    let victoria = "/apis/operator.victoriametrics.com/v1beta1";
    Listed {
        services,
        prometheuses: pages(kube, operator, "prometheuses.monitoring.coreos.com", all, none).await,
        vm_singles: pages(
            kube,
            &format!("{victoria}/vmsingles"),
            "vmsingles.operator.victoriametrics.com",
            all,
            none,
        )
        .await,
        vm_clusters: pages(
            kube,
            &format!("{victoria}/vmclusters"),
            "vmclusters.operator.victoriametrics.com",
            all,
            none,
        )
        .await,
    }
}

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

async fn pages<T: DeserializeOwned>(
    kube: &kube::Client,
    path: &str,
    kind: &str,
    keep: impl Fn(&T) -> bool,
    none: &mut NotFound,
) -> Vec<T> {
    let mut kept = Vec::new();
    let mut next = String::new();
    for _ in 0..MAX_PAGES {
        let query = form_urlencoded(&next);
        let request = http::Request::get(format!("{path}?limit={PAGE}&continue={query}")).body(Vec::new());
        let Ok(request) = request else { break };
        match timeout(LIST_TIMEOUT, kube.request::<Page<T>>(request)).await {
            Ok(Ok(page)) => {
                kept.extend(page.items.into_iter().filter(|item| keep(item)));
                match page.metadata.next.filter(|next| !next.is_empty()) {
                    Some(more) => next = more,
                    None => break,
                }
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => break,
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                none.forbidden.push(kind.to_owned());
                break;
            }
            Ok(Err(error)) => {
                none.failed.push(format!("{kind} ({error})"));
                break;
            }
            Err(_elapsed) => {
                none.failed
                    .push(format!("{kind} (no answer within {LIST_TIMEOUT:?})"));
                break;
            }
        }
    }
    kept
}

fn form_urlencoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
