//! Reading the audit: pages, and all of it as JSON lines.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use kantaloupe_checks::Code;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{extract::Auditor, inventory::Params};
use crate::{
    app::App,
    audit::{self, Event, Page, Query},
    auth::Identity,
    problem::ApiError,
    route::Peer,
    store::DEFAULT_ORGANIZATION,
    streams::{Entry, Origin},
};

/// Entries of a page unless said otherwise, and at most.
const LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;
/// Entries that an export reads at once.
const EXPORT_PAGE: u32 = 1000;
/// Exports at once: each keeps the disk busy for as long as it goes on.
pub(crate) const MAX_EXPORTS: usize = 4;

/// A page of entries, the newest first: `limit` and `before`.
pub(super) struct Newest {
    limit: u32,
    before: u64,
}

impl Newest {
    /// Takes both out of a query. `what` is what `before` has to be.
    pub(super) fn take(params: &mut Params, what: &str) -> Result<Self, ApiError> {
        let limit = params.take_number("limit")?.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
        let before = match params.take("before")? {
            Some(text) => text
                .parse()
                .map_err(|_| ApiError::invalid(format!("\"before\" is {text:?} and not {what}")))?,
            None => u64::MAX,
        };
        Ok(Self { limit, before })
    }

    /// The entries with their numbers, and what the next page is before, if there is one.
    pub(super) async fn rows(
        &self,
        app: &App,
        query: &Query,
    ) -> Result<(Vec<(u64, String)>, Option<u64>), ApiError> {
        app.audit.flush().await;
        let page = Page::Before(self.before);
        let mut rows = app.audit.store.page(query, page, self.limit + 1).await?;
        let more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let before = rows.last().filter(|_| more).map(|(last, _)| *last);
        Ok((rows, before))
    }
}

/// A page of what is JSON already, without the brace that ends it.
pub(super) fn page_json<'a>(items: impl IntoIterator<Item = &'a str>, before: Option<u64>) -> String {
    let mut text = String::from("{\"items\":[");
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(item);
    }
    text.push(']');
    if let Some(last) = before {
        write!(text, ",\"before\":{last}").expect("writing to a String");
    }
    text
}

