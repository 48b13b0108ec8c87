use std::collections::BTreeMap;

use http_body_util::{Full, StreamBody};
use kantaloupe_gpu::object;
use kube::core::WatchEvent as Event;
use proptest::prelude::*;
use serde_json::Value;

use super::{
    messages::{
        Container, ObjectMeta, PodSpec, PodStatus, Quantity, RawExtension, Resources, Time, TypeMeta,
    },
    *,
};

fn packed(kind: &str, message: &impl Message) -> Bytes {
    let unknown = Unknown {
        kind: Some(TypeMeta {
            kind: kind.to_owned(),
        }),
        raw: message.encode_to_vec().into(),
    };
    [MAGIC, &unknown.encode_to_vec()].concat().into()
}

fn framed(kind: &str, object: Bytes) -> Vec<u8> {
    let event = WatchEvent {
        kind: kind.to_owned(),
        object: Some(RawExtension { raw: object }),
    };
    let event = event.encode_to_vec();
    [&u32::try_from(event.len()).unwrap().to_be_bytes()[..], &event].concat()
}

fn pod(name: &str) -> Pod {
    let limits = BTreeMap::from([(
        "nvidia.com/gpu".to_owned(),
        Quantity {
            string: "1".to_owned(),
        },
    )]);
    Pod {
        metadata: Some(ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("n".to_owned()),
            resource_version: Some("7".to_owned()),
            creation_timestamp: Some(Time {
                seconds: Some(1_790_000_000),
            }),
            annotations: BTreeMap::from([
                ("hami.io/vgpu-time".to_owned(), "1".to_owned()),
                (
                    "kubectl.kubernetes.io/last-applied-configuration".to_owned(),
                    "{}".to_owned(),
                ),
            ]),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            node_name: Some("node".to_owned()),
            scheduler_name: Some(String::new()),
            containers: vec![Container {
                name: "c".to_owned(),
                resources: Some(Resources {
                    limits,
                    ..Resources::default()
                }),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
        status: Some(PodStatus {
            phase: Some("Running".to_owned()),
            ..PodStatus::default()
        }),
    }
}

/// What comes of a body in pieces.
async fn translated(
    status: u16,
    kind: &str,
    pieces: Vec<Vec<u8>>,
) -> (Option<HeaderValue>, Result<Vec<u8>, BoxError>) {
    let pieces = pieces
        .into_iter()
        .map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from(piece))));
    let body = StreamBody::new(futures::stream::iter(pieces));
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(body);
    let response = translate(response.unwrap());
    let kind = response.headers().get(header::CONTENT_TYPE).cloned();
    let body = response.into_body().collect().await;
    (kind, body.map(|body| body.to_bytes().to_vec()))
}

const STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";

#[tokio::test]
async fn events_become_the_json_of_the_api_however_they_are_cut() {
    let bookmark = Pod {
        metadata: Some(ObjectMeta {
            resource_version: Some("9".to_owned()),
            annotations: BTreeMap::from([("k8s.io/initial-events-end".to_owned(), "true".to_owned())]),
            ..ObjectMeta::default()
        }),
        ..Pod::default()
    };
    let expired = Status {
        status: Some("Failure".to_owned()),
        message: Some("too old".to_owned()),
        reason: Some("Expired".to_owned()),
        code: Some(410),
    };
    let whole = [
        framed("ADDED", packed("Pod", &pod("a"))),
        framed("BOOKMARK", packed("Pod", &bookmark)),
        framed("ERROR", packed("Status", &expired)),
    ]
    .concat();
    for size in [1, 2, 7, 100, whole.len()] {
        let pieces = whole.chunks(size).map(<[u8]>::to_vec).collect();
        let (kind, json) = translated(200, STREAM, pieces).await;
        assert_eq!(kind, Some(JSON));
        let json = String::from_utf8(json.unwrap()).unwrap();
        assert!(!json.contains("last-applied"), "{json}");
        let events: Vec<_> = json
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [
            Event::Added(read),
            Event::Bookmark(bookmark),
            Event::Error(status),
        ] = <[Event<object::Pod>; 3]>::try_from(events).unwrap()
        else {
            panic!("{json}")
        };
        assert_eq!(read.metadata.name.as_deref(), Some("a"));
        assert_eq!(
            read.metadata.creation_timestamp.unwrap().0.as_second(),
            1_790_000_000
        );
        assert_eq!(read.spec.containers[0].resources.limits["nvidia.com/gpu"], "1");
        assert_eq!(read.status.phase.as_deref(), Some("Running"));
        assert_eq!(read.spec.scheduler_name, None, "an empty text is none");
        assert_eq!(bookmark.metadata.annotations["k8s.io/initial-events-end"], "true");
        assert_eq!(bookmark.metadata.resource_version, "9");
        assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    }
}

#[tokio::test]
async fn a_refusal_is_translated_and_json_is_left_alone() {
    let forbidden = Status {
        status: Some("Failure".to_owned()),
        message: Some("no".to_owned()),
        reason: Some("Forbidden".to_owned()),
        code: Some(403),
    };
    let body = packed("Status", &forbidden).to_vec();
    let (_, json) = translated(403, "application/vnd.kubernetes.protobuf", vec![body]).await;
    let json: Value = serde_json::from_slice(&json.unwrap()).unwrap();
    assert_eq!(
        (&json["code"], &json["reason"]),
        (&403.into(), &"Forbidden".into())
    );
    let (kind, json) = translated(200, "application/json", vec![b"{}".to_vec()]).await;
    assert_eq!((kind, json.unwrap()), (Some(JSON), b"{}".to_vec()));
}

#[tokio::test]
async fn what_is_no_watch_of_pods_ends_with_an_error() {
    let good = framed("ADDED", packed("Pod", &pod("a")));
    let cut = good[..good.len() - 1].to_vec();
    let long = u32::MAX.to_be_bytes().to_vec();
    let other = framed("ADDED", packed("Node", &pod("a")));
    let none = framed("ADDED", Bytes::from_static(b"{}"));
    for (bad, why) in [
        (cut, "in the middle"),
        (long, "more than"),
        (other, "the kind \"Node\""),
        (none, "does not begin"),
    ] {
        let error = translated(200, STREAM, vec![bad])
            .await
            .1
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    }
    let endless = vec![vec![0; 100 << 10]; 3];
    let error = translated(500, STREAM, endless).await.1.unwrap_err().to_string();
    assert!(error.contains("an error has more than"), "{error}");
}

#[test]
fn protobuf_is_asked_for_in_watches_of_pods_only() {
    for (uri, asked) in [
        ("/api/v1/pods?&watch=true&timeoutSeconds=120", true),
        ("/api/v1/pods?&limit=500", false),
        ("/api/v1/nodes?&watch=true", false),
    ] {
        let request = ask(Request::get(uri).body(Full::<Bytes>::default()).unwrap());
        assert_eq!(request.headers().contains_key(header::ACCEPT), asked, "{uri}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(events: bool, pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
        let mut decoder = Decoder::new(events);
        for piece in pieces {
            if decoder.push(&piece).is_err() {
                return Ok(());
            }
        }
        let _ = decoder.finish();
    }

    #[test]
    fn nor_do_damaged_events(at in 0usize..200, byte: u8) {
        let mut frame = framed("ADDED", packed("Pod", &pod("a")));
        let at = 4 + at % (frame.len() - 4);
        frame[at] = byte;
        let mut decoder = Decoder::new(true);
        let _ = decoder.push(&frame);
    }
}
