//! The objects of `fixtures/` in a real API server.

use std::path::{Path, PathBuf};

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};

use crate::client::Client;

/// A node of this name is the test cluster's own, with a kubelet that would run the pods.
const OWN_NODE: &str = "node1";
const RENAMED: &str = "worker1";
/// Keeps a pod that is being deleted.
const FINALIZER: &str = "kantaloupe.test/kept";

/// All objects of one folder, by file name.
pub fn read(folder: &str) -> anyhow::Result<Vec<(String, Value)>> {
    let dir: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(folder);
    let mut found = vec![];
    for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let text = text.replace(&format!("\"{OWN_NODE}\""), &format!("\"{RENAMED}\""));
        let value: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        found.push((name, value));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Creates an object as it is, with its status and, if it has one, its deletion that does not end.
pub async fn create(api: &mut Client, object: &Value) -> anyhow::Result<()> {
    let mut object = object.clone();
    let status = object["status"].clone();
    let meta = object["metadata"].as_object_mut().context("no metadata")?;
    let deleted = meta.contains_key("deletionTimestamp");
    for set_by_server in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        meta.remove(set_by_server);
    }
    if deleted {
        meta.insert("finalizers".into(), json!([FINALIZER]));
    }
    // The API server takes no dots in names of devices, and drivers leave them out.
    for device in object
        .pointer_mut("/spec/devices")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(name) = device["name"].as_str() {
            device["name"] = name.replace('.', "").into();
        }
    }
    let (collection, name) = (collection(&object)?, text(&object, "/metadata/name")?);
    api.ok(Method::POST, &collection, Some(&object)).await?;
    let path = format!("{collection}/{name}");
    // A node is created with its status; all others get it after.
    if object["kind"] != "Node" && status.as_object().is_some_and(|status| !status.is_empty()) {
        let patch = json!({"status": status});
        api.ok(Method::PATCH, &format!("{path}/status"), Some(&patch))
            .await?;
    }
    if deleted {
        api.ok(Method::DELETE, &path, None).await?;
    }
    Ok(())
}

/// Creates the namespace unless it is there.
pub async fn namespace(api: &mut Client, name: &str) -> anyhow::Result<()> {
    let body = json!({"metadata": {"name": name}});
    let (status, answer) = api
        .send(
            Method::POST,
            "/api/v1/namespaces",
            "application/json",
            body.to_string(),
        )
        .await?;
    anyhow::ensure!(
        status.is_success() || status == http::StatusCode::CONFLICT,
        "{status}: {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

fn collection(object: &Value) -> anyhow::Result<String> {
    let (version, kind) = (text(object, "/apiVersion")?, text(object, "/kind")?);
    let plural = match kind {
        "DeviceClass" => "deviceclasses".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let root = if version.contains('/') { "apis" } else { "api" };
    Ok(
        match object.pointer("/metadata/namespace").and_then(Value::as_str) {
            Some(namespace) => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
            None => format!("/{root}/{version}/{plural}"),
        },
    )
}

fn text<'a>(object: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    let value = object.pointer(pointer).and_then(Value::as_str);
    value.with_context(|| format!("no {pointer}"))
}
