//! Which part answers a request. Requests to clusters come first and touch nothing of the others' machinery.

use std::{net::SocketAddr, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use kantaloupe_proto::agent_api::TUNNEL_PATH;
use tower::ServiceExt as _;

use crate::{agents, api, app::App, body::Body, proxy, streams::Origin};

/// Where a request came from, for the API's handlers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// All that answers requests.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) app: Arc<App>,
    api: axum::Router,
}

impl Routes {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self {
            api: api::router(Arc::clone(&app)),
            app,
        }
    }

    /// Answers any request.
    pub(crate) async fn answer(&self, origin: &Origin, mut request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if path.starts_with(proxy::PREFIX) {
            return proxy::serve(&self.app, origin, request).await;
        }
        if path == TUNNEL_PATH {
            return agents::connect(&self.app, origin.peer, request).await;
        }
        request.extensions_mut().insert(Peer(origin.peer));
        request.extensions_mut().insert(origin.clone());
        let request = request.map(axum::body::Body::new);
        let Ok(response) = self.api.clone().oneshot(request).await;
        response.map(Body::Api)
    }
}
