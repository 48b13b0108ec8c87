//! The way to the API server: kube's address, credentials and TLS over a hyper client of our own.
//!
//! kube's ready-made client repeats requests, inflates bodies and cannot stream uploads; none of that suits a proxy.
//! Nothing here repeats a request that has reached the server, follows a redirect, or touches a body.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use hyper::{
    body::Incoming,
    client::conn::http1,
    rt::{Read, Write},
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kantaloupe_tunnel::{
    carrier::{blocks::Blocks, readahead::ReadAhead},
    session::Body,
};
use kube::client::ConfigExt;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tracing::{Instrument, debug, debug_span};

/// The API server is in the same cluster: an address that does not answer by then does not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Probes notice a node that vanished under a watch.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Below the 90 s after which the API server (Go's default) closes an idle connection: closing first avoids the race in
/// which a request meets a closing connection.
const POOL_IDLE: Duration = Duration::from_secs(45);
/// Idle connections kept: bursts of `kubectl` and controllers, at about 30 KiB each.
const POOL_SIZE: usize = 16;
/// Read buffer of a connection; it grows to this only while bulk data keeps filling it.
const READ_BUFFER: usize = 64 * 1024;

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// TLS settings of the kube configuration.
    #[error("the TLS settings for the API server cannot be used: {0}")]
    Tls(#[source] kube::Error),
    /// Credentials of the kube configuration.
    #[error("the credentials for the API server cannot be used: {0}")]
    Auth(#[source] kube::Error),
}

/// The body of an answer to an upgrade request, and what drives its connection until it is upgraded or ended.
pub(crate) struct Driven {
    pub(crate) body: Incoming,
    pub(crate) driver: AbortOnDropHandle<()>,
}

/// Sends requests to the API server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Upstream {
    pooled: BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>,
    one_shot: BoxCloneSyncService<Request<Body>, Response<Driven>, BoxError>,
}

impl Upstream {
    /// For the API server of `config`.
    pub(crate) fn new(config: &kube::Config) -> Result<Self, UpstreamError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        let connector = config
            .rustls_https_connector_with_connector(tcp.map_response(read_ahead))
            .map_err(UpstreamError::Tls)?
            .map_response(|tls| TokioIo::new(Blocks::new(TokioIo::new(tls))));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
            .http1_max_buf_size(READ_BUFFER)
            .build::<_, Body>(connector.clone());
        let pooled = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(UpstreamError::Auth)?)
            .map_err(BoxError::from)
            .service(client);
        let one_shot = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(UpstreamError::Auth)?)
            .map_err(BoxError::from)
            .service(OneShot { connector });
        Ok(Self {
            pooled: BoxCloneSyncService::new(pooled),
            one_shot: BoxCloneSyncService::new(one_shot),
        })
    }

    /// Sends an ordinary request over a pooled connection.
    pub(crate) fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Incoming>, BoxError>> {
        Box::pin(self.pooled.clone().oneshot(request))
    }

    /// Sends an upgrade request over a connection of its own, which is never used for anything else: whatever the
    /// server answers, no other request can end up behind bytes that belong to this one.
    pub(crate) fn send_upgrade(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Driven>, BoxError>> {
        Box::pin(self.one_shot.clone().oneshot(request))
    }
}

/// rustls reads in small pieces; see [`ReadAhead`].
fn read_ahead(tcp: TokioIo<TcpStream>) -> TokioIo<ReadAhead<TcpStream>> {
    TokioIo::new(ReadAhead::new(tcp.into_inner()))
}

/// One connection for one request.
#[derive(Clone)]
struct OneShot<C> {
    connector: C,
}

impl<C> Service<Request<Body>> for OneShot<C>
where
    C: Service<Uri> + Clone + Send + 'static,
    C::Response: Read + Write + Send + Unpin + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
{
    type Response = Response<Driven>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Driven>, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let connector = self.connector.clone();
        Box::pin(async move {
            let target = std::mem::take(request.uri_mut());
            if let Some(authority) = target.authority() {
                request
                    .headers_mut()
                    .insert(header::HOST, HeaderValue::from_str(authority.as_str())?);
            }
            // A server wants its own path, not the whole URI; the pooled client does this by itself.
            *request.uri_mut() = Uri::from(
                target
                    .path_and_query()
                    .cloned()
                    .unwrap_or_else(|| PathAndQuery::from_static("/")),
            );
            let io = connector
                .oneshot(target)
                .await
                .map_err(|error| Unreachable(error.into()))?;
            let (mut sender, connection) = http1::Builder::new().handshake(io).await?;
            let driver = async move {
                if let Err(error) = connection.with_upgrades().await {
                    debug!(%error, "upgrade connection to the API server ended");
                }
            };
            let driver =
                AbortOnDropHandle::new(tokio::spawn(driver.instrument(debug_span!("upgrade_connection"))));
            let response = sender.send_request(request).await?;
            Ok(response.map(|body| Driven { body, driver }))
        })
    }
}

/// No connection came about, so that nothing of the request was sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreachable(#[source] BoxError);

/// Whether the request failed before a connection to the API server stood.
pub(crate) fn is_unreachable(error: &BoxError) -> bool {
    error.is::<Unreachable>()
        || error
            .downcast_ref::<legacy::Error>()
            .is_some_and(legacy::Error::is_connect)
}
