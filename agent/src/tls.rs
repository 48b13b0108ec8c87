//! Trust in the gateway: a pin of its key, or the roots of the system with extra ones.
//!
//! With a pin the key alone is the identity of the gateway: the hash of the leaf's SubjectPublicKeyInfo must be
//! equal and the handshake signature, made with that key, must verify. Names and dates in the certificate then add
//! nothing, and an expired self-made certificate does not cut off a cluster.

#[cfg(test)]
mod tests;

use std::{fmt, io, path::Path, path::PathBuf, str::FromStr, sync::Arc};

use aws_lc_rs::{constant_time, digest};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A CA bundle larger than this is not one; the biggest public bundles are a third of it.
const MAX_CA_BYTES: u64 = 1024 * 1024;

/// SHA-256 of a certificate's SubjectPublicKeyInfo (DER), written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of a certificate; `None` if it cannot be parsed.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let hash = digest::digest(&digest::SHA256, parsed.tbs_certificate.subject_pki.raw);
        hash.as_ref().try_into().ok().map(Self)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a pin.
#[derive(Debug, thiserror::Error)]
#[error("expected sha256: and 64 hexadecimal digits")]
pub struct InvalidPin;

impl FromStr for Pin {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let mut hash = [0; 32];
        let digits = text.strip_prefix("sha256:").ok_or(InvalidPin)?;
        hex::decode_to_slice(digits, &mut hash).map_err(|_| InvalidPin)?;
        Ok(Self(hash))
    }
}

/// The gateway showed another key than the pinned one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the gateway's key is {found}, not the pinned {expected}")]
pub struct PinMismatch {
    /// The configured pin.
    pub expected: Pin,
    /// The pin of the key that was shown.
    pub found: Pin,
}

impl PinMismatch {
    /// Finds the mismatch in a failed handshake's error.
    pub(crate) fn in_handshake(error: &io::Error) -> Option<Self> {
        match tls_error(error)? {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                other.downcast_ref::<Self>().copied()
            }
            _ => None,
        }
    }
}

/// The rustls error inside the I/O error of a failed handshake.
pub(crate) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| {
        inner
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner.source()?.downcast_ref::<rustls::Error>())
    })
}

/// Why no TLS client could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The CA file cannot be read.
    #[error("CA file {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The CA file holds something else than PEM certificates.
    #[error("CA file {path} holds no PEM certificates{}", .detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The parser's words, where it has some.
        detail: Option<String>,
    },
    /// The roots were not accepted.
    #[error("the trusted certificates cannot be used: {0}")]
    Roots(#[source] rustls::Error),
}

/// Makes the TLS client configuration for the gateway.
pub(crate) fn client_config(
    pin: Option<Pin>,
    ca_file: Option<&Path>,
) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if let Some(pin) = pin {
        Arc::new(PinVerifier::new(pin, &provider))
    } else {
        let extra = ca_file.map(read_ca).transpose()?.unwrap_or_default();
        let platform = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(&provider));
        Arc::new(platform.map_err(TlsSetupError::Roots)?)
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsSetupError::Roots)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // WebSocket upgrades need HTTP/1.1; without this a balancer may choose HTTP/2.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_ca(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let read = |source| TlsSetupError::Read {
        path: path.to_owned(),
        source,
    };
    let pem = |detail| TlsSetupError::Pem {
        path: path.to_owned(),
        detail,
    };
    if std::fs::metadata(path).map_err(read)?.len() > MAX_CA_BYTES {
        return Err(pem(Some(format!("larger than {MAX_CA_BYTES} bytes"))));
    }
    let text = std::fs::read(path).map_err(read)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| pem(Some(error.to_string())))?;
    if certificates.is_empty() {
        Err(pem(None))
    } else {
        Ok(certificates)
    }
}

/// Accepts exactly one public key.
#[derive(Debug)]
struct PinVerifier {
    pin: Pin,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinVerifier {
    fn new(pin: Pin, provider: &CryptoProvider) -> Self {
        Self {
            pin,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Pin::of(end_entity).ok_or(CertificateError::BadEncoding)?;
        if constant_time::verify_slices_are_equal(&found.0, &self.pin.0).is_ok() {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = PinMismatch {
            expected: self.pin,
            found,
        };
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
