//! HTTP/1.1 upgrades (WebSocket, SPDY/3.1) through a session, as extended CONNECT (RFC 8441). The bytes after the
//! upgrade are opaque.
//!
//! ```text
//! user ── POST /x, Upgrade: SPDY/3.1 ──> gateway ── CONNECT /x, :protocol SPDY/3.1 ──> agent ── POST /x, Upgrade ──> API server
//!      <── 101 ──────────────────────           <── 200, headers of the 101 ─────────       <── 101 ───────────────
//! ```
//!
//! CONNECT has no room for the method and for a status that is not the tunnel's own, so headers carry them. An answer
//! other than 101 is an ordinary response with its body.

mod splice;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    uri::PathAndQuery,
};
use hyper::ext::Protocol;

pub use self::splice::splice;
use crate::session::ORIGIN;

/// The method of the user's request.
const METHOD: HeaderName = HeaderName::from_static("kantaloupe-upgrade-method");
/// The status of the upstream's answer.
const STATUS: HeaderName = HeaderName::from_static("kantaloupe-upgrade-status");
/// The protocol that the upstream has chosen; HTTP/2 allows no `Upgrade` header.
const CHOSEN: HeaderName = HeaderName::from_static("kantaloupe-upgrade-protocol");
/// Longest name of an upgrade protocol.
const MAX_PROTOCOL: usize = 64;

/// Why a message does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The user's `Upgrade` header is missing, not text or too long.
    #[error("the Upgrade header is not usable")]
    Protocol,
    /// The other end of the tunnel did not speak as this module does.
    #[error("the other end of the tunnel did not follow the upgrade protocol")]
    Tunnel,
}

/// Whether an HTTP/1.1 request asks for an upgrade: an `Upgrade` header that `Connection` names.
pub fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(header::UPGRADE)
        && request
            .headers()
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// Gateway: the CONNECT request for a user's upgrade. `path` is what the agent is asked for; `headers` are the user's,
/// already cleaned, without hop-by-hop ones.
pub fn connect_request<B>(
    method: &Method,
    protocol: &HeaderValue,
    path: PathAndQuery,
    mut headers: HeaderMap,
    body: B,
) -> Result<Request<B>, Error> {
    let protocol = protocol
        .to_str()
        .ok()
        .filter(|p| !p.is_empty() && p.len() <= MAX_PROTOCOL);
    let protocol = Protocol::from(protocol.ok_or(Error::Protocol)?);
    let method = HeaderValue::from_str(method.as_str()).map_err(|_| Error::Protocol)?;
    remove_hop_by_hop(&mut headers);
    headers.insert(METHOD, method);
    let mut uri = Uri::from_static(ORIGIN).into_parts();
    uri.path_and_query = Some(path);
    let mut request = Request::new(body);
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Error::Protocol)?;
    *request.headers_mut() = headers;
    request.extensions_mut().insert(protocol);
    Ok(request)
}

/// Agent: whether a request on the session is one of [`connect_request`].
pub fn is_connect<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT && request.extensions().get::<Protocol>().is_some()
}

/// Agent: method and headers of the HTTP/1.1 request to make upstream, taken out of a CONNECT request.
pub fn upstream_request<B>(request: &mut Request<B>) -> Result<(Method, HeaderMap), Error> {
    let protocol = request.extensions().get::<Protocol>().ok_or(Error::Tunnel)?;
    let protocol = HeaderValue::from_str(protocol.as_str()).map_err(|_| Error::Tunnel)?;
    let method = request.headers().get(METHOD).ok_or(Error::Tunnel)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Error::Tunnel)?;
    // Not before it is sure that they are wanted: who refuses the request reads them.
    let mut headers = std::mem::take(request.headers_mut());
    headers.remove(METHOD);
    remove_hop_by_hop(&mut headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
    Ok((method, headers))
}

/// Agent: the head of the CONNECT answer for the upstream's answer.
pub fn connect_response(upstream: &http::response::Parts) -> http::response::Parts {
    let mut headers = upstream.headers.clone();
    let chosen = headers.remove(header::UPGRADE);
    remove_hop_by_hop(&mut headers);
    headers.insert(STATUS, HeaderValue::from(upstream.status.as_u16()));
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = match upstream.status {
        StatusCode::SWITCHING_PROTOCOLS => {
            if let Some(chosen) = chosen {
                headers.insert(CHOSEN, chosen);
            }
            StatusCode::OK
        }
        // A 2xx would open the tunnel of CONNECT; the real status is in the header.
        status if status.is_success() || status.is_informational() => StatusCode::BAD_GATEWAY,
        status => status,
    };
    head.headers = headers;
    head
}

