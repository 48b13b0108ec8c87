//! Recordings of terminal sessions: which there are, and each as asciicast.

use std::{io, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, StatusCode, header};
use kantaloupe_checks::Code;
use serde::Serialize;
use tokio::fs::File;
use tokio_util::{io::ReaderStream, sync::CancellationToken};

use super::{
    audit::{Newest, organization, page_json, time},
    extract::Auditor,
    inventory::Params,
};
use crate::{
    app::App,
    audit::{self, Entry, Event, Page, Query},
    auth::Identity,
    problem::ApiError,
    route::Peer,
    streams::{self, Origin},
};

/// Of asciicast, versions 1 and 2.
const ASCIICAST: HeaderValue = HeaderValue::from_static("application/x-asciicast");
/// RFC 9530.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// A recording that has ended.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordingJson<'a> {
    id: &'a str,
    ended_at: String,
    /// Milliseconds; not there if the gateway's process ended before the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    actor: &'a str,
    source: &'a str,
    cluster: &'a str,
    role: &'a str,
    /// exec or attach.
    subresource: &'a str,
    namespace: &'a str,
    pod: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    bytes: u64,
    sha256: String,
    /// Whether the file is there.
    available: bool,
}

/// `GET /api/v1/recordings`: the newest first.
pub(super) async fn list(
    Auditor(caller): Auditor,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut params = Params::read(query.as_deref())?;
    let newest = Newest::take(&mut params, "what a page has given")?;
    let cluster = params.take("cluster")?;
    // By name or id; one that is gone only by its id.
    let cluster = cluster.map(|name| match app.directory.find(&caller.organization_id, &name) {
        Some(cluster) => cluster.id.to_string(),
        None => name,
    });
    let query = Query {
        organization: Some(organization(&app, &caller)?),
        from: time(&mut params, "from")?,
        to: time(&mut params, "to")?,
        user: params.take("user")?,
        cluster,
        id: params.take("id")?,
        recordings: true,
        ..Query::default()
    };
    params.finish("from, to, user, cluster, id, limit, before")?;
    let (rows, before) = newest.rows(&app, &query).await?;
    let mut items = Vec::with_capacity(rows.len());
    for (_, line) in &rows {
        items.push(item(&app, &read(line)?).await?);
    }
    let text = page_json(items.iter().map(String::as_str), before) + "}";
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

async fn item(app: &App, entry: &Entry<'_>) -> Result<String, ApiError> {
    let note = entry.recording.as_ref();
    let (file, sha256) = note
        .and_then(|note| Some((&*note.file, note.sha256?)))
        .ok_or_else(damaged)?;
    let item = RecordingJson {
        id: &entry.id,
        ended_at: format!("{:.3}", entry.at),
        ms: entry.ms,
        user: &entry.user,
        actor: &entry.actor,
        source: &entry.source,
        cluster: &entry.cluster,
        role: &entry.role,
        subresource: &entry.subresource,
        namespace: &entry.namespace,
        pod: &entry.name,
        reason: &entry.reason,
        bytes: note.and_then(|note| note.bytes).unwrap_or_default(),
        sha256: sha256.to_string(),
        available: tokio::fs::try_exists(app.recorder.path(file))
            .await
            .unwrap_or(false),
    };
    Ok(serde_json::to_string(&item).expect("texts and numbers always serialize"))
}

fn read(line: &str) -> Result<Entry<'_>, ApiError> {
    serde_json::from_str(line).map_err(|_| damaged())
}

fn damaged() -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        Code::AUDIT_002,
        "An entry of the audit cannot be read",
    )
}

/// `GET /api/v1/recordings/{id}`: the recording itself.
pub(super) async fn get(
    Auditor(caller): Auditor,
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    Extension(origin): Extension<Origin>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let ended = caller.changed();
    let none = || ApiError::not_found(format!("There is no recording {id:?} that has ended"));
    let organization = organization(&app, &caller)?;
    let query = Query {
        organization: Some(organization.clone()),
        id: Some(id.clone()),
        recordings: true,
        ..Query::default()
    };
    app.audit.flush().await;
    let rows = app.audit.store.page(&query, Page::Before(u64::MAX), 1).await?;
    let (_, line) = rows.first().ok_or_else(none)?;
    let entry = read(line)?;
    let note = entry.recording.as_ref().ok_or_else(damaged)?;
    let file = match File::open(app.recorder.path(&note.file)).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ApiError::not_found(format!(
                "The recording {id:?} is not there any more"
            )));
        }
        Err(error) => {
            tracing::error!(%error, file = %note.file, "a recording cannot be read (KTA-SRV-006)");
            return Err(ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::SRV_006,
                "The gateway could not read the recording",
            ));
        }
    };
    let event = Event {
        organization: &organization,
        user: &caller.user_name,
        token: &caller.token_id,
        source: Some(peer.ip()),
        cluster: &entry.cluster,
        verb: "get",
        resource: "recordings",
        name: &entry.id,
        ..Event::default()
    };
    audit::record(&app, &event)?;
    let download = Download {
        _entry: origin.streams.add(None, &ended),
        ended,
        app: Arc::clone(&app),
        _caller: caller,
        file: ReaderStream::new(file),
    };
    let pieces = stream::try_unfold(download, async |mut download| {
        Ok::<_, io::Error>(download.next().await?.map(|piece| (piece, download)))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, ASCIICAST);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // As the audit has it: whoever compares sees whether it is what was written.
    let digest = note
        .sha256
        .map(|hash| format!("sha-256=:{}:", STANDARD.encode(hash.bytes())));
    if let Some(digest) = digest.and_then(|digest| HeaderValue::from_str(&digest).ok()) {
        headers.insert(REPR_DIGEST, digest);
    }
    Ok(response)
}

/// A recording that is being read.
struct Download {
    _entry: streams::Entry,
    /// Set when the caller's rights have changed.
    ended: CancellationToken,
    app: Arc<App>,
    /// Keeps the token in memory, so that deleting it finds this download.
    _caller: Arc<Identity>,
    file: ReaderStream<File>,
}

impl Download {
    async fn next(&mut self) -> io::Result<Option<bytes::Bytes>> {
        if self.ended.is_cancelled() {
            return Err(io::Error::other("access was revoked"));
        }
        if self.app.stop.hard.is_cancelled() {
            return Err(io::Error::other("the gateway stopped"));
        }
        self.file.next().await.transpose()
    }
}
