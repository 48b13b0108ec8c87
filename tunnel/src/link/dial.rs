//! The dialing end: creates a link and keeps it supplied with carriers.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::future::BoxFuture;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug, info};

use super::{Command, Config, Dead, Link, Shared, refusal};
use crate::{
    carrier::{self, BoxCarrier},
    frame::{Frame, LinkId, LinkSecret},
};

/// Longest wait for the answer to the first frame.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longest time for one attempt to get a carrier: name, TCP, TLS and upgrade together.
const DIAL: Duration = Duration::from_secs(10);
/// First wait after a failed resume. The first attempt comes at once.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// Longest wait between attempts to resume: streams above are standing still.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Makes authenticated carriers to one accepting end.
pub trait Dialer: Send + Sync + 'static {
    /// Dials once.
    fn dial(&self) -> BoxFuture<'_, Result<BoxCarrier, DialError>>;
}

/// Why there is no carrier.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct DialError {
    /// Whether another attempt may succeed without anybody changing anything.
    pub retry: bool,
    /// What went wrong.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl DialError {
    fn io(error: io::Error) -> Self {
        Self {
            retry: true,
            source: error.into(),
        }
    }
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No carrier.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The carrier broke or stayed silent.
    #[error("the connection failed during the link handshake: {0}")]
    Io(#[from] io::Error),
    /// The peer did not answer with a link.
    #[error("the peer did not speak the link protocol")]
    Protocol,
}

/// Creates a link over a first carrier. A task that the link owns dials again whenever the carrier is lost, until the
/// link ends; it also ends the link when the peer does not know it any more.
pub async fn open(dialer: Arc<dyn Dialer>, config: Config) -> Result<Link, OpenError> {
    let mut carrier = dial(&*dialer).await?;
    let new = Frame::New(config.window as u64);
    let answer = exchange(&mut carrier, &new).await?;
    let Frame::Created { window, id, secret } = answer else {
        return Err(OpenError::Protocol);
    };
    Ok(Link::new(carrier, config, window, |shared| {
        let supply = supply(dialer, shared.clone(), id, secret).instrument(tracing::Span::current());
        AbortOnDropHandle::new(tokio::spawn(supply))
    }))
}

async fn dial(dialer: &dyn Dialer) -> Result<BoxCarrier, DialError> {
    timeout(DIAL, dialer.dial())
        .await
        .unwrap_or_else(|e| Err(DialError::io(e.into())))
}

async fn exchange(carrier: &mut BoxCarrier, frame: &Frame) -> Result<Frame, OpenError> {
    let talk = async {
        carrier::send(carrier, frame.encode()).await?;
        carrier::recv(carrier).await
    };
    let answer = timeout(HANDSHAKE, talk).await.map_err(io::Error::from)??;
    Frame::decode(answer).map_err(|_| OpenError::Protocol)
}

/// Waits for the loss of a carrier, resumes on a new one; ends with the link.
async fn supply(dialer: Arc<dyn Dialer>, shared: Arc<Shared>, id: LinkId, secret: LinkSecret) {
    let mut state = shared.state.subscribe();
    let mut generation = 1;
    loop {
        let lost = state
            .wait_for(|s| s.ended.is_some() || s.lost >= generation)
            .await;
        if lost.is_ok_and(|s| s.ended.is_some()) {
            return;
        }
        info!(generation, "connection lost; resuming");
        let mut backoff = ExponentialBuilder::default()
            .with_min_delay(RETRY_MIN)
            .with_max_delay(RETRY_MAX)
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            generation += 1; // a generation is never tried twice
            let kill = match resume(&*dialer, &shared, id, secret, generation).await {
                Ok(attach) => {
                    info!(generation, "connection resumed");
                    let _ = shared.command(attach); // a link that is over needs none
                    break;
                }
                Err(Failed::Refused(code)) => Some(Dead::Refused(code)),
                Err(Failed::Dial(e)) if !e.retry => {
                    debug!(error = %e, "dialing is refused for good");
                    Some(Dead::Refused(refusal::UNKNOWN))
                }
                Err(e) => {
                    debug!(error = %e, generation, "resume failed");
                    None
                }
            };
            if let Some(why) = kill {
                info!(%why, "the link is over");
                let _ = shared.command(Command::Kill(why));
                return;
            }
            sleep(backoff.next().unwrap_or(RETRY_MAX)).await;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("refused (code {0})")]
    Refused(u64),
}

async fn resume(
    dialer: &dyn Dialer,
    shared: &Shared,
    id: LinkId,
    secret: LinkSecret,
    generation: u64,
) -> Result<Command, Failed> {
    let mut carrier = dial(dialer).await?;
    // May be older than what the link has by the time it arrives; the peer sends a little twice then.
    let received = shared.received.load(Relaxed);
    let answer = exchange(
        &mut carrier,
        &Frame::Resume {
            received,
            id,
            secret,
            generation,
        },
    )
    .await?;
    match answer {
        Frame::Resumed(peer_received) => Ok(Command::Attach {
            carrier,
            generation,
            peer_received,
            answer: false,
        }),
        // An attempt that was overtaken by a later one is simply repeated.
        Frame::Refused(refusal::STALE) => Err(OpenError::Protocol.into()),
        Frame::Refused(code) => Err(Failed::Refused(code)),
        _ => Err(OpenError::Protocol.into()),
    }
}