/// Gateway: the head of the answer to the user for a CONNECT answer. 101 means that the tunnel is open.
pub fn user_response(connect: &http::response::Parts) -> Result<http::response::Parts, Error> {
    let mut headers = connect.headers.clone();
    let chosen = headers.remove(CHOSEN);
    let status = match headers.remove(STATUS) {
        Some(status) => StatusCode::from_bytes(status.as_bytes()).map_err(|_| Error::Tunnel)?,
        // The agent refused by itself.
        None if !connect.status.is_success() => connect.status,
        None => return Err(Error::Tunnel),
    };
    let open = status == StatusCode::SWITCHING_PROTOCOLS;
    if open != connect.status.is_success() {
        return Err(Error::Tunnel);
    }
    if open {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(chosen) = chosen {
            headers.insert(header::UPGRADE, chosen);
        }
    }
    let (mut head, ()) = Response::new(()).into_parts();
    (head.status, head.headers) = (status, headers);
    Ok(head)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)))
            .collect()
    }

    fn round_trip(status: u16, upstream: &[(&'static str, &'static str)]) -> http::response::Parts {
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = StatusCode::from_u16(status).unwrap();
        head.headers = headers(upstream);
        let connect = connect_response(&head);
        assert_eq!(connect.status.is_success(), status == 101);
        user_response(&connect).unwrap()
    }

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let sent = headers(&[
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("connection", "Upgrade"),
        ]);
        let path = PathAndQuery::from_static("/exec?command=ls");
        let protocol = HeaderValue::from_static("SPDY/3.1");
        let mut request = connect_request(&Method::POST, &protocol, path, sent, ()).unwrap();
        assert!(is_connect(&request));
        assert_eq!(request.uri().path_and_query().unwrap(), "/exec?command=ls");
        assert!(!request.headers().contains_key("connection"));
        let (method, got) = upstream_request(&mut request).unwrap();
        assert_eq!(method, Method::POST);
        let want = headers(&[
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
        ]);
        assert_eq!(got, want);
    }

    #[test]
    fn a_101_arrives_with_its_headers() {
        let head = round_trip(
            101,
            &[
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("sec-websocket-accept", "x"),
            ],
        );
        assert_eq!(head.status, 101);
        let want = headers(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "x"),
        ]);
        assert_eq!(head.headers, want);
    }

    #[test]
    fn other_answers_arrive_as_plain_responses() {
        for status in [200, 204, 302, 400, 403, 500, 503] {
            let head = round_trip(status, &[("content-type", "text/plain")]);
            assert_eq!(head.status, status);
            assert_eq!(head.headers, headers(&[("content-type", "text/plain")]));
        }
    }

    #[test]
    fn an_agent_that_lies_about_the_status_is_refused() {
        for (outer, inner) in [
            (200, Some("403")),
            (403, Some("101")),
            (200, None),
            (200, Some("x")),
        ] {
            let (mut head, ()) = Response::new(()).into_parts();
            head.status = StatusCode::from_u16(outer).unwrap();
            if let Some(inner) = inner {
                head.headers.insert(STATUS, HeaderValue::from_static(inner));
            }
            assert_eq!(
                user_response(&head).unwrap_err(),
                Error::Tunnel,
                "{outer} {inner:?}"
            );
        }
    }

    #[test]
    fn only_an_upgrade_named_by_connection_counts() {
        let ask = |pairs| {
            let mut request = Request::new(());
            *request.headers_mut() = headers(pairs);
            is_upgrade(&request)
        };
        assert!(ask(&[
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade")
        ]));
        assert!(!ask(&[("upgrade", "websocket")]));
        assert!(!ask(&[("connection", "upgrade")]));
    }

    #[test]
    fn protocol_names_are_limited() {
        let path = PathAndQuery::from_static("/");
        let long = HeaderValue::from_str(&"x".repeat(65)).unwrap();
        let got = connect_request(&Method::GET, &long, path, HeaderMap::new(), ()).unwrap_err();
        assert_eq!(got, Error::Protocol);
    }
}
