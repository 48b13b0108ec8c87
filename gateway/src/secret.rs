//! Secrets in JSON bodies.

use secrecy::SecretString;
use serde::Deserialize;

/// A text that `Debug` does not show and that is wiped after use.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Secret(pub(crate) SecretString);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}
