//! Watches of pods in Kubernetes' protobuf, given to kube as the JSON that it reads.
//!
//! An API server spends several times as long on the JSON of a pod as on its protobuf, and an agent on reading it: of a large cluster's
//! first list that is most of the time. kube reads JSON only, so what arrives is translated here, and only what the inventory looks at
//! is: a tenth of the bytes.
//!
//! ```text
//! kube::Client ─ Accept: protobuf ─> API server
//!              <─ {"type": "ADDED", "object": {...}}\n ─ Translated <─ length, WatchEvent, length, WatchEvent ...
//! ```
//!
//! Format: `k8s.io/apimachinery/pkg/runtime/serializer/protobuf`. An object is `k8s\0` and a `runtime.Unknown`; events of a watch are
//! bare messages, each behind its length in four bytes, the highest first. An API server that answers in JSON is read as ever.

mod messages;
#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use prost::Message;
use serde::Serialize;
use serde_json::json;
use tower::{
    BoxError,
    util::{MapRequestLayer, MapResponseLayer},
};

use self::messages::{Pod, Status, Unknown, WatchEvent};

const WATCH: HeaderValue =
    HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch,application/json");
const PROTOBUF: &[u8] = b"application/vnd.kubernetes.protobuf";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The path of pods of all namespaces.
const PODS: &str = "/api/v1/pods";
/// What an object begins with.
const MAGIC: &[u8] = b"k8s\0";
/// etcd takes 1.5 MiB for an object unless it is told otherwise.
const MAX_EVENT: usize = 16 << 20;
/// An error is some sentences.
const MAX_STATUS: usize = 256 << 10;

/// Why a body cannot be translated.
#[derive(Debug, thiserror::Error)]
enum Untranslatable {
    #[error("an object does not begin as one in protobuf does")]
    NoObject,
    #[error("an object of the kind {0:?} among pods")]
    Kind(String),
    #[error("an event has {0} bytes, more than {MAX_EVENT}")]
    TooLong(usize),
    #[error("an error has more than {MAX_STATUS} bytes")]
    LongStatus,
    #[error("the stream ends in the middle of an event")]
    Cut,
    #[error(transparent)]
    Message(#[from] prost::DecodeError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// A client for watches of pods: as the one of `config`, with protobuf on the wire.
pub(crate) fn client(config: kube::Config) -> kube::Result<kube::Client> {
    let client = kube::client::ClientBuilder::try_from(config)?
        .with_layer(&MapRequestLayer::new(ask))
        .with_layer(&MapResponseLayer::new(translate::<Box<kube::client::DynBody>>))
        .build();
    Ok(client)
}

fn ask<B>(mut request: Request<B>) -> Request<B> {
    let mut query = request.uri().query().unwrap_or_default().split('&');
    if request.method() == Method::GET
        && request.uri().path() == PODS
        && query.any(|pair| pair == "watch=true")
    {
        request.headers_mut().insert(header::ACCEPT, WATCH);
    }
    request
}

type Plain = UnsyncBoxBody<Bytes, BoxError>;

fn translate<B>(response: Response<B>) -> Response<Plain>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (mut head, body) = response.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let body = body.map_err(Into::into);
    if !kind.is_some_and(|kind| kind.starts_with(PROTOBUF)) {
        return Response::from_parts(head, body.boxed_unsync());
    }
    head.headers.insert(header::CONTENT_TYPE, JSON);
    head.headers.remove(header::CONTENT_LENGTH);
    let decoder = Decoder::new(head.status == StatusCode::OK);
    let translated = Translated {
        body,
        decoder: Some(decoder),
    };
    Response::from_parts(head, translated.boxed_unsync())
}

/// What arrives, in JSON.
struct Translated<B> {
    body: B,
    /// None after the end.
    decoder: Option<Decoder>,
}

impl<B> Body for Translated<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            let Some(decoder) = &mut this.decoder else {
                return Poll::Ready(None);
            };
            let json = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => decoder.push(&data),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => {
                    this.decoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let last = decoder.finish();
                    this.decoder = None;
                    last
                }
            };
            match json {
                Ok(json) if json.is_empty() => {}
                Ok(json) => return Poll::Ready(Some(Ok(Frame::data(json.into())))),
                Err(error) => {
                    this.decoder = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Bytes in, JSON out. No I/O.
struct Decoder {
    waiting: BytesMut,
    /// Events of a watch; otherwise one object, which says what is wrong.
    events: bool,
}

impl Decoder {
    fn new(events: bool) -> Self {
        Self {
            waiting: BytesMut::new(),
            events,
        }
    }

    fn push(&mut self, data: &[u8]) -> Result<Vec<u8>, Untranslatable> {
        self.waiting.extend_from_slice(data);
        let mut json = Vec::new();
        if !self.events {
            return match self.waiting.len() {
                0..=MAX_STATUS => Ok(json),
                _ => Err(Untranslatable::LongStatus),
            };
        }
        while let Some(length) = self.waiting.first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > MAX_EVENT {
                return Err(Untranslatable::TooLong(length));
            }
            if self.waiting.len() < 4 + length {
                break;
            }
            self.waiting.advance(4);
            let message = self.waiting.split_to(length).freeze();
            event(message, &mut json)?;
        }
        Ok(json)
    }

    fn finish(&mut self) -> Result<Vec<u8>, Untranslatable> {
        let rest = self.waiting.split().freeze();
        match (self.events, rest.is_empty()) {
            (true, true) => Ok(Vec::new()),
            (true, false) => Err(Untranslatable::Cut),
            (false, _) => Ok(serde_json::to_vec(&status(unpacked(&rest)?)?)?),
        }
    }
}

/// One line for one event.
fn event(message: Bytes, json: &mut Vec<u8>) -> Result<(), Untranslatable> {
    let WatchEvent { kind, object } = WatchEvent::decode(message)?;
    let unknown = unpacked(&object.unwrap_or_default().raw)?;
    json.extend_from_slice(b"{\"type\":");
    serde_json::to_writer(&mut *json, &kind)?;
    json.extend_from_slice(b",\"object\":");
    match unknown.kind.as_ref().map(|kind| kind.kind.as_str()) {
        Some("Pod") => {
            let mut pod = Pod::decode(unknown.raw)?;
            pod.lighten();
            serde_json::to_writer(&mut *json, &Typed::pod(&pod))?;
        }
        Some("Status") => serde_json::to_writer(&mut *json, &status(unknown)?)?,
        other => {
            return Err(Untranslatable::Kind(
                other.unwrap_or_default().chars().take(60).collect(),
            ));
        }
    }
    json.extend_from_slice(b"}\n");
    Ok(())
}

/// An object as JSON has it. kube reads bookmarks only with their type.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Typed<'a> {
    kind: &'static str,
    api_version: &'static str,
    #[serde(flatten)]
    object: &'a Pod,
}

impl<'a> Typed<'a> {
    fn pod(object: &'a Pod) -> Self {
        Self {
            kind: "Pod",
            api_version: "v1",
            object,
        }
    }
}

fn unpacked(object: &Bytes) -> Result<Unknown, Untranslatable> {
    if !object.starts_with(MAGIC) {
        return Err(Untranslatable::NoObject);
    }
    Ok(Unknown::decode(object.slice(MAGIC.len()..))?)
}

fn status(unknown: Unknown) -> Result<serde_json::Value, Untranslatable> {
    let Status {
        status,
        message,
        reason,
        code,
    } = Status::decode(unknown.raw)?;
    Ok(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": status, "message": message, "reason": reason, "code": code,
    }))
}
