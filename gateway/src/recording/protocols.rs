//! Which of the protocols that a client offers can be recorded. The others are taken out of its offer, so that the API server does not choose them.

use http::{HeaderMap, HeaderValue, header};

use super::terminal::Protocol;

/// Subprotocols of WebSocket whose messages begin with a channel's number as a byte, best first.
const CHANNELS: [&str; 3] = ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"];

/// The client offers nothing that can be read along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "terminal sessions are recorded here, and the client offers no protocol that can be: v5.channel.k8s.io, v4.channel.k8s.io, channel.k8s.io or SPDY/3.1"
)]
pub(crate) struct NotRecordable;

/// Leaves those of a client's offers that can be recorded.
pub(crate) fn restrict(upgrade: &HeaderValue, headers: &mut HeaderMap) -> Result<(), NotRecordable> {
    if is_spdy(upgrade) {
        return Ok(());
    }
    // Compression would be one.
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    let offered: Vec<_> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|offer| CHANNELS.into_iter().find(|known| *known == offer.trim()))
        .collect();
    if offered.is_empty() {
        return Err(NotRecordable);
    }
    let value = HeaderValue::from_str(&offered.join(", ")).map_err(|_| NotRecordable)?;
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    Ok(())
}

/// The protocol that the API server has chosen, if it is one of those that were left.
pub(crate) fn protocol(asked: &HeaderValue, answer: &HeaderMap) -> Option<Protocol> {
    let chosen = answer.get(header::UPGRADE).unwrap_or(asked);
    if !chosen.as_bytes().eq_ignore_ascii_case(asked.as_bytes()) {
        return None;
    }
    if is_spdy(asked) {
        return Some(Protocol::Spdy);
    }
    let channel = answer.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let plain = !answer.contains_key(header::SEC_WEBSOCKET_EXTENSIONS);
    (plain && CHANNELS.contains(&channel.trim())).then_some(Protocol::WebSocket)
}

fn is_spdy(upgrade: &HeaderValue) -> bool {
    upgrade.as_bytes().eq_ignore_ascii_case(b"SPDY/3.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_read_along_is_offered_and_taken() {
        let websocket = HeaderValue::from_static("websocket");
        let offer = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(text));
            headers.insert(
                header::SEC_WEBSOCKET_EXTENSIONS,
                HeaderValue::from_static("permessage-deflate"),
            );
            restrict(&websocket, &mut headers).map(|()| headers)
        };
        let left = offer("base64.channel.k8s.io, v4.channel.k8s.io,channel.k8s.io").unwrap();
        assert_eq!(
            left[header::SEC_WEBSOCKET_PROTOCOL],
            "v4.channel.k8s.io, channel.k8s.io"
        );
        assert!(!left.contains_key(header::SEC_WEBSOCKET_EXTENSIONS));
        for none in [
            "base64.channel.k8s.io",
            "v4.base64.channel.k8s.io",
            "V4.channel.k8s.io",
            "",
        ] {
            offer(none).unwrap_err();
        }
        restrict(&websocket, &mut HeaderMap::new()).unwrap_err();

        let spdy = HeaderValue::from_static("spdy/3.1");
        restrict(&spdy, &mut HeaderMap::new()).unwrap();
        let answer = |upgrade: &'static str, channel: &'static str| {
            let pairs = [
                (header::UPGRADE, HeaderValue::from_static(upgrade)),
                (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(channel)),
            ];
            HeaderMap::from_iter(pairs)
        };
        assert_eq!(protocol(&spdy, &answer("SPDY/3.1", "")), Some(Protocol::Spdy));
        assert_eq!(protocol(&spdy, &answer("websocket", "v4.channel.k8s.io")), None);
        let v5 = answer("WebSocket", "v5.channel.k8s.io");
        assert_eq!(protocol(&websocket, &v5), Some(Protocol::WebSocket));
        assert_eq!(
            protocol(&websocket, &answer("websocket", "base64.channel.k8s.io")),
            None
        );
        assert_eq!(protocol(&websocket, &HeaderMap::new()), None);
    }
}
