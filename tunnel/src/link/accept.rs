//! The accepting end: gives carriers to the links that they belong to.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, rand};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{Command, Config, Link, Shared, refusal};
use crate::{
    carrier::{self, BoxCarrier},
    frame::{Frame, LinkId, LinkSecret},
};

/// Longest wait for the first frame: a peer that connects and stays silent holds a socket no longer.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Smallest and largest receive window that a peer may grant: below, nothing moves; above, memory is at stake.
const PEER_WINDOW: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

/// Why a carrier became no part of a link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The carrier broke or stayed silent.
    #[error("the connection failed during the link handshake")]
    Io(#[from] io::Error),
    /// The first frame is none that starts or resumes a link.
    #[error("the peer did not speak the link protocol")]
    Protocol,
    /// The link is not known here, or not this peer's.
    #[error("refused to resume (code {0})")]
    Refused(u64),
}

struct Entry {
    principal: String,
    secret: LinkSecret,
    link: Arc<Shared>,
}

type Links = Mutex<HashMap<LinkId, Entry>>;

/// Knows the links of this end. Cheap to share.
#[derive(Clone)]
pub struct Acceptor {
    links: Arc<Links>,
    config: Config,
}

/// Removes the entry with its link.
struct Registered {
    links: Weak<Links>,
    id: LinkId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(links) = self.links.upgrade() {
            links.lock().remove(&self.id);
        }
    }
}

impl Acceptor {
    /// No links yet; new ones get `config`.
    pub fn new(config: Config) -> Self {
        Self {
            links: Arc::default(),
            config,
        }
    }

    /// Number of links, with or without a carrier.
    pub fn len(&self) -> usize {
        self.links.lock().len()
    }

    /// Whether there is no link.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a carrier whose peer was authenticated as `principal`. `Some` is a new link; `None` means that an
    /// existing link of the same principal goes on with the carrier.
    pub async fn accept(&self, mut carrier: BoxCarrier, principal: &str) -> Result<Option<Link>, LinkError> {
        let first = timeout(HANDSHAKE, carrier::recv(&mut carrier))
            .await
            .map_err(io::Error::from)??;
        match Frame::decode(first) {
            Ok(Frame::New(window)) if PEER_WINDOW.contains(&window) => {
                self.create(carrier, principal, window).await.map(Some)
            }
            Ok(Frame::Resume {
                received,
                id,
                secret,
                generation,
            }) => self
                .resume(carrier, principal, (id, secret), generation, received)
                .await
                .map(|()| None),
            _ => Err(LinkError::Protocol),
        }
    }

    async fn create(
        &self,
        mut carrier: BoxCarrier,
        principal: &str,
        peer_window: u64,
    ) -> Result<Link, LinkError> {
        let (id, secret): (LinkId, LinkSecret) = (random()?, random()?);
        let created = Frame::Created {
            window: self.config.window as u64,
            id,
            secret,
        };
        timeout(HANDSHAKE, carrier::send(&mut carrier, created.encode()))
            .await
            .map_err(io::Error::from)??;
        Ok(Link::new(carrier, self.config.clone(), peer_window, |shared| {
            let entry = Entry {
                principal: principal.to_owned(),
                secret,
                link: shared.clone(),
            };
            self.links.lock().insert(id, entry);
            Registered {
                links: Arc::downgrade(&self.links),
                id,
            }
        }))
    }

    async fn resume(
        &self,
        mut carrier: BoxCarrier,
        principal: &str,
        (id, secret): (LinkId, LinkSecret),
        generation: u64,
        peer_received: u64,
    ) -> Result<(), LinkError> {
        let found = match self.links.lock().get(&id) {
            // Another principal's link is as good as none: whether it exists is not its business.
            Some(entry) if entry.principal == principal => {
                match verify_slices_are_equal(&entry.secret, &secret) {
                    Ok(()) => Ok(entry.link.clone()),
                    Err(_) => Err(refusal::PROOF),
                }
            }
            _ => Err(refusal::UNKNOWN),
        };
        let code = match found {
            Err(code) => code,
            Ok(link) => {
                let attach = Command::Attach {
                    carrier,
                    generation,
                    peer_received,
                    answer: true,
                };
                let Err(refused) = link.command(attach) else {
                    return Ok(());
                };
                let Command::Attach { carrier: back, .. } = refused else {
                    return Err(LinkError::Protocol);
                };
                carrier = back;
                refusal::UNKNOWN
            }
        };
        let answer = carrier::send(&mut carrier, Frame::Refused(code).encode());
        timeout(HANDSHAKE, answer).await.map_err(io::Error::from)??;
        Err(LinkError::Refused(code))
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}
