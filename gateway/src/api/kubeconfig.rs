//! A kubeconfig that leads through the gateway, with the caller's own token.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{
    extract::{Caller, Named},
    no_store,
};
use crate::{app::App, auth, problem::ApiError};

#[derive(Serialize)]
struct Kubeconfig<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    clusters: [NamedCluster<'a>; 1],
    users: [NamedUser<'a>; 1],
    contexts: [NamedContext<'a>; 1],
    #[serde(rename = "current-context")]
    current_context: &'a str,
}

#[derive(Serialize)]
struct NamedCluster<'a> {
    name: &'a str,
    cluster: ClusterEntry<'a>,
}

#[derive(Serialize)]
struct ClusterEntry<'a> {
    server: &'a str,
    #[serde(
        rename = "certificate-authority-data",
        skip_serializing_if = "Option::is_none"
    )]
    ca: Option<String>,
}

#[derive(Serialize)]
struct NamedUser<'a> {
    name: &'a str,
    user: UserEntry<'a>,
}

#[derive(Serialize)]
struct UserEntry<'a> {
    token: &'a str,
}

#[derive(Serialize)]
struct NamedContext<'a> {
    name: &'a str,
    context: ContextEntry<'a>,
}

#[derive(Serialize)]
struct ContextEntry<'a> {
    cluster: &'a str,
    user: &'a str,
}

pub(super) async fn get(
    Caller(caller): Caller,
    State(app): State<Arc<App>>,
    Named(cluster, access): Named,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if access.holding().grants.is_empty() {
        return Err(ApiError::forbidden(format!(
            "This takes the role viewer, operator or admin on the cluster {:?}",
            cluster.name
        )));
    }
    let token =
        auth::bearer_secret(&headers).ok_or_else(|| ApiError::invalid("The request has no bearer token"))?;
    let server = format!("{}/clusters/{}/kubernetes", app.settings.public_url, cluster.id);
    let user = format!("{}-{}", cluster.name, caller.user_name);
    let yaml = render(
        &cluster.name,
        &server,
        app.settings.own_ca.as_deref(),
        &user,
        &token,
    );
    let mut response = no_store(yaml.into_response());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    let file = format!("attachment; filename=\"{}.kubeconfig\"", cluster.name);
    if let Ok(value) = HeaderValue::from_str(&file) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// The context has the cluster's name, so that `kubectl --context prod` says what it means.
fn render(name: &str, server: &str, ca: Option<&str>, user: &str, token: &SecretString) -> String {
    let config = Kubeconfig {
        api_version: "v1",
        kind: "Config",
        clusters: [NamedCluster {
            name,
            cluster: ClusterEntry {
                server,
                ca: ca.map(|pem| STANDARD.encode(pem)),
            },
        }],
        users: [NamedUser {
            name: user,
            user: UserEntry {
                token: token.expose_secret(),
            },
        }],
        contexts: [NamedContext {
            name,
            context: ContextEntry { cluster: name, user },
        }],
        current_context: name,
    };
    serde_yaml_ng::to_string(&config).expect("texts always serialize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_yaml_takes_for_something_else_stay_texts() {
        let token = SecretString::from("kta_x");
        let yaml = render(
            "null",
            "https://gw/clusters/c-1/kubernetes",
            None,
            "null-admin",
            &token,
        );
        let back: serde_yaml_ng::Value = serde_yaml_ng::from_str(&yaml).unwrap();
        assert_eq!(back["current-context"].as_str(), Some("null"));
        assert_eq!(back["contexts"][0]["name"].as_str(), Some("null"));
        assert!(
            back["clusters"][0]["cluster"]
                .get("certificate-authority-data")
                .is_none()
        );
    }
}
