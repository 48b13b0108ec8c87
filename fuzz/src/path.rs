//! The parser that says what a request to an API server asks for.

use http::Method;
use kantaloupe_proto::request::{RequestInfo, Verb, parse};

const METHODS: [Method; 8] = [
    Method::GET,
    Method::POST,
    Method::DELETE,
    Method::PUT,
    Method::PATCH,
    Method::HEAD,
    Method::OPTIONS,
    Method::TRACE,
];

/// The first byte picks the method, the rest is path and query.
///
/// A path that passes cannot be read otherwise by a server that decodes once more or resolves dots, and what it asks
/// for is what the segments say.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let Ok(target) = str::from_utf8(rest) else { return };
    let method = &METHODS[usize::from(*first) % METHODS.len()];
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    let Ok(info) = parse(method, path, query) else {
        return;
    };

    assert_ne!(method, Method::TRACE);
    let mut read = path.as_bytes().to_vec();
    for _ in 0..4 {
        one_reading(&read, path);
        read = decode(&read);
    }
    let once = String::from_utf8(decode(path.as_bytes())).expect("only UTF-8 passes");
    what_it_asks(&info, &once, method);
}

fn one_reading(read: &[u8], path: &str) {
    assert_eq!(read.first(), Some(&b'/'));
    let slashes = |bytes: &[u8]| bytes.split(|byte| *byte == b'/').count();
    assert_eq!(slashes(read), slashes(path.as_bytes()), "an encoded slash passed");
    let segments: Vec<&[u8]> = read.split(|byte| *byte == b'/').collect();
    for (index, segment) in segments.iter().enumerate() {
        assert!(*segment != b"." && *segment != b"..", "a dot segment passed");
        let at_an_end = index == 0 || index + 1 == segments.len();
        assert!(at_an_end || !segment.is_empty(), "an empty segment passed");
    }
    assert!(
        !read
            .iter()
            .any(|byte| *byte < b' ' || matches!(byte, b'\\' | b';' | 0x7f)),
        "a character passed"
    );
}

fn what_it_asks(info: &RequestInfo, path: &str, method: &Method) {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let resource = match parts.first() {
        Some(&"api") => parts.len() >= 3,
        Some(&"apis") => parts.len() >= 4,
        _ => false,
    };
    assert_eq!(info.is_resource_request, resource);
    if !resource {
        assert_eq!(info.verb.as_str(), method.as_str().to_ascii_lowercase());
        return;
    }
    assert!(!info.resource.is_empty() && !info.api_version.is_empty());
    for part in [
        &info.resource,
        &info.subresource,
        &info.namespace,
        &info.api_group,
        &info.api_version,
    ] {
        assert!(
            part.is_empty() || parts.contains(&part.as_str()),
            "{part} is not in the path"
        );
    }
    let streams = matches!(
        info.subresource.as_str(),
        "exec" | "attach" | "portforward" | "proxy"
    );
    assert!(
        !streams || info.verb == Verb::Connect,
        "a stream is not called connect"
    );
    let reads = matches!(info.verb, Verb::Get | Verb::List | Verb::Watch);
    assert!(
        !reads || matches!(*method, Method::GET | Method::HEAD),
        "a change is called a read"
    );
}

/// Percent-decodes what can be decoded and leaves the rest.
fn decode(bytes: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high << 4 | low).expect("two hexadecimal digits are a byte"));
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}
