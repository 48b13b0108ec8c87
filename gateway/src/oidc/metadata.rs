//! What a provider says of itself (OpenID Connect Discovery 1.0, section 3; RFC 8414; RFC 8628). No I/O.

use serde::Deserialize;
use url::Url;

use super::fault::{OidcError, said};

/// Where it is, below the issuer.
const PATH: &str = "/.well-known/openid-configuration";

/// An address that nobody on the way can read or change what is sent to.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct HttpsUrl(pub(crate) Url);

impl TryFrom<String> for HttpsUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Url::parse(&text)
            .ok()
            .filter(|url| url.scheme() == "https")
            .map(Self)
            .ok_or_else(|| format!("{:?} is not an https URL", said(&text)))
    }
}

/// The parts that are used here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    pub(crate) authorization_endpoint: HttpsUrl,
    pub(crate) token_endpoint: HttpsUrl,
    pub(crate) jwks_uri: HttpsUrl,
    pub(crate) userinfo_endpoint: Option<HttpsUrl>,
    pub(crate) end_session_endpoint: Option<HttpsUrl>,
    pub(crate) device_authorization_endpoint: Option<HttpsUrl>,
    pub(crate) revocation_endpoint: Option<HttpsUrl>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether its answers to browsers name it (RFC 9207).
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// How the client's secret is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretIn {
    Header,
    Form,
}

/// The address of the document.
pub(crate) fn url(issuer: &str) -> Url {
    let text = format!("{}{PATH}", issuer.trim_end_matches('/'));
    Url::parse(&text).expect("the issuer is a URL without query and fragment")
}

impl Metadata {
    /// Reads the document and checks that it is that issuer's.
    pub(crate) fn parse(json: &[u8], issuer: &str) -> Result<Self, OidcError> {
        let answer = |why: String| OidcError::Answer {
            url: url(issuer),
            why,
        };
        let metadata: Self = serde_json::from_slice(json).map_err(|error| answer(error.to_string()))?;
        if metadata.issuer != issuer {
            return Err(OidcError::Issuer {
                found: said(&metadata.issuer),
                expected: issuer.to_owned(),
            });
        }
        Ok(metadata)
    }

    /// How this provider wants the secret. Without a word it is the header (section 3).
    pub(crate) fn secret_in(&self) -> Result<SecretIn, OidcError> {
        let Some(methods) = &self.token_endpoint_auth_methods_supported else {
            return Ok(SecretIn::Header);
        };
        let has = |method: &str| methods.iter().any(|known| known == method);
        if has("client_secret_basic") {
            Ok(SecretIn::Header)
        } else if has("client_secret_post") {
            Ok(SecretIn::Form)
        } else {
            Err(OidcError::Unsupported("login of clients by a secret"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example.com/realms/main";

    fn document() -> serde_json::Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example.com/auth",
            "token_endpoint": "https://id.example.com/token",
            "jwks_uri": "https://keys.example.com/jwks",
            "something_else": { "a": 1 },
        })
    }

    #[test]
    fn the_document_is_below_the_issuer_with_or_without_a_slash() {
        for issuer in [ISSUER, "https://id.example.com/realms/main/"] {
            let want = "https://id.example.com/realms/main/.well-known/openid-configuration";
            assert_eq!(url(issuer).as_str(), want);
        }
    }

    #[test]
    fn another_issuer_plain_http_and_missing_parts_are_refused() {
        let parse = |value: &serde_json::Value| Metadata::parse(value.to_string().as_bytes(), ISSUER);
        assert_eq!(parse(&document()).unwrap().secret_in().unwrap(), SecretIn::Header);
        let mut other = document();
        // Character by character: a slash makes another issuer.
        other["issuer"] = json!(format!("{ISSUER}/"));
        assert!(matches!(parse(&other), Err(OidcError::Issuer { .. })));
        for endpoint in [
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "revocation_endpoint",
        ] {
            let mut plain = document();
            plain[endpoint] = json!("http://id.example.com/x");
            assert!(
                matches!(parse(&plain), Err(OidcError::Answer { .. })),
                "{endpoint}"
            );
        }
        for missing in ["issuer", "token_endpoint", "jwks_uri", "authorization_endpoint"] {
            let mut less = document();
            less.as_object_mut().unwrap().remove(missing);
            assert!(parse(&less).unwrap_err().to_string().contains(missing));
        }
        assert!(Metadata::parse(b"<html>", ISSUER).is_err());
    }

    #[test]
    fn the_secret_goes_where_the_provider_takes_it() {
        for (methods, want) in [
            (
                json!(["client_secret_post", "client_secret_basic"]),
                Some(SecretIn::Header),
            ),
            (json!(["client_secret_post"]), Some(SecretIn::Form)),
            (json!(["private_key_jwt"]), None),
        ] {
            let mut document = document();
            document["token_endpoint_auth_methods_supported"] = methods;
            let metadata = Metadata::parse(document.to_string().as_bytes(), ISSUER).unwrap();
            assert_eq!(metadata.secret_in().ok(), want);
        }
    }
}
