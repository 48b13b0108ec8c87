use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::testing::Certificate;

/// Shakes hands over memory with a real rustls server and moves a byte.
async fn connect(client: Arc<ClientConfig>, server: Arc<ServerConfig>, name: &'static str) -> io::Result<()> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async move {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_all(b"x").await?;
        stream.shutdown().await
    });
    let mut stream = TlsConnector::from(client)
        .connect(ServerName::try_from(name).unwrap(), near)
        .await?;
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    drop(stream);
    let _closed_by_us = serving.await.unwrap();
    Ok(())
}

fn ca_file(certificate: &Certificate) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &certificate.pem).unwrap();
    file
}

#[tokio::test]
async fn the_right_pin_needs_neither_name_nor_date() {
    for certificate in [
        Certificate::new("localhost"),
        Certificate::new("other"),
        Certificate::expired("other"),
    ] {
        let client = client_config(Some(certificate.pin()), None).unwrap();
        connect(client, certificate.server_config(), "localhost")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_wrong_pin_names_both_keys() {
    let (certificate, other) = (Certificate::new("localhost"), Certificate::new("localhost"));
    let client = client_config(Some(other.pin()), None).unwrap();
    let error = connect(client, certificate.server_config(), "localhost")
        .await
        .unwrap_err();
    let mismatch = PinMismatch::in_handshake(&error).expect("the mismatch is found in the error");
    assert_eq!(mismatch.expected, other.pin());
    assert_eq!(mismatch.found, certificate.pin());
}

/// Shows one certificate and signs with another key: what a thief of a public certificate can do.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn the_pinned_certificate_without_its_key_is_refused() {
    let (certificate, thief) = (Certificate::new("localhost"), Certificate::new("localhost"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = provider
        .key_provider
        .load_private_key(thief.private_key())
        .unwrap();
    let shown = CertifiedKey::new(vec![certificate.der.clone()], key);
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Impostor(Arc::new(shown.clone()))));
        let client = client_config(Some(certificate.pin()), None).unwrap();
        let error = connect(client, Arc::new(server), "localhost").await.unwrap_err();
        assert!(PinMismatch::in_handshake(&error).is_none(), "the pin was right");
        assert!(
            matches!(
                tls_error(&error),
                Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature))
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn without_a_pin_trust_comes_from_roots_and_names() {
    let certificate = Certificate::new("localhost");
    let file = ca_file(&certificate);
    let trusting = || client_config(None, Some(file.path())).unwrap();
    connect(trusting(), certificate.server_config(), "localhost")
        .await
        .unwrap();

    let error = connect(trusting(), certificate.server_config(), "gw.example.com")
        .await
        .unwrap_err();
    assert!(
        matches!(
            tls_error(&error),
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForNameContext { .. }
            ))
        ),
        "{error:?}"
    );

    let stranger = Certificate::new("localhost");
    let error = connect(trusting(), stranger.server_config(), "localhost")
        .await
        .unwrap_err();
    // The issuer has the trusted one's name, as all of these certificates do, but not its key.
    assert!(
        matches!(
            tls_error(&error),
            Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature))
        ),
        "{error:?}"
    );

    let expired = Certificate::expired("localhost");
    let file = ca_file(&expired);
    let client = client_config(None, Some(file.path())).unwrap();
    let error = connect(client, expired.server_config(), "localhost")
        .await
        .unwrap_err();
    assert!(
        matches!(
            tls_error(&error),
            Some(rustls::Error::InvalidCertificate(
                CertificateError::ExpiredContext { .. }
            ))
        ),
        "{error:?}"
    );
}

#[test]
fn unusable_ca_files_are_errors() {
    let missing = client_config(None, Some(Path::new("/nonexistent/ca.pem"))).unwrap_err();
    assert!(matches!(missing, TlsSetupError::Read { .. }), "{missing}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "no certificate").unwrap();
    let empty = client_config(None, Some(file.path())).unwrap_err();
    assert!(matches!(empty, TlsSetupError::Pem { .. }), "{empty}");
}

#[test]
fn pins_are_read_and_written() {
    let pin = Certificate::new("localhost").pin();
    assert_eq!(pin.to_string().parse::<Pin>().unwrap(), pin);
    assert_eq!(format!("{pin:?}"), pin.to_string());
    for wrong in [
        "",
        "sha256:",
        "sha256:00",
        "sha1:00",
        &"0".repeat(64),
        &format!("{pin}0"),
    ] {
        assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
    }
}
