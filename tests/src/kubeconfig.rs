//! Kubeconfigs of API servers on loopback.

use std::{net::SocketAddr, path::Path};

use serde_json::json;

use crate::tunnel::Tls;

/// Writes one for a server with the test certificate, and the certificate beside it.
pub fn write(path: &Path, addr: SocketAddr, tls: &Tls, token: &str) -> anyhow::Result<()> {
    let ca = path.with_extension("crt");
    std::fs::write(&ca, &tls.cert_pem)?;
    let value = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://localhost:{}", addr.port()), "certificate-authority": ca}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    Ok(std::fs::write(path, value.to_string())?)
}
