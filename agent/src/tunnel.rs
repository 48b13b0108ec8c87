//! One tunnel: a link to the gateway with the control session on it, and another with the data session while one is
//! wanted.
//!
//! ```text
//! open ── link control ── session ── AgentService (hello, drain, open_data)   Hello answered = the tunnel is ready
//!                                        └─ open_data ── link data ── session ── proxy (data.rs)
//! ```
//!
//! A link dials again by itself when its connection breaks; a tunnel ends only when a link is given up, when the gateway
//! ends the control session, or after [`Tunnel::drain`].

mod data;

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::{HeaderValue, Request};
use hyper::{body::Incoming, service::service_fn};
use jiff::Timestamp;
use kantaloupe_checks::Code;
use kantaloupe_proto::{
    agent_api::{CHALLENGE_PATH, ChallengeResponse, TUNNEL_PATH},
    assertion::{self, Claims, SessionKind},
};
use kantaloupe_tunnel::{
    carrier::BoxCarrier,
    link::{self, DialError, Dialer, Link, OpenError},
    session::{self, Kind},
};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, debug, info_span};
use uuid::Uuid;

use crate::{
    connect::{Context, DialLabels},
    fault::{self, Failure},
    identity::Identity,
    service::{Control, OpenData, Signals},
};
use data::DataSessions;

/// From the link to Hello. One round trip and a database write at the gateway.
const HELLO_TIMEOUT: Duration = Duration::from_secs(15);
/// One connection up to its upgrade. Shorter than the 10 s that the link gives a dial, so that the phase that hangs is the
/// one that is named.
const DIAL_BUDGET: Duration = Duration::from_millis(9_500);
/// After the last data session has ended, the control session has only to say so.
const CONTROL_END: Duration = Duration::from_secs(1);

/// Why a tunnel is over.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// A session ended on its own.
    Session { which: Kind, error: Option<String> },
    /// Drained: every stream had ended.
    Drained,
    /// Drained, but streams were still open when the time was over.
    TimedOut,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session {
                which,
                error: Some(error),
            } => write!(f, "the {} session broke: {error}", which.as_str()),
            Self::Session { which, error: None } => {
                write!(f, "the gateway ended the {} session", which.as_str())
            }
            Self::Drained => f.write_str("drained"),
            Self::TimedOut => f.write_str("drained, but streams were still open when the time was over"),
        }
    }
}

/// A tunnel that is ready. Dropping it cuts it.
pub(crate) struct Tunnel {
    pub(crate) id: String,
    drain: CancellationToken,
    drain_asked: watch::Receiver<Option<Duration>>,
    ended: watch::Receiver<Option<Ended>>,
    last_failure: LastFailure,
    _task: AbortOnDropHandle<()>,
}

/// Why the last dial of a tunnel failed, if it did.
#[derive(Clone, Default)]
struct LastFailure(Arc<Mutex<Option<Failure>>>);

impl Tunnel {
    /// Opens the control session and waits for Hello.
    pub(crate) async fn open(context: &Arc<Context>, identity: &Identity) -> Result<Self, Failure> {
        let id = Uuid::new_v4().to_string();
        let span = info_span!("tunnel", id);
        let last_failure = LastFailure::default();
        let dialer = SessionDialer {
            context: Arc::clone(context),
            identity: identity.clone(),
            tunnel_id: id.clone(),
            session: SessionKind::Control,
            nonce: Mutex::default(),
            last_failure: last_failure.clone(),
        };
        let data = DataSessions::new(&dialer);
        let link = open_link(dialer).await;
        let control =
            link.map_err(|error| last_failure.explain(context, Code::NET_007, &error.to_string()))?;

        let (signals, wishes) = Signals::new();
        let drain = CancellationToken::new();
        let (report, mut ended) = watch::channel(None);
        let task = {
            let (context, signals, drain) = (Arc::clone(context), signals.clone(), drain.clone());
            async move {
                let how = serve(&context, control, data, wishes, signals, drain).await;
                debug!(%how, "tunnel ended");
                report.send_replace(Some(how));
            }
        };
        let task = AbortOnDropHandle::new(tokio::spawn(task.instrument(span)));
        let hello = async {
            tokio::select! {
                biased;
                () = signals.hello.cancelled() => Ok(()),
                _ = ended.wait_for(Option::is_some) => Err("the gateway ended the tunnel before it said hello"),
            }
        };
        let waited = timeout(HELLO_TIMEOUT, hello)
            .await
            .unwrap_or(Err("the gateway took the tunnel but said no hello"));
        waited.map_err(|what| last_failure.explain(context, Code::NET_007, what))?;
        Ok(Self {
            id,
            drain,
            drain_asked: signals.drain.subscribe(),
            ended,
            last_failure,
            _task: task,
        })
    }

