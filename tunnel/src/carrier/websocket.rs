//! WebSocket carrier (RFC 6455): one binary message per frame, over a stream that is already encrypted.
//!
//! The HTTP upgrade itself is done by the caller's HTTP stack, which may authenticate and answer errors in its own
//! way; here are the headers that it needs and the carrier for the upgraded stream.

mod messages;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::{
    handshake::{client::generate_key, derive_accept_key},
    protocol::Role,
};

use self::messages::Messages;
use super::BoxCarrier;

/// WebSocket subprotocol: the link's frames, version 1.
pub const PROTOCOL: &str = "kantaloupe.link.v1";

const VERSION: HeaderValue = HeaderValue::from_static("13");

/// What the 101 answer has to match.
#[derive(Debug)]
pub struct Key(String);

/// Why an answer is not the expected upgrade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotUpgraded {
    /// Another status than 101.
    #[error("HTTP {0} instead of 101 Switching Protocols")]
    Status(StatusCode),
    /// 101, but not to this request or not to this protocol.
    #[error("the answer's {0} header does not match the request")]
    Header(&'static str),
}

/// Why a request is not the expected upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a WebSocket upgrade to {PROTOCOL}: header {0} is missing or wrong")]
pub struct BadUpgrade(pub &'static str);

/// Sets the headers of an upgrade request (HTTP/1.1 GET) and gives the key to check the answer with.
pub fn client_headers(headers: &mut HeaderMap) -> Key {
    let key = generate_key();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, VERSION);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    headers.insert(
        header::SEC_WEBSOCKET_KEY,
        key.parse().expect("base64 is a valid header"),
    );
    Key(key)
}

/// Checks the answer to a request with [`client_headers`].
pub fn check_response<B>(response: &Response<B>, key: &Key) -> Result<(), NotUpgraded> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(NotUpgraded::Status(response.status()));
    }
    let is = |name: &header::HeaderName, want: &str| {
        response
            .headers()
            .get(name)
            .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(want.as_bytes()))
    };
    if !is(&header::UPGRADE, "websocket") {
        return Err(NotUpgraded::Header("Upgrade"));
    }
    if !is(&header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err(NotUpgraded::Header("Sec-WebSocket-Protocol"));
    }
    let accept = derive_accept_key(key.0.as_bytes());
    if response
        .headers()
        .get(header::SEC_WEBSOCKET_ACCEPT)
        .is_none_or(|v| v.as_bytes() != accept.as_bytes())
    {
        return Err(NotUpgraded::Header("Sec-WebSocket-Accept"));
    }
    Ok(())
}

/// The 101 answer to a valid upgrade request.
pub fn server_response<B>(request: &Request<B>) -> Result<Response<()>, BadUpgrade> {
    let headers = request.headers();
    let has = |name: header::HeaderName, want: &str, label| {
        let listed = headers
            .get_all(&name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','));
        if listed.into_iter().any(|v| v.trim().eq_ignore_ascii_case(want)) {
            Ok(())
        } else {
            Err(BadUpgrade(label))
        }
    };
    has(header::CONNECTION, "upgrade", "Connection")?;
    has(header::UPGRADE, "websocket", "Upgrade")?;
    has(header::SEC_WEBSOCKET_VERSION, "13", "Sec-WebSocket-Version")?;
    has(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL, "Sec-WebSocket-Protocol")?;
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(BadUpgrade("Sec-WebSocket-Key"))?;
    let accept = derive_accept_key(key.as_bytes());
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        .header(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response.body(()).expect("all parts are valid"))
}

/// The dialing end of an upgraded stream.
pub fn client<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(io: S) -> BoxCarrier {
    Box::new(Messages::new(io, Role::Client))
}

/// The accepting end of an upgraded stream.
pub fn server<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(io: S) -> BoxCarrier {
    Box::new(Messages::new(io, Role::Server))
}
