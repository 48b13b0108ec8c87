//! People of the gateway: made by the administrator, each with a token.

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::bare::Bare;

/// A role for somebody.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    pub role: &'static str,
    /// All of them without one.
    pub namespaces: Option<&'static [&'static str]>,
}

impl Role {
    pub const fn everywhere(role: &'static str) -> Self {
        Self {
            role,
            namespaces: None,
        }
    }

    pub const fn within(role: &'static str, namespaces: &'static [&'static str]) -> Self {
        Self {
            role,
            namespaces: Some(namespaces),
        }
    }
}

/// Makes a service account (of others only these can have tokens made by an administrator) with roles in the whole organisation; his token.
pub async fn person(bare: &Bare, name: &str, roles: &[Role]) -> anyhow::Result<String> {
    create(bare, "/api/v1/users", json!({"name": name, "kind": "service"})).await?;
    for role in roles {
        bind(bare, name, *role).await?;
    }
    let made = create(
        bare,
        &format!("/api/v1/users/{name}/tokens"),
        json!({"name": "test"}),
    )
    .await?;
    Ok(made["token"].as_str().context("no token")?.to_owned())
}

/// Gives somebody a role; the binding's id.
pub async fn bind(bare: &Bare, name: &str, role: Role) -> anyhow::Result<String> {
    let mut binding = json!({"subject": {"kind": "user", "name": name}, "role": role.role, "scope": {"kind": "organization"}});
    if let Some(namespaces) = role.namespaces {
        binding["namespaces"] = json!(namespaces);
    }
    let made = create(bare, "/api/v1/bindings", binding).await?;
    Ok(made["id"].as_str().context("no id")?.to_owned())
}

/// A call of the administrator's that has to succeed.
pub async fn create(bare: &Bare, path: &str, body: Value) -> anyhow::Result<Value> {
    let (status, answer) = bare
        .call(&bare.gateway.token, Method::POST, path, Some(body))
        .await?;
    ensure!(status.is_success(), "{path}: {status}: {answer}");
    Ok(answer)
}