/// `GET /api/v1/audit`: the newest entries first.
pub(super) async fn list(
    Auditor(caller): Auditor,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut params = Params::read(query.as_deref())?;
    let newest = Newest::take(&mut params, "the number of an entry")?;
    let query = wanted(&app, &caller, params, "limit, before")?;
    let (rows, before) = newest.rows(&app, &query).await?;
    // The entries are JSON already, and stay byte for byte what was hashed.
    let mut text = page_json(rows.iter().map(|(_, entry)| entry.as_str()), before);
    let head = app.audit.head();
    write!(
        text,
        ",\"head\":{{\"seq\":{},\"hash\":\"{}\"}}}}",
        head.seq, head.hash
    )
    .expect("writing to a String");
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// `GET /api/v1/audit/export`: the oldest entries first, one on each line, until there are no more.
pub(super) async fn export(
    Auditor(caller): Auditor,
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    Extension(origin): Extension<Origin>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let ended = caller.changed();
    let mut params = Params::read(query.as_deref())?;
    let after = match params.take("after")? {
        Some(text) => text.parse().map_err(|_| {
            ApiError::invalid(format!("\"after\" is {text:?} and not the number of an entry"))
        })?,
        None => 0,
    };
    let query = wanted(&app, &caller, params, "after")?;
    let permit = Arc::clone(&app.exports).try_acquire_owned().map_err(|_| {
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            Code::SRV_003,
            format!("{MAX_EXPORTS} exports of the audit are running already"),
        )
    })?;
    audit::record(
        &app,
        &Event {
            organization: &organization(&app, &caller)?,
            user: &caller.user_name,
            token: &caller.token_id,
            source: Some(peer.ip()),
            verb: "export",
            resource: "audit",
            ..Event::default()
        },
    )?;
    app.audit.flush().await;
    let export = Export {
        _entry: origin.streams.add(None, &ended),
        ended,
        _permit: permit,
        // What is written meanwhile, this export's own pages among it, is for the next one.
        last: app.audit.head().seq,
        app,
        _caller: caller,
        query,
        after,
    };
    let pages = stream::try_unfold(export, async |mut export| {
        Ok::<_, ExportError>(export.next().await?.map(|page| (page, export)))
    });
    let mut response = Body::from_stream(pages).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/jsonl"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Name of the caller's organisation.
pub(super) fn organization(app: &App, caller: &Identity) -> Result<String, ApiError> {
    let people = app.people.current();
    let organization = people.organization(&caller.organization_id);
    organization
        .map(|organization| organization.name.clone())
        .ok_or_else(|| ApiError::not_found("The organisation is gone"))
}

/// The filters; a name that is not known is an error, so that a misspelt one does not show everything.
fn wanted(app: &App, caller: &Identity, mut params: Params, paging: &str) -> Result<Query, ApiError> {
    let cluster = params.take("cluster")?;
    // By name or id; one that is gone only by its id.
    let cluster = cluster.map(|name| match app.directory.find(&caller.organization_id, &name) {
        Some(cluster) => cluster.id.to_string(),
        None => name,
    });
    let query = Query {
        organization: Some(organization(app, caller)?),
        // What belongs to no organisation is for those who run the gateway.
        unowned: caller.organization_id == DEFAULT_ORGANIZATION,
        from: time(&mut params, "from")?,
        to: time(&mut params, "to")?,
        user: params.take("user")?,
        cluster,
        verb: params.take("verb")?,
        decision: word(&mut params, "decision", &["allow", "deny"])?,
        phase: word(&mut params, "phase", &["begin", "end", "event"])?,
        id: params.take("id")?,
        recordings: false,
    };
    params.finish(&format!(
        "from, to, user, cluster, verb, decision, phase, id, {paging}"
    ))?;
    Ok(query)
}

/// A time in the form of entries.
pub(super) fn time(params: &mut Params, name: &str) -> Result<Option<String>, ApiError> {
    let Some(text) = params.take(name)? else {
        return Ok(None);
    };
    let time: Timestamp = text.parse().map_err(|_| {
        ApiError::invalid(format!(
            "{name:?} is {text:?} and not a time such as 2026-01-02T03:04:05Z"
        ))
    })?;
    Ok(Some(format!("{time:.3}")))
}

fn word(params: &mut Params, name: &str, words: &[&str]) -> Result<Option<String>, ApiError> {
    let word = params.take(name)?;
    if let Some(word) = word.as_deref().filter(|word| !words.contains(word)) {
        let known = words.join(", ");
        return Err(ApiError::invalid(format!(
            "{name:?} is {word:?} and none of {known}"
        )));
    }
    Ok(word)
}

/// An export that goes on.
struct Export {
    _entry: Entry,
    _permit: OwnedSemaphorePermit,
    app: Arc<App>,
    /// Set when the caller's rights have changed.
    ended: CancellationToken,
    /// Keeps the token in memory, so that deleting it finds this export.
    _caller: Arc<Identity>,
    query: Query,
    after: u64,
    last: u64,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("access was revoked")]
    Revoked,
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

impl Export {
    async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        if self.ended.is_cancelled() {
            return Err(ExportError::Revoked);
        }
        if self.after >= self.last || self.app.stop.hard.is_cancelled() {
            return Ok(None);
        }
        let page = Page::After(self.after);
        let rows = self.app.audit.store.page(&self.query, page, EXPORT_PAGE).await?;
        let mut text = String::new();
        for (seq, entry) in rows {
            self.after = seq;
            if seq <= self.last {
                text.push_str(&entry);
                text.push('\n');
            }
        }
        Ok((!text.is_empty()).then(|| text.into()))
    }
}

/// Places for exports.
pub(crate) fn exports() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_EXPORTS))
}
