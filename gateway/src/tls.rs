//! The gateway's certificate: its own, made at first start, or the operator's.
//!
//! The own key is kept for good: agents pin its hash. Its certificate may be issued again with the same key when the
//! names change or the end comes near, and no agent notices.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{config::TlsSource, files};

/// Own certificates last this long: they are trusted by pin or as their own root, so that an early end only breaks.
const OWN_YEARS: i16 = 10;
/// An own certificate is issued again at the first start within this many days of its end.
const RENEW_BEFORE_DAYS: i64 = 90;

/// What the listener and the install commands need.
#[derive(Debug)]
pub(crate) struct ServerTls {
    /// For accepting connections, ALPN `h2` and `http/1.1`.
    pub(crate) config: Arc<ServerConfig>,
    /// `sha256:<hex>` of the leaf's SubjectPublicKeyInfo.
    pub(crate) pin: String,
    /// PEM of the own certificate, for kubeconfigs; `None` when the operator gave a certificate.
    pub(crate) own_ca: Option<String>,
}

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of the own certificate could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no valid {what}: {detail}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// The parser's answer; never key material.
        detail: String,
    },
    /// The key is not the certificate's.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
    },
    /// rustls or rcgen refused for another reason.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

/// Loads the certificate or makes the own one. `hosts` are the names and addresses that it must be valid for.
pub(crate) fn prepare(source: &TlsSource, data_dir: &Path, hosts: &[String]) -> Result<ServerTls, TlsError> {
    match source {
        TlsSource::Files { cert, key } => load(cert, key, None),
        TlsSource::SelfMade => {
            let (cert, key) = (data_dir.join("tls.crt"), data_dir.join("tls.key"));
            let pem = ensure_own(&cert, &key, hosts)?;
            load(&cert, &key, Some(pem))
        }
    }
}

/// Makes what is missing of the own key and certificate; the certificate's PEM.
fn ensure_own(cert_path: &Path, key_path: &Path, hosts: &[String]) -> Result<String, TlsError> {
    // The key is on disk before any certificate of it, so a crash in between leaves a state that the next start mends.
    let key = match std::fs::read_to_string(key_path) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(|e| content(key_path, "private key", &e))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(|e| TlsError::Setup(e.to_string()))?;
            write(key_path, key.serialize_pem().as_bytes())?;
            key
        }
        Err(source) => {
            return Err(TlsError::Read {
                path: key_path.to_owned(),
                source,
            });
        }
    };
    match std::fs::read(cert_path) {
        Ok(bytes) => {
            let now = jiff::Timestamp::now().as_second();
            match still_good(cert_path, &bytes, hosts, now)? {
                Ok(()) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(why) => {
                    tracing::warn!(%why, "issuing the own certificate again; download kubeconfigs again");
                }
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => {
            return Err(TlsError::Read {
                path: cert_path.to_owned(),
                source,
            });
        }
    }
    let pem = issue(&key, hosts)?;
    write(cert_path, pem.as_bytes())?;
    Ok(pem)
}

/// Whether a certificate covers the hosts and lasts; else why not.
fn still_good(path: &Path, pem: &[u8], hosts: &[String], now: i64) -> Result<Result<(), String>, TlsError> {
    let der = CertificateDer::from_pem_slice(pem).map_err(|e| content(path, "certificate", &e))?;
    let (_, cert) = X509Certificate::from_der(&der).map_err(|e| content(path, "certificate", &e))?;
    if cert.validity().not_after.timestamp() - now < RENEW_BEFORE_DAYS * 24 * 3600 {
        return Ok(Err("it ends soon".to_owned()));
    }
    let names = cert
        .subject_alternative_name()
        .map_err(|e| content(path, "certificate", &e))?;
    let names: BTreeSet<String> = names
        .iter()
        .flat_map(|ext| &ext.value.general_names)
        .filter_map(san_text)
        .collect();
    Ok(match hosts.iter().find(|host| !names.contains(*host)) {
        Some(host) => Err(format!("it is not valid for {host}")),
        None => Ok(()),
    })
}

fn san_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
                16 => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
                _ => return None,
            };
            Some(address.to_string())
        }
        _ => None,
    }
}

fn issue(key: &KeyPair, hosts: &[String]) -> Result<String, TlsError> {
    let mut params = CertificateParams::new(hosts).map_err(|e| TlsError::Setup(e.to_string()))?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "kantaloupe-gateway");
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // A day back, so that a client whose clock is a little behind accepts it at once.
    let yesterday = jiff::Zoned::now()
        .date()
        .yesterday()
        .map_err(|e| TlsError::Setup(e.to_string()))?;
    let (month, day) = (
        yesterday.month().unsigned_abs(),
        yesterday.day().unsigned_abs().min(28),
    );
    params.not_before = rcgen::date_time_ymd(yesterday.year().into(), month, day);
    params.not_after = rcgen::date_time_ymd((yesterday.year() + OWN_YEARS).into(), month, day);
    params
        .self_signed(key)
        .map(|cert| cert.pem())
        .map_err(|e| TlsError::Setup(e.to_string()))
}

