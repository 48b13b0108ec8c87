//! As much of a Kubernetes API server as the agent needs: one namespace, one Secret with optimistic locking, the
//! version, and whatever a test adds.

use std::sync::Arc;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kantaloupe_tunnel::session::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Certificate, Handler, TlsServer, handler, json as answer};

/// UID of the fake's `kube-system`.
pub(crate) const CLUSTER_UID: &str = "9f0c1d2e-0000-4000-8000-000000000001";
/// The agent's service account token.
pub(crate) const BEARER: &str = "bearer-canary-0123456789";

const SECRETS: &str = "/api/v1/namespaces/kantaloupe-system/secrets";

/// What the server holds, and how it misbehaves.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) secret: Option<Value>,
    /// Answers with this status to everything about the Secret that writes.
    pub(crate) refuse_writes: Option<u16>,
    /// Puts this Secret in place just before the next write, as another replica would.
    pub(crate) intruder: Option<Value>,
    version: u64,
}

impl Store {
    fn write(&mut self, mut new: Value) -> Response<Body> {
        if let Some(status) = self.refuse_writes {
            return status_object(status);
        }
        if let Some(mut intruder) = self.intruder.take() {
            self.version += 1;
            intruder["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.secret = Some(intruder);
        }
        let current = self
            .secret
            .as_ref()
            .map(|secret| secret["metadata"]["resourceVersion"].clone());
        let current = current.filter(|version| !version.is_null());
        let given = Some(new["metadata"]["resourceVersion"].clone()).filter(|version| !version.is_null());
        if current != given {
            return status_object(409);
        }
        self.version += 1;
        new["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.secret = Some(new.clone());
        answer(200, &new)
    }
}

/// The server.
pub(crate) struct Kubernetes {
    pub(crate) server: TlsServer,
    pub(crate) store: Arc<Mutex<Store>>,
    certificate: Certificate,
}

impl Kubernetes {
    /// Without anything beside the agent's own needs.
    pub(crate) async fn start() -> Self {
        Self::start_with(handler(|_| async { status_object(404) })).await
    }

    /// `other` answers what the agent does not need for itself.
    pub(crate) async fn start_with(other: Handler) -> Self {
        super::install_provider();
        let store: Arc<Mutex<Store>> = Arc::default();
        let certificate = Certificate::new("localhost");
        let shared = Arc::clone(&store);
        let handler = handler(move |request| respond(Arc::clone(&shared), Arc::clone(&other), request));
        let server = TlsServer::start(&certificate, handler).await;
        Self {
            server,
            store,
            certificate,
        }
    }

    /// How the agent reaches it.
    pub(crate) fn config(&self) -> kube::Config {
        config(self.server.address.port(), &self.certificate)
    }

    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::try_from(self.config()).unwrap()
    }
}

/// How an agent reaches an API server on this port with this certificate.
pub(crate) fn config(port: u16, certificate: &Certificate) -> kube::Config {
    let mut config = kube::Config::new(format!("https://localhost:{port}").parse().unwrap());
    config.root_cert = Some(vec![certificate.der.to_vec()]);
    config.auth_info.token = Some(BEARER.to_owned().into());
    config.default_retry = false;
    config
}

async fn respond(store: Arc<Mutex<Store>>, other: Handler, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let own = !request.headers().contains_key("impersonate-user");
    if !own {
        return other(request).await;
    }
    if request
        .headers()
        .get("authorization")
        .is_none_or(|value| value != &format!("Bearer {BEARER}"))
    {
        return status_object(401);
    }
    let method = request.method().clone();
    match (&method, path.as_str()) {
        (&Method::GET, "/api/v1/namespaces/kube-system") => answer(
            200,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system", "uid": CLUSTER_UID}}),
        ),
        (&Method::GET, "/version") => answer(
            200,
            &json!({"major": "1", "minor": "34", "gitVersion": "v1.34.4", "gitCommit": "", "gitTreeState": "",
                    "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
        ),
        (&Method::GET, path) if path.starts_with(SECRETS) => store
            .lock()
            .secret
            .as_ref()
            .map_or_else(|| status_object(404), |secret| answer(200, secret)),
        (&Method::PUT | &Method::POST, path) if path.starts_with(SECRETS) => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            store.lock().write(serde_json::from_slice(&body).unwrap())
        }
        _ => other(request).await,
    }
}

/// An error as API servers answer it.
pub(crate) fn status_object(status: u16) -> Response<Body> {
    let reason = match status {
        404 => "NotFound",
        409 => "Conflict",
        _ => "Other",
    };
    answer(
        status,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no",
                "reason": reason, "code": status}),
    )
}
