//! Lists of records: pages as JSON, or all of them as CSV.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use futures::stream;
use http::{HeaderMap, HeaderValue, header};
use kantaloupe_gpu::inventory::Kind;
use tokio_util::sync::CancellationToken;

use super::{
    csv, fields,
    params::{self, Params, Wanted},
    render::{self, Renderer},
};
use crate::{
    api::{
        extract::{Caller, Named},
        visible::Visible,
    },
    app::App,
    auth::Identity,
    directory::Cluster,
    problem::ApiError,
    store::inventory::{Page, Query},
    streams::{Entry, Origin},
};

/// A list's `total` is given up to this number: counting further costs more than a page does.
const MOST_COUNTED: i64 = 100_000;
/// Records that a CSV download reads at once. It holds none of the store's connections while its reader is slow.
const CSV_CHUNK: u32 = 500;

const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8");

/// Of all clusters.
pub(super) async fn fleet(
    kind: Kind,
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Extension(origin): Extension<Origin>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut params = Params::read(query.as_deref())?;
    // Asked before what can be seen, so that no change is missed.
    let ended = caller.changed();
    let visible = params.take_clusters(Visible::of(&app, &caller))?;
    let reader = Reader {
        ended,
        origin,
        caller,
        cluster: None,
    };
    answer(app, reader, kind, params, visible, &headers).await
}

/// Of one cluster.
pub(super) async fn of_cluster(
    kind: Kind,
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Named(cluster, access): Named,
    Extension(origin): Extension<Origin>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(query.as_deref())?;
    let reader = Reader {
        ended: access.reading.ended.clone(),
        origin,
        caller,
        cluster: Some(Arc::clone(&cluster)),
    };
    answer(
        app,
        reader,
        kind,
        params,
        Visible::one(cluster, &access),
        &headers,
    )
    .await
}

/// Who reads, and until when he may.
struct Reader {
    ended: CancellationToken,
    origin: Origin,
    caller: Arc<Identity>,
    /// The only one, if it is one.
    cluster: Option<Arc<Cluster>>,
}

async fn answer(
    app: Arc<App>,
    reader: Reader,
    kind: Kind,
    params: Params,
    visible: Visible,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = params.wanted(kind, &visible)?;
    let as_csv = match wanted.format.as_deref() {
        None => accepts_csv(headers),
        Some("json") => false,
        Some("csv") => true,
        Some(other) => {
            return Err(ApiError::invalid(format!(
                "format is {other:?} and neither json nor csv"
            )));
        }
    };
    if as_csv {
        return download(app, reader, wanted).await;
    }
    let query = wanted.query;
    let page = app.store.inventory_page(&query).await?;
    let total = match &query.after {
        None => app.store.inventory_total(&query, MOST_COUNTED).await?,
        Some(_) => None,
    };
    Ok(render::json(page_json(&app, &query, &visible, &page, total)))
}

fn page_json(app: &App, query: &Query, visible: &Visible, page: &Page, total: Option<i64>) -> String {
    let mut renderer = Renderer::new(app);
    let mut json = String::from("{\"items\":[");
    let mut first = true;
    for item in &page.items {
        if let Some(item) = renderer.item(item, query.kind) {
            if !std::mem::take(&mut first) {
                json.push(',');
            }
            json.push_str(&item);
        }
    }
    let total = total.map_or_else(|| "null".to_owned(), |total| total.to_string());
    // A cursor is letters, digits, - and _.
    let next = page.next.as_ref().map_or_else(
        || "null".to_owned(),
        |next| format!("\"{}\"", params::cursor(next)),
    );
    let not_live = render::not_live(visible);
    json + &format!("],\"nextCursor\":{next},\"total\":{total},{not_live}}}")
}

fn accepts_csv(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            range
                .split(';')
                .next()
                .is_some_and(|media| media.trim().eq_ignore_ascii_case("text/csv"))
        })
}

/// How far a download is.
struct Download {
    app: Arc<App>,
    query: Query,
    ended: CancellationToken,
    /// Keeps the token in memory, so that deleting it finds this download.
    _caller: Arc<Identity>,
    _entry: Entry,
    /// Records still wanted; all if it is not said.
    left: Option<u32>,
    done: bool,
}

/// All pages as one CSV file, each read when its reader has taken the one before.
async fn download(app: Arc<App>, reader: Reader, wanted: Wanted) -> Result<Response, ApiError> {
    let columns = fields::csv(wanted.query.kind);
    let file = format!("attachment; filename=\"{}s.csv\"", wanted.query.kind);
    let mut download = Download {
        app,
        _entry: reader.origin.streams.add(reader.cluster.as_ref(), &reader.ended),
        ended: reader.ended,
        _caller: reader.caller,
        left: wanted.limited.then_some(wanted.query.limit),
        query: wanted.query,
        done: false,
    };
    // The first chunk before the head of the answer, so that an error is an error.
    let first = format!("{}{}", csv::head(columns), download.chunk().await?);
    let rest = stream::try_unfold(download, async |mut download| {
        if download.done {
            return Ok(None);
        }
        let chunk = download.chunk().await.map_err(|error| error.fault.to_string())?;
        Ok::<_, String>(Some((chunk, download)))
    });
    let body = futures::StreamExt::chain(stream::iter([Ok(first)]), rest);
    let mut response = Body::from_stream(body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, CSV);
    if let Ok(value) = HeaderValue::from_str(&file) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

impl Download {
    async fn chunk(&mut self) -> Result<String, ApiError> {
        if self.ended.is_cancelled() {
            return Err(ApiError::forbidden(
                "The right to read this was taken away meanwhile",
            ));
        }
        self.query.limit = self.left.map_or(CSV_CHUNK, |left| left.min(CSV_CHUNK));
        let page = self.app.store.inventory_page(&self.query).await?;
        let kind = self.query.kind;
        let mut renderer = Renderer::new(&self.app);
        let lines = page
            .items
            .iter()
            .filter_map(|item| renderer.tree(item, kind))
            .map(|record| csv::line(fields::csv(kind), &record))
            .collect();
        if let Some(left) = &mut self.left {
            *left -= u32::try_from(page.items.len()).unwrap_or(*left).min(*left);
        }
        self.done = page.next.is_none() || self.left == Some(0);
        self.query.after = page.next;
        Ok(lines)
    }
}
