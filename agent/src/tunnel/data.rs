//! The data sessions of a tunnel: opened at the gateway's wish, ended by it when it has had no request for a while.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use kantaloupe_proto::assertion::SessionKind;
use kantaloupe_tunnel::{
    link::Dead,
    session::{self, Kind},
};
use parking_lot::Mutex;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug};

use super::{SessionDialer, open_link};
use crate::{fault, identity::Identity, proxy::Proxy, service::OpenData};

/// The gateway wants one; a second one overlaps with the end of the first. More would be a mistake of the gateway's.
const MAX_SESSIONS: usize = 4;
/// After the sessions have ended, upgraded streams only have to close their upstream ends.
const STREAMS_END: Duration = Duration::from_secs(5);

/// The open ones, and what it takes to open more. Dropping it cuts them.
pub(super) struct DataSessions {
    dialer: Template,
    sessions: JoinSet<Result<(), String>>,
    streams: TaskTracker,
}

/// What all dialers of a tunnel have in common.
struct Template {
    context: Arc<super::Context>,
    identity: Identity,
    tunnel_id: String,
    last_failure: super::LastFailure,
}

impl DataSessions {
    /// For the tunnel whose control session `control` dials.
    pub(super) fn new(control: &SessionDialer) -> Self {
        Self {
            dialer: Template {
                context: Arc::clone(&control.context),
                identity: control.identity.clone(),
                tunnel_id: control.tunnel_id.clone(),
                last_failure: control.last_failure.clone(),
            },
            sessions: JoinSet::new(),
            streams: TaskTracker::new(),
        }
    }

    /// Whether none is open or being opened.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Dials one, unless the tunnel drains; the wish is answered in any case.
    pub(super) fn open(&mut self, wish: OpenData, drain: &CancellationToken) {
        // An answer that nobody waits for any more is no loss.
        let refuse = |wish: OpenData, why: &str| drop(wish.opened.send(Err(why.to_owned())));
        if drain.is_cancelled() {
            return refuse(wish, "the agent is about to stop");
        }
        if self.sessions.len() >= MAX_SESSIONS {
            return refuse(wish, "the gateway has asked for too many data sessions");
        }
        let Template {
            context,
            identity,
            tunnel_id,
            last_failure,
        } = &self.dialer;
        let dialer = SessionDialer {
            context: Arc::clone(context),
            identity: identity.clone(),
            tunnel_id: tunnel_id.clone(),
            session: SessionKind::Data,
            nonce: Mutex::new(Some(wish.nonce).filter(|nonce| !nonce.is_empty())),
            last_failure: last_failure.clone(),
        };
        let (upstream, guard) = (context.upstream.clone(), Arc::clone(&context.guard));
        let metrics = context.metrics.proxy.clone();
        let (streams, drain) = (self.streams.clone(), drain.clone());
        let session = async move {
            let link = match open_link(dialer).await {
                Ok(link) => link,
                Err(error) => {
                    debug!(%error, "no data session");
                    let _hung_up = wish.opened.send(Err(error.to_string()));
                    return Ok(());
                }
            };
            let handle = link.handle();
            let proxy = Proxy::new(upstream, guard, metrics, link.handle(), streams);
            let service = service_fn(move |request: Request<Incoming>| {
                let proxy = proxy.clone();
                async move { Ok::<_, Infallible>(proxy.handle(request).await) }
            });
            let _hung_up = wish.opened.send(Ok(()));
            let served = pin!(session::serve(link, Kind::Data, service, drain)).await;
            match (served, handle.state().ended) {
                // The gateway ended it, or does not know it any more: it will ask for another one.
                (Ok(()), _) | (Err(_), Some(Dead::Closed(_) | Dead::Refused(_))) => Ok(()),
                (Err(error), _) => Err(fault::chain(&error)),
            }
        };
        self.sessions.spawn(session.in_current_span());
    }

    /// Waits for the end of one. An error is what broke it; that the gateway ends one is none. Pending while none is open.
    pub(super) async fn next_end(&mut self) -> Result<(), String> {
        match self.sessions.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(error.to_string()),
            None => std::future::pending().await,
        }
    }

    /// Waits, if not for long, until the streams of ended sessions have closed their ends at the API server.
    pub(super) async fn streams_closed(&self) {
        self.streams.close();
        if timeout(STREAMS_END, self.streams.wait()).await.is_err() {
            debug!(
                open = self.streams.len(),
                "streams did not close their upstream ends in time"
            );
        }
    }
}
