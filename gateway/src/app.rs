//! The gateway as a whole: what its parts share, how it starts and how it stops.
//!
//! ```text
//!   start: folder, certificate, store, first administrator, directory, ports, tasks
//!   stop:  drain (accept no more, finish what is open) ── deadline ──> hard (end everything) ──> store closed
//! ```

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kantaloupe_proto::token::{Token, TokenKind};
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret as _;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;
use url::Url;

use crate::{
    admin,
    agents::Agents,
    api,
    audit::{self, Audit},
    auth::{self, Auth},
    clusters::{self, ChangeLock},
    config::{AuditConfig, Config, Image},
    directory::Directory,
    files, inventory,
    journal::Journal,
    limits::Limits,
    listener,
    login::Logins,
    metrics::Metrics,
    oidc, people,
    recording::{self, Recorder},
    route::Routes,
    store::{Store, StoreError},
    tls,
};

pub use crate::start::StartError;

/// Connections that wait to be accepted: thousands of agents come back at once after a restart.
const BACKLOG: u32 = 4096;
/// Agents are told to come back spread over this time, so that the next gateway is not hit by all at once.
const RECONNECT_SPREAD: Duration = Duration::from_secs(5);
/// Longest wait for the agents' answers to Drain; they answer at once or are gone.
const DRAIN_CALLS: Duration = Duration::from_secs(3);
/// Longest wait for tasks after everything was cut; they have nothing left to wait for.
const AFTER_CUT: Duration = Duration::from_secs(2);
/// File with the first administrator's token.
const ADMIN_TOKEN: &str = "admin-token";

/// The two steps of stopping.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    /// Accept nothing new, finish what is open.
    pub(crate) drain: CancellationToken,
    /// End everything.
    pub(crate) hard: CancellationToken,
}

/// What the API puts into its answers.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Without trailing slash.
    pub(crate) public_url: String,
    /// Without trailing slash.
    pub(crate) agent_url: String,
    pub(crate) chart: String,
    pub(crate) image: Option<Image>,
    pub(crate) pin: String,
    pub(crate) own_ca: Option<String>,
    /// Records that one cluster's inventory may have.
    pub(crate) inventory_records: u32,
    /// Longest wait for a request's head.
    pub(crate) head_timeout: Duration,
    /// Longest time that an API token may be good, seconds.
    pub(crate) token_seconds: i64,
}

/// What all parts share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) people: Arc<people::Registry>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) limits: Limits,
    /// Places for exports of the audit.
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) auth: Auth,
    pub(crate) logins: Logins,
    pub(crate) directory: Directory,
    pub(crate) changes: ChangeLock,
    pub(crate) agents: Agents,
    pub(crate) journal: Journal,
    pub(crate) inventory: inventory::Hub,
    pub(crate) metrics: Metrics,
    pub(crate) stop: Stop,
    /// Changes whenever a cluster or a token was revoked, and when people have changed.
    pub(crate) revocations: watch::Sender<()>,
    /// Connections and streams of users; agents are here until their upgrade.
    pub(crate) user_tasks: TaskTracker,
    /// Sessions and tunnels of agents.
    pub(crate) agent_tasks: TaskTracker,
}

impl App {
    /// The time, in Unix seconds.
    pub(crate) fn now() -> i64 {
        jiff::Timestamp::now().as_second()
    }

    /// Runs a change of the store and of what is in memory to its end, also when the caller hangs up in between.
    pub(crate) async fn to_the_end<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        match self.user_tasks.spawn(change.in_current_span()).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down, and the store with it.
                Err(_) => Err(StoreError::Stopped.into()),
            },
        }
    }

    /// Unix seconds as users read them; a time that no calendar has comes out as 1970.
    pub(crate) fn rfc3339(seconds: i64) -> String {
        jiff::Timestamp::from_second(seconds)
            .unwrap_or_default()
            .to_string()
    }
}

/// A running gateway. Dropping it leaves its tasks running until the runtime ends; use [`Gateway::shutdown`].
#[derive(Debug)]
pub struct Gateway {
    /// Where users and agents connect.
    pub addr: SocketAddr,
    /// Where health and metrics are.
    pub admin_addr: SocketAddr,
    /// `sha256:<hex>` of the certificate's key.
    pub pin: String,
    /// The own certificate in PEM, unless one was given.
    pub own_ca: Option<String>,
    app: Arc<App>,
    service_tasks: TaskTracker,
    journal_stop: CancellationToken,
    drain_timeout: Duration,
}

impl Gateway {
    /// Starts a gateway. When this returns, it accepts connections.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let dir = &config.data_dir;
        files::create_private_folder(dir).map_err(|e| StartError::data_dir(dir, &e))?;
        let tls = tls::prepare(&config.tls, dir, &hosts(&config))?;
        // Ports before the store: a second gateway on the same folder ends here and touches nothing.
        let (listener, addr) = listen(config.listen)?;
        let (admin_listener, admin_addr) = listen(config.admin_listen)?;