fn load(cert_path: &Path, key_path: &Path, own_ca: Option<String>) -> Result<ServerTls, TlsError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(cert_path)?)
        .collect::<Result<_, _>>()
        .map_err(|e| content(cert_path, "certificate", &e))?;
    let leaf = chain
        .first()
        .ok_or_else(|| content(cert_path, "certificate", &"no CERTIFICATE block"))?;
    let pin = spki_pin(leaf).map_err(|e| content(cert_path, "certificate", &e))?;
    let key =
        PrivateKeyDer::from_pem_slice(&read(key_path)?).map_err(|e| content(key_path, "private key", &e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                cert: cert_path.to_owned(),
                key: key_path.to_owned(),
            },
            other => content(key_path, "private key", &other),
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(ServerTls {
        config: Arc::new(config),
        pin,
        own_ca,
    })
}

/// `sha256:<hex>` over the SubjectPublicKeyInfo of a certificate.
fn spki_pin(cert: &CertificateDer<'_>) -> Result<String, String> {
    let (_, parsed) = X509Certificate::from_der(cert).map_err(|e| e.to_string())?;
    let hash = digest::digest(&digest::SHA256, parsed.public_key().raw);
    let mut pin = String::from("sha256:");
    write!(pin, "{}", hex::encode(hash)).expect("writing to a String");
    Ok(pin)
}

fn content(path: &Path, what: &'static str, detail: &impl ToString) -> TlsError {
    TlsError::Content {
        path: path.to_owned(),
        what,
        detail: detail.to_string(),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    files::write_private(path, bytes).map_err(|source| TlsError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn own_certificate_stays_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let names = hosts(&["localhost", "127.0.0.1"]);
        let first = prepare(&TlsSource::SelfMade, dir.path(), &names).unwrap();
        let second = prepare(&TlsSource::SelfMade, dir.path(), &names).unwrap();
        assert_eq!(first.own_ca, second.own_ca);
        assert_eq!(first.pin.len(), "sha256:".len() + 64);
        let mode = std::fs::metadata(dir.path().join("tls.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn new_names_give_a_new_certificate_with_the_same_pin() {
        let dir = tempfile::tempdir().unwrap();
        let first = prepare(&TlsSource::SelfMade, dir.path(), &hosts(&["localhost"])).unwrap();
        let second = prepare(
            &TlsSource::SelfMade,
            dir.path(),
            &hosts(&["localhost", "gw.example.com"]),
        )
        .unwrap();
        assert_ne!(first.own_ca, second.own_ca);
        assert_eq!(first.pin, second.pin);
    }

    #[test]
    fn a_crash_before_the_certificate_was_written_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let first = prepare(&TlsSource::SelfMade, dir.path(), &hosts(&["localhost"])).unwrap();
        std::fs::remove_file(dir.path().join("tls.crt")).unwrap();
        let second = prepare(&TlsSource::SelfMade, dir.path(), &hosts(&["localhost"])).unwrap();
        assert_eq!(first.pin, second.pin);
    }

    #[test]
    fn a_certificate_near_its_end_is_issued_again() {
        let dir = tempfile::tempdir().unwrap();
        let names = hosts(&["localhost"]);
        let pem = prepare(&TlsSource::SelfMade, dir.path(), &names)
            .unwrap()
            .own_ca
            .unwrap();
        let in_ten_years = jiff::Timestamp::now().as_second() + 10 * 365 * 24 * 3600;
        let path = Path::new("tls.crt");
        assert!(
            still_good(path, pem.as_bytes(), &names, jiff::Timestamp::now().as_second())
                .unwrap()
                .is_ok()
        );
        assert!(
            still_good(path, pem.as_bytes(), &names, in_ten_years)
                .unwrap()
                .is_err()
        );
    }

    #[test]
    fn given_files_are_used_and_a_foreign_key_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let names = hosts(&["localhost"]);
        let pin = prepare(&TlsSource::SelfMade, one.path(), &names).unwrap().pin;
        prepare(&TlsSource::SelfMade, two.path(), &names).unwrap();
        let source = |key: &Path| TlsSource::Files {
            cert: one.path().join("tls.crt"),
            key: key.join("tls.key"),
        };
        let given = prepare(&source(one.path()), Path::new("/nonexistent"), &[]).unwrap();
        assert_eq!((given.pin, given.own_ca), (pin, None));
        let error = prepare(&source(two.path()), Path::new("/nonexistent"), &[]).unwrap_err();
        assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
    }

    #[test]
    fn a_missing_or_empty_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let source = TlsSource::Files {
            cert: dir.path().join("c.pem"),
            key: dir.path().join("k.pem"),
        };
        assert!(
            prepare(&source, dir.path(), &[])
                .unwrap_err()
                .to_string()
                .contains("c.pem")
        );
        std::fs::write(dir.path().join("c.pem"), "").unwrap();
        let error = prepare(&source, dir.path(), &[]).unwrap_err();
        assert!(
            matches!(
                error,
                TlsError::Content {
                    what: "certificate",
                    ..
                }
            ),
            "{error}"
        );
    }
}
