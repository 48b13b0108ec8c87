//! HTTP between agent and gateway before the tunnel stands: enrolment, challenge, upgrade, and their errors.
//!
//! Fields that a reader does not know are ignored, so that either end may be newer than the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `POST`: [`EnrollRequest`] in, [`EnrollResponse`] or [`Problem`] out.
pub const ENROLL_PATH: &str = "/agent/v1/enroll";
/// `GET`: [`ChallengeResponse`] out.
pub const CHALLENGE_PATH: &str = "/agent/v1/challenge";
/// `GET` with a WebSocket upgrade and an assertion: 101 and link frames, or [`Problem`].
pub const TUNNEL_PATH: &str = "/agent/v1/tunnel";

/// Largest request or response body of these calls, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;
/// Largest header block of these calls, in bytes.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Content type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Binds a public key to a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrollRequest {
    /// The whole enrolment token.
    #[serde(serialize_with = "expose", deserialize_with = "hide")]
    pub token: SecretString,
    /// Raw Ed25519 public key; base64 with padding on the wire.
    #[serde(serialize_with = "encode_key", deserialize_with = "decode_key")]
    pub public_key: [u8; 32],
    /// UID of the `kube-system` namespace.
    pub cluster_uid: String,
    /// `SemVer` of the agent.
    pub agent_version: String,
    /// The agent's clock, Unix seconds.
    pub time: i64,
}

/// What the agent needs for every later connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrollResponse {
    /// Id of the cluster that the token was made for.
    pub cluster_id: String,
    /// Its name.
    pub cluster_name: String,
    /// Id under which the gateway keeps the public key.
    pub key_id: String,
    /// Name of this gateway, to be repeated in every assertion.
    pub audience: String,
}

/// What the agent must put into its assertion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeResponse {
    /// Good once, for a minute.
    pub nonce: String,
    /// The gateway's clock, Unix seconds.
    pub time: i64,
    /// See [`crate::PROTOCOL_VERSION`].
    pub protocol_version: u32,
}

/// Problem details (RFC 9457) with a check's code and remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// URI of the kind of problem; `about:blank` where the status says it all.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// Short and the same for every occurrence.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What happened this time, and to what.
    #[serde(default)]
    pub detail: String,
    /// The check's code, such as `KTA-AUTH-003`.
    #[serde(default)]
    pub code: String,
    /// What to do about it.
    #[serde(default)]
    pub fix: String,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn hide<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

fn encode_key<S: Serializer>(key: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(key))
}

fn decode_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| de::Error::custom("the public key is not base64"))?;
    bytes
        .try_into()
        .map_err(|_| de::Error::custom("the public key is not 32 bytes long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> EnrollRequest {
        EnrollRequest {
            token: SecretString::from("kte_canary"),
            public_key: [7; 32],
            cluster_uid: "uid".to_owned(),
            agent_version: "0.1.0".to_owned(),
            time: 1_790_000_000,
        }
    }

    #[test]
    fn enrolment_has_the_documented_wire_format() {
        let json = serde_json::to_value(request()).unwrap();
        let expected = serde_json::json!({
            "token": "kte_canary",
            "publicKey": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
            "clusterUid": "uid",
            "agentVersion": "0.1.0",
            "time": 1_790_000_000,
        });
        assert_eq!(json, expected);
        let back: EnrollRequest = serde_json::from_value(json).unwrap();
        assert_eq!(back.token.expose_secret(), "kte_canary");
        assert_eq!(back.public_key, [7; 32]);
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let mut json = serde_json::to_value(request()).unwrap();
        for wrong in ["", "BwcH", "not base64!"] {
            json["publicKey"] = wrong.into();
            serde_json::from_value::<EnrollRequest>(json.clone()).unwrap_err();
        }
    }

    #[test]
    fn debug_output_hides_the_token() {
        assert!(!format!("{:?}", request()).contains("canary"));
    }

    #[test]
    fn a_problem_of_another_maker_is_read_as_far_as_it_goes() {
        let problem: Problem = serde_json::from_str(r#"{"status":503,"instance":"/x"}"#).unwrap();
        assert_eq!(
            (problem.kind.as_str(), problem.status, problem.code.as_str()),
            ("about:blank", 503, "")
        );
    }
}