    /// Tells the gateway to send no more requests; open streams go on until the drain time is over.
    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().expect("waited for it"),
            // The task reports before it ends, unless it was aborted with the runtime.
            Err(_aborted) => Ended::Drained,
        }
    }

    /// Whether it is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits until the gateway asks for another tunnel; gives the delay before dialing it.
    pub(crate) async fn drain_asked(&self) -> Duration {
        let mut asked = self.drain_asked.clone();
        let delay = asked
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|delay| *delay);
        match delay {
            Some(delay) => delay,
            // The tunnel is over, and `ended` says so.
            None => std::future::pending().await,
        }
    }

    /// What to tell the user about a tunnel that ended.
    pub(crate) fn failure(&self, context: &Context, ended: &Ended) -> Failure {
        // It worked before, so the way is right; what is gone is the gateway or the way to it.
        self.last_failure
            .explain(context, Code::NET_003, &ended.to_string())
    }
}

impl LastFailure {
    /// The dial's failure, or else what was seen from above.
    fn explain(&self, context: &Context, code: Code, otherwise: &str) -> Failure {
        self.0
            .lock()
            .clone()
            .unwrap_or_else(|| Failure::transient(fault::new(code, otherwise, context.control_plane.url())))
    }
}

async fn open_link(dialer: SessionDialer) -> Result<Link, OpenError> {
    let config = link::Config {
        metrics: dialer.context.metrics.link.clone(),
        ..link::Config::default()
    };
    link::open(Arc::new(dialer), config).await
}

/// Serves the sessions until the tunnel is over, or until all streams have ended after `drain`.
async fn serve(
    context: &Context,
    control: Link,
    mut data: DataSessions,
    mut wishes: mpsc::Receiver<OpenData>,
    signals: Signals,
    drain: CancellationToken,
) -> Ended {
    let service = Control::new(Arc::clone(&context.facts), signals, context.inventory.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move { service.handle(request).await }
    });
    let mut control = pin!(session::serve(control, Kind::Control, service, drain.clone()));
    let mut deadline = pin!(async {
        drain.cancelled().await;
        sleep(context.config.drain_timeout).await;
    });
    let mut control_open = true;
    loop {
        tokio::select! {
            biased;
            end = data.next_end() => match end {
                Ok(()) => debug!("data session ended"),
                Err(error) => return Ended::Session { which: Kind::Data, error: Some(error) },
            },
            () = drain.cancelled(), if data.is_empty() => break,
            result = &mut control, if control_open => {
                // While draining the control session has nothing to wait for; the data sessions have.
                if !drain.is_cancelled() {
                    let error = result.err().map(|e| fault::chain(&e));
                    return Ended::Session { which: Kind::Control, error };
                }
                control_open = false;
            }
            Some(wish) = wishes.recv() => data.open(wish, &drain),
            // The kubelet kills the pod soon after; until then there is time to close properly.
            () = &mut deadline => return Ended::TimedOut,
        }
    }
    data.streams_closed().await;
    if control_open {
        // Calls that are open there, such as a stream of events, are the gateway's to end.
        let _ended = timeout(CONTROL_END, control).await;
    }
    Ended::Drained
}

/// Makes carriers for one session of one tunnel.
struct SessionDialer {
    context: Arc<Context>,
    identity: Identity,
    tunnel_id: String,
    session: SessionKind,
    /// Of the gateway, for the next connection; without one it is asked for.
    nonce: Mutex<Option<String>>,
    last_failure: LastFailure,
}

impl Dialer for SessionDialer {
    fn dial(&self) -> BoxFuture<'_, Result<BoxCarrier, DialError>> {
        Box::pin(async {
            let result = self.dial_once().await;
            let labels = DialLabels::new(self.session, result.is_ok());
            self.context.metrics.tunnel.dials.get_or_create(&labels).inc();
            *self.last_failure.0.lock() = result.as_ref().err().cloned();
            result.map_err(|failure| {
                debug!(%failure, session = labels.session, "dial failed");
                DialError {
                    retry: !failure.permanent,
                    source: failure.into(),
                }
            })
        })
    }
}

impl SessionDialer {
    /// Challenge and upgrade on one connection, so that both reach the same gateway behind a balancer.
    async fn dial_once(&self) -> Result<BoxCarrier, Failure> {
        let context = &*self.context;
        let mut connection = context.control_plane.connect(DIAL_BUDGET).await?;
        let given = self.nonce.lock().take();
        let nonce = match given {
            Some(nonce) => nonce,
            None => connection.get::<ChallengeResponse>(CHALLENGE_PATH).await?.nonce,
        };
        let enrolled = &self.identity.enrolled;
        let claims = Claims {
            key_id: enrolled.key_id.clone(),
            cluster_id: enrolled.cluster_id.clone(),
            cluster_uid: context.facts.cluster_uid.clone(),
            audience: enrolled.audience.clone(),
            nonce,
            issued_at: Timestamp::now().as_second(),
            tunnel_id: self.tunnel_id.clone(),
            session: self.session,
            instance: context.config.pod_name.clone(),
        };
        let header = assertion::sign(&claims, self.identity.key.pair());
        let mut header = HeaderValue::from_str(&header).expect("base64 is a valid header");
        header.set_sensitive(true);
        connection.upgrade(TUNNEL_PATH, header).await
    }
}