        let in_store = |e: StoreError| StartError::store(dir, &e);
        let store = Store::open(dir).await.map_err(in_store)?;
        ensure_admin(&store, &config).await?;
        let audience = store.audience().await.map_err(in_store)?;
        let clusters = clusters::load(&store, App::now()).await.map_err(in_store)?;
        let directory = Directory::new(clusters);
        let people = Arc::new(people::Registry::new(store.people().await.map_err(in_store)?));
        for row in store.inventories().await.map_err(in_store)? {
            if let Some(cluster) = directory.find_by_id(&row.cluster_id) {
                cluster.inventory.restore(row);
            }
        }

        let audit = Arc::new(Audit::open(dir, config.audit).await?);
        let recorder = Arc::new(Recorder::new(dir, config.recording, config.audit.failure));
        recording::mend(&recorder, &audit);
        let public_url = base(&config.public_url, addr);
        let logins = Logins::open(dir, config.oidc.clone(), &public_url)?;

        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let (inventory, jobs) = inventory::Hub::new();
        inventory.metrics.register(&mut registry);
        audit.metrics.register(&mut registry);
        recorder.metrics.register(&mut registry);
        logins.metrics.register(&mut registry);
        let app = Arc::new(App {
            settings: Settings {
                public_url,
                agent_url: base(&config.agent_url, addr),
                chart: config.chart,
                image: config.image,
                pin: tls.pin.clone(),
                own_ca: tls.own_ca.clone(),
                inventory_records: config.inventory_records,
                head_timeout: config.head_timeout,
                token_seconds: i64::from(config.token_days) * 24 * 3600,
            },
            auth: Auth::new(store.clone(), Arc::clone(&people)),
            people,
            logins,
            store,
            audit,
            recorder,
            limits: Limits::new(&config.limits),
            exports: api::exports(),
            directory,
            changes: ChangeLock::default(),
            agents: Agents::new(audience, config.data_idle, metrics.link.clone()),
            journal: Journal::default(),
            inventory,
            metrics,
            stop: Stop::default(),
            revocations: watch::Sender::default(),
            user_tasks: TaskTracker::new(),
            agent_tasks: TaskTracker::new(),
        });
        let service_tasks = TaskTracker::new();
        let journal_stop = CancellationToken::new();
        let (journal, stop) = (Arc::clone(&app), journal_stop.clone());
        service_tasks.spawn(async move {
            journal
                .journal
                .run(&journal.directory, &journal.store, &journal.metrics, &stop)
                .await;
        });
        let (tokens, stop) = (Arc::clone(&app), journal_stop.clone());
        service_tasks.spawn(async move { auth::watch_tokens(&tokens, &stop).await });
        service_tasks.spawn(audit::run(Arc::clone(&app.audit), journal_stop.clone()));
        service_tasks.spawn(recording::run(
            Arc::clone(&app.recorder),
            Arc::clone(&app.audit),
            journal_stop.clone(),
        ));
        service_tasks.spawn(oidc::run(Arc::clone(&app), journal_stop.clone()));
        service_tasks.spawn(inventory::run(Arc::clone(&app), jobs, journal_stop.clone()));
        let routes = Arc::new(Routes::new(Arc::clone(&app)));
        service_tasks.spawn(listener::accept(routes, listener, TlsAcceptor::from(tls.config)));
        service_tasks.spawn(admin::serve(Arc::clone(&app), registry, admin_listener));
        tracing::info!(%addr, admin = %admin_addr, pin = %tls.pin, clusters = app.directory.count(), "gateway ready");
        Ok(Self {
            addr,
            admin_addr,
            pin: tls.pin,
            own_ca: tls.own_ca,
            app,
            service_tasks,
            journal_stop,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Stops: accepts nothing new, sends the agents elsewhere, lets open streams go on until the deadline, then ends
    /// everything and closes the store.
    pub async fn shutdown(self) {
        let app = &self.app;
        app.stop.drain.cancel();
        let _ = timeout(DRAIN_CALLS, self.drain_agents()).await;
        app.user_tasks.close();
        if timeout(self.drain_timeout, app.user_tasks.wait()).await.is_err() {
            tracing::warn!(
                streams = app.metrics.streams.get(),
                "deadline reached; ending open streams"
            );
        }
        self.end().await;
    }

    /// Ends everything at once, as far as the process can: what a crash looks like to agents and users.
    pub async fn abort(self) {
        self.app.stop.drain.cancel();
        self.end().await;
    }

    #[cfg(test)]
    pub(crate) fn app(&self) -> Arc<App> {
        Arc::clone(&self.app)
    }

    async fn end(&self) {
        let app = &self.app;
        app.stop.hard.cancel();
        app.user_tasks.close();
        app.agent_tasks.close();
        let tasks = async { tokio::join!(app.user_tasks.wait(), app.agent_tasks.wait()) };
        if timeout(AFTER_CUT, tasks).await.is_err() {
            tracing::warn!("some tasks did not end");
        }
        app.audit.stopped();
        // Last, so that it writes what the tunnels' ends left.
        self.journal_stop.cancel();
        self.service_tasks.close();
        let _ = timeout(AFTER_CUT, self.service_tasks.wait()).await;
        app.store.close().await;
        app.audit.store.close().await;
        tracing::info!("gateway stopped");
    }

    async fn drain_agents(&self) {
        let tunnels: Vec<_> = self
            .app
            .directory
            .all()
            .iter()
            .flat_map(|c| c.tunnels.all())
            .collect();
        let count = u32::try_from(tunnels.len()).unwrap_or(u32::MAX).max(1);
        let calls = (0..).zip(&tunnels).map(|(index, tunnel)| {
            // Even steps are as good as random ones and never bunch.
            tunnel.drain("shutdown", RECONNECT_SPREAD * index / count)
        });
        futures::future::join_all(calls).await;
    }
}

/// Names and addresses that an own certificate must be valid for.
fn hosts(config: &Config) -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    for url in [&config.public_url, &config.agent_url] {
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            None => continue,
        };
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// A base URL without trailing slash; port 0 becomes the port that listening got.
fn base(url: &Url, addr: SocketAddr) -> String {
    let mut url = url.clone();
    if url.port() == Some(0) {
        url.set_port(Some(addr.port()))
            .expect("an https URL can have a port");
    }
    url.as_str().trim_end_matches('/').to_owned()
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bind = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A restart must not wait for the last connections of the process before to time out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    };
    bind().map_err(|e| StartError::listen(address, &e))
}

/// Makes the first administrator. The token is in its file before it is in the store: a crash in between is mended by
/// the next start, the other way round nobody could ever log in.
async fn ensure_admin(store: &Store, config: &Config) -> Result<(), StartError> {
    let in_store = |e: StoreError| StartError::store(&config.data_dir, &e);
    if !store.people().await.map_err(in_store)?.users.is_empty() {
        return Ok(());
    }
    let (token, path) = admin_token(&config.data_dir)?;
    people::create_first_admin(store, &token, App::now())
        .await
        .map_err(in_store)?;
    tracing::info!(path = %path.display(), "first administrator made; the API token is in this file");
    Ok(())
}

/// A new token, in the administrator's file.
fn admin_token(data_dir: &Path) -> Result<(Token, PathBuf), StartError> {
    let path = data_dir.join(ADMIN_TOKEN);
    let token = Token::generate(TokenKind::Api);
    let text = format!("{}\n", token.reveal().expose_secret());
    files::write_private(&path, text.as_bytes()).map_err(|e| StartError::token_file(&path, &e))?;
    Ok((token, path))
}

/// Makes the user `admin` an administrator again, with one new token in place of all that he had. Returns the token's file.
/// For a gateway that does not run: one that does knows nothing of it before its next start.
pub async fn reset_admin(data_dir: &Path) -> Result<PathBuf, StartError> {
    // It is made where there is none; that would be a mistyped path.
    if !Store::is_in(data_dir) {
        return Err(StartError::no_store(data_dir));
    }
    // Holds the journal, so that no gateway that runs is passed by.
    let audit = Audit::open(data_dir, AuditConfig::default()).await?;
    let reset = reset_audited(data_dir, &audit).await;
    audit.stopped();
    audit.store.close().await;
    reset
}

/// As [`reset_admin`], with an entry before the change, and another one if it fails.
async fn reset_audited(data_dir: &Path, audit: &Audit) -> Result<PathBuf, StartError> {
    let in_store = |e: StoreError| StartError::store(data_dir, &e);
    let entry = |decision, reason: &str| audit::Entry {
        organization: people::ORGANIZATION.into(),
        verb: "reset".into(),
        group: "gateway".into(),
        resource: "users".into(),
        name: people::ADMIN.into(),
        decision,
        reason: reason.to_owned().into(),
        ..audit::Entry::new(audit::Phase::Event)
    };
    let why = "users reset-admin on the gateway's machine: the administrator gets a new token in place of all that he had";
    audit
        .admit(&mut entry(audit::Decision::Allow, why))
        .map_err(|error| StartError::unaudited(&error))?;
    let store = Store::open(data_dir).await.map_err(in_store)?;
    let reset = async {
        let (token, path) = admin_token(data_dir)?;
        let reset = people::reset_admin(&store, &token, App::now()).await;
        reset.map_err(in_store)?;
        Ok(path)
    };
    let reset = reset.await;
    store.close().await;
    if reset.is_err() {
        let why = "users reset-admin failed, and nothing was changed";
        audit.note(&mut entry(audit::Decision::Deny, why));
    }
    reset
}
