//! How something came into the cluster.

use std::io::Read as _;

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::read::GzDecoder;
use serde::Deserialize;

use super::{Objects, name, namespace};
use crate::inventory::InstalledBy;
use crate::object::{ObjectMeta, ReleaseSecret, annotation, label};

/// A release unpacks to so much at most; the chart's templates and files are in it. The API server takes 1 MiB packed.
const MAX_RELEASE: u64 = 32 * 1024 * 1024;

/// What a release Secret says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) chart: String,
    pub(crate) version: String,
    pub(crate) app_version: Option<String>,
}

#[derive(Deserialize)]
struct Stored {
    name: String,
    #[serde(default)]
    namespace: String,
    chart: StoredChart,
}

#[derive(Deserialize)]
struct StoredChart {
    metadata: ChartMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChartMetadata {
    name: String,
    version: String,
    #[serde(default)]
    app_version: Option<String>,
}

/// Reads the metadata of the chart in a release Secret: base64 (of the Secret) of base64 (of Helm) of gzip of JSON.
pub(crate) fn release(secret: &ReleaseSecret) -> Option<Release> {
    if secret.kind != "helm.sh/release.v1" {
        return None;
    }
    let outer = BASE64_STANDARD.decode(secret.data.release.as_deref()?).ok()?;
    let packed = BASE64_STANDARD.decode(outer).ok()?;
    let mut json = Vec::new();
    GzDecoder::new(packed.as_slice())
        .take(MAX_RELEASE)
        .read_to_end(&mut json)
        .ok()?;
    let stored: Stored = serde_json::from_slice(&json).ok()?;
    let ChartMetadata {
        name,
        version,
        app_version,
    } = stored.chart.metadata;
    let namespace = match stored.namespace {
        empty if empty.is_empty() => namespace(&secret.metadata).to_owned(),
        namespace => namespace,
    };
    Some(Release {
        name: stored.name,
        namespace,
        chart: name,
        version,
        app_version,
    })
}

/// How an object was installed: by its labels and annotations, filled up from the release Secrets.
pub(crate) fn installed_by(objects: &Objects, meta: &ObjectMeta) -> InstalledBy {
    let managed_by = label(meta, "app.kubernetes.io/managed-by");
    let release_name = annotation(meta, "meta.helm.sh/release-name")
        .or_else(|| label(meta, "helm.toolkit.fluxcd.io/name"))
        .or_else(|| label(meta, "app.kubernetes.io/instance").filter(|_| managed_by == Some("Helm")))
        .or_else(|| {
            label(meta, "release").filter(|_| label(meta, "heritage").or(managed_by) == Some("Helm"))
        });
    if let Some(release_name) = release_name {
        let within = annotation(meta, "meta.helm.sh/release-namespace").unwrap_or_else(|| namespace(meta));
        let stored = objects.releases.iter().filter_map(release).find(|release| {
            release.name == release_name && (within.is_empty() || release.namespace == within)
        });
        let labelled = label(meta, "helm.sh/chart")
            .or_else(|| label(meta, "chart"))
            .and_then(chart);
        let (chart, chart_version) = match (stored, labelled) {
            (Some(stored), _) => (Some(stored.chart), Some(stored.version)),
            (None, Some((chart, version))) => (Some(chart), Some(version)),
            (None, None) => (None, None),
        };
        return InstalledBy::Helm {
            release: release_name.to_owned(),
            chart,
            chart_version,
        };
    }
    let controller = meta
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true));
    if let Some(owner) = controller {
        return InstalledBy::Operator {
            name: format!("{}/{}", owner.kind, owner.name),
        };
    }
    let argo = annotation(meta, "argocd.argoproj.io/tracking-id")
        .map(|id| id.split(':').next().unwrap_or(id))
        .or_else(|| label(meta, "argocd.argoproj.io/instance"));
    if let Some(application) = argo {
        return InstalledBy::Operator {
            name: format!("Argo CD/{application}"),
        };
    }
    match label(meta, "olm.owner").or_else(|| managed_by.filter(|&manager| manager != "Helm")) {
        Some(manager) => InstalledBy::Operator {
            name: manager.to_owned(),
        },
        None => InstalledBy::Manifest,
    }
}

/// Splits `gpu-operator-v25.3.0` into chart and version: the version begins at the first hyphen before a digit.
pub(crate) fn chart(label: &str) -> Option<(String, String)> {
    let bytes = label.as_bytes();
    let at = (1..bytes.len().saturating_sub(1)).find(|&at| {
        let after = &bytes[at + 1..];
        let after = after.strip_prefix(b"v").unwrap_or(after);
        bytes[at] == b'-' && after.first().is_some_and(u8::is_ascii_digit)
    })?;
    // "+" is not allowed in labels; charts write "_" for it.
    Some((label[..at].to_owned(), label[at + 1..].replace('_', "+")))
}

/// Release and namespace for the commands that mend something, if Helm installed it.
pub(crate) fn helm_release(objects: &Objects, meta: &ObjectMeta) -> Option<(String, String)> {
    match installed_by(objects, meta) {
        InstalledBy::Helm { release, .. } => {
            let within =
                annotation(meta, "meta.helm.sh/release-namespace").unwrap_or_else(|| namespace(meta));
            Some((release, within.to_owned()))
        }
        InstalledBy::Operator { .. } | InstalledBy::Manifest => None,
    }
}

/// The tag of an image, if it is a version: not `latest`, not a digest.
pub(crate) fn image_version(image: &str) -> Option<&str> {
    let without_digest = image.split('@').next()?;
    let (_, tag) = without_digest.rsplit('/').next()?.split_once(':')?;
    let digits = tag.strip_prefix('v').unwrap_or(tag);
    (digits.starts_with(|c: char| c.is_ascii_digit()) && digits.contains('.')).then_some(tag)
}

/// Version of a component: of its image, else of its labels.
pub(crate) fn version(meta: &ObjectMeta, image: Option<&str>) -> Option<String> {
    image
        .and_then(image_version)
        .map(str::to_owned)
        .or_else(|| label(meta, "app.kubernetes.io/version").map(str::to_owned))
        .or_else(|| {
            label(meta, "helm.sh/chart")
                .and_then(chart)
                .map(|(_, version)| version)
        })
        .map(|version| version.strip_prefix('v').unwrap_or(&version).to_owned())
}

/// `namespace/name`, or the name alone.
pub(crate) fn path(meta: &ObjectMeta) -> String {
    match namespace(meta) {
        "" => name(meta).to_owned(),
        namespace => format!("{namespace}/{}", name(meta)),
    }
}
