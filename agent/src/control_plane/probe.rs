//! The way to the gateway, step by step, for a report: what a connect does, without an identity and without stopping at a
//! bare "it failed".

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use jiff::Timestamp;
use kantaloupe_checks::{Code, Fault};
use kantaloupe_proto::{
    PROTOCOL_VERSION,
    agent_api::{CHALLENGE_PATH, ChallengeResponse, TUNNEL_PATH},
};
use tokio::time::Instant;

use super::ControlPlane;
use crate::fault::{self, Failure};

/// What the gateway is sent as an assertion: it answers that this is none, which proves that an upgrade reaches it.
const NO_ASSERTION: HeaderValue = HeaderValue::from_static("preflight");
/// Clocks that differ by more are worth a look; the gateway refuses 300 s.
const SKEW_WARNING: i64 = 30;
/// The gateway's own limit.
const SKEW_LIMIT: i64 = 300;

/// One step: what was seen, or what is wrong.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) code: Code,
    pub(crate) result: Result<String, Arc<Fault>>,
    /// It works, but not as it should.
    pub(crate) doubtful: bool,
    pub(crate) took: Duration,
}

/// All steps up to the first that failed.
#[derive(Debug, Default)]
pub(crate) struct Probed {
    pub(crate) steps: Vec<Step>,
    /// What the name stands for.
    pub(crate) addresses: Vec<IpAddr>,
    /// Seconds that our clock is ahead of the gateway's.
    pub(crate) skew: Option<i64>,
}

impl Probed {
    fn passed(&mut self, code: Code, since: Instant, text: impl Into<String>) {
        self.steps.push(Step {
            code,
            result: Ok(text.into()),
            doubtful: false,
            took: since.elapsed(),
        });
    }

    fn failed(&mut self, code: Code, since: Instant, failure: &Failure) {
        self.steps.push(Step {
            code,
            result: Err(Arc::clone(&failure.fault)),
            doubtful: false,
            took: since.elapsed(),
        });
    }
}

impl ControlPlane {
    /// The port that is dialled.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the key of the gateway is pinned.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Goes the way once. Ends at `budget` at the latest, as every step does at its own limit.
    pub(crate) async fn probe(&self, budget: Duration) -> Probed {
        let mut probed = Probed::default();
        let deadline = Instant::now() + budget;

        let since = Instant::now();
        let addresses = match self.resolve(deadline).await {
            Ok(addresses) => addresses,
            Err(failure) => {
                probed.failed(Code::NET_002, since, &failure);
                return probed;
            }
        };
        probed.addresses = addresses.iter().map(SocketAddr::ip).collect();
        let list: Vec<_> = probed.addresses.iter().map(ToString::to_string).collect();
        probed.passed(
            Code::NET_002,
            since,
            format!("{} is {}", self.host, list.join(", ")),
        );

        let since = Instant::now();
        let tcp = match self.connect_tcp(&addresses, deadline).await {
            Ok(tcp) => tcp,
            Err(failure) => {
                probed.failed(Code::NET_003, since, &failure);
                return probed;
            }
        };
        let peer = tcp
            .peer_addr()
            .map_or_else(|_| self.host.clone(), |peer| peer.to_string());
        probed.passed(Code::NET_003, since, format!("{peer} accepts connections"));

        let since = Instant::now();
        let tls = match self.handshake(tcp, deadline).await {
            Ok(tls) => tls,
            Err(failure) => {
                // With a pin both codes are the same step; the fault says which.
                probed.failed(failure.fault.code(), since, &failure);
                return probed;
            }
        };
        let version = match tls.get_ref().1.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        if self.pinned {
            probed.passed(Code::TLS_002, since, "the key is the pinned one");
            probed.passed(
                Code::TLS_001,
                since,
                format!("{version}; with a pin the certificate's names and dates do not count"),
            );
        } else {
            probed.passed(Code::TLS_001, since, format!("{version}, certificate trusted"));
        }

        let since = Instant::now();
        let mut connection = match self.http(tls, deadline).await {
            Ok(connection) => connection,
            Err(failure) => {
                probed.failed(Code::NET_007, since, &failure);
                return probed;
            }
        };
        let challenge: ChallengeResponse = match connection.get(CHALLENGE_PATH).await {
            Ok(challenge) => challenge,
            Err(failure) => {
                probed.failed(Code::NET_007, since, &failure);
                return probed;
            }
        };
        let skew = Timestamp::now().as_second() - challenge.time;
        let answered = Instant::now();
        match connection.upgrade(TUNNEL_PATH, NO_ASSERTION).await {
            // The gateway read the upgrade and refused the assertion that is none.
            Err(failure) if failure.fault.code().area() == "AUTH" => {
                probed.passed(
                    Code::NET_007,
                    since,
                    "the gateway answers, and WebSocket upgrades reach it",
                );
            }
            Err(failure) => probed.failed(Code::NET_007, since, &failure),
            Ok(_carrier) => {
                let what = "it opens a tunnel to whoever asks: this is not a gateway";
                let failure = Failure::transient(fault::new(Code::NET_007, what, self.url()));
                probed.failed(Code::NET_007, since, &failure);
            }
        }
        probed.skew = Some(skew);
        probed.steps.push(self.clock(skew, answered));
        if challenge.protocol_version == PROTOCOL_VERSION {
            probed.passed(
                Code::VER_001,
                answered,
                format!("both speak version {PROTOCOL_VERSION} of the protocol"),
            );
        } else {
            let what = format!(
                "the gateway speaks version {} of the protocol, this agent {PROTOCOL_VERSION}",
                challenge.protocol_version
            );
            let failure = Failure::permanent(fault::new(Code::VER_001, what, self.url()));
            probed.failed(Code::VER_001, answered, &failure);
        }
        probed
    }

    fn clock(&self, skew: i64, since: Instant) -> Step {
        let text = match skew {
            0 => "equal to the second".to_owned(),
            1.. => format!("{skew} s ahead of the gateway's"),
            _ => format!("{} s behind the gateway's", -skew),
        };
        let off = skew.abs() > SKEW_LIMIT;
        let what = format!("the clock here is {text}");
        Step {
            code: Code::TIME_001,
            result: if off {
                Err(Arc::new(fault::new(Code::TIME_001, what, self.url())))
            } else {
                Ok(text)
            },
            doubtful: !off && skew.abs() > SKEW_WARNING,
            took: since.elapsed(),
        }
    }
}
