//! The composition root: a server is put together from its settings here, and nowhere else.
//!
//! Invariant: this is the only module that knows every layer; nothing is decided here but who gets what.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

use crate::{
    adapters::{
        auth::{
            KeysThenJwt,
            algorithm::Algorithm,
            jwt::{JwtAuthenticator, JwtOptions, JwtSetupError, KeySource},
            keys::{DuplicateKey, StaticKey, StaticKeys},
            none::NoAuthentication,
        },
        config::{self, AuthMode, AuthSettings, Backend, CorsOrigins, Settings},
        http::{self as http_adapter, Api, ApiOptions, ServerOptions},
        memory::{MemoryFeed, MemoryJournal, MemoryLimits, MemoryOptions},
        system_clock::SystemClock,
    },
    app::{
        availability::Availability,
        hub::{DrainPlan, Hub, RingOptions},
        lifecycle::Lifecycle,
        limits::{Limits, LimitsOptions},
        producing::Producing,
        publishing::Publisher,
        sources::{Source, Sources},
        subscriptions::{SubscriptionOptions, Subscriptions},
    },
    domain::session::StreamPolicy,
    ports::{
        authenticator::Authenticator,
        clock::Clock,
        feed::Feed,
        journal::Journal,
        limits::{ConnectionLeases, ReplayBudget},
        messages::Messages,
        topic_log::PageLimit,
    },
};

/// How much of the journal is read at once for one connection: enough that reading is not the bottleneck, and little
/// enough that thousands may hold a page while their clients are slow.
const PAGE_LIMIT: PageLimit = PageLimit { entries_max: 256, bytes_max: 64 * 1024 };

/// A server that runs.
pub struct Server {
    address: SocketAddr,
    lifecycle: Lifecycle,
    hub: Hub,
    limits: Arc<Limits>,
    drain: Duration,
    lease_keeper: JoinHandle<()>,
    serving: JoinHandle<()>,
}

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address can't be had.
    #[error("can't listen on {address}: is another server running there? Set server.listen to a free address")]
    Listen {
        /// The address as set.
        address: SocketAddr,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The keys to check tokens with are not usable.
    #[error(transparent)]
    Jwt(#[from] JwtSetupError),
    /// Two publishers' keys are one.
    #[error(transparent)]
    Keys(#[from] DuplicateKey),
}

/// The ports to whatever keeps the events and the messages.
struct Backends {
    journal: Arc<dyn Journal>,
    messages: Arc<dyn Messages>,
    sources: Sources,
}

/// The ports to whatever counts what users use.
struct LimitsBackend {
    leases: Arc<dyn ConnectionLeases>,
    budget: Arc<dyn ReplayBudget>,
}

impl Server {
    /// Puts a server together and starts it. It serves until [`Server::drain`].
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let authenticator = authenticator(&settings.auth, &clock)?;
        let Backends { journal, messages, sources } = backends(settings, &clock);
        let LimitsBackend { leases, budget } = limits_backend(settings, &clock);
        let address = settings.server.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;

        let lifecycle = Lifecycle::default();
        let stopped = lifecycle.stopped().clone();
        let hub = Hub::start(sources.clone(), ring_options(settings), PAGE_LIMIT, stopped.clone());
        let limits = Limits::new(limits_options(settings), leases, budget);
        let lease_keeper = tokio::spawn(Arc::clone(&limits).keep_leases(stopped.clone()));
        let Source { feed, availability, .. } = sources.users.clone();
        let registry = Arc::new(settings.categories.clone());
        let publisher = Publisher::new(journal, availability, feed, Arc::clone(&clock), registry, settings.sse.push_enabled);
        let subscriptions = Subscriptions::new(
            subscription_options(settings),
            sources.clone(),
            Arc::clone(&messages),
            hub.clone(),
            Arc::clone(&limits),
            Arc::clone(&clock),
        );
        let availability = Arc::clone(&sources.messages.availability);
        let producing = Arc::new(Producing::new(messages, availability, Arc::clone(&clock), settings.messages.producer_idle));
        tokio::spawn(Arc::clone(&producing).keep_retention(settings.messages.retention, stopped));
        let api = Api {
            subscriptions: Arc::new(subscriptions),
            publisher: Arc::new(publisher),
            producing,
            authenticator,
            sources,
            lifecycle: lifecycle.clone(),
            options: Arc::new(api_options(settings)),
        };
        let router = http_adapter::router(api);
        let serving = tokio::spawn(http_adapter::serve(listener, router, server_options(settings), lifecycle.clone(), clock));
        Ok(Self { address, lifecycle, hub, limits, drain: settings.server.drain, lease_keeper, serving })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many streams are open.
    pub fn connections(&self) -> usize {
        self.limits.connections()
    }

    /// Asks all clients to leave, spread over the drain time, lets requests finish, and stops. Tells whether all was
    /// over in time.
    pub async fn drain(self) -> bool {
        // The last to be told still needs a moment to be told.
        let spread = self.drain * 4 / 5;
        self.lifecycle.begin_drain();
        self.hub.drain(DrainPlan { started: Instant::now(), spread });
        let in_time = self.lifecycle.finish(self.drain).await;
        // What could not be given back by then ends by itself.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.lease_keeper).await;
        // Only now the address is free for who comes next.
        let _ = self.serving.await;
        in_time
    }

    /// Stops at once, as a process that is killed does: nobody is told.
    pub async fn kill(self) {
        self.lifecycle.begin_drain();
        self.lifecycle.finish(Duration::ZERO).await;
        let _ = self.serving.await;
    }
}

/// The only `match` on where events and messages are kept.
fn backends(settings: &Settings, clock: &Arc<dyn Clock>) -> Backends {
    match (settings.events.backend, settings.messages.backend) {
        (Backend::Memory, Backend::Memory) => {
            let options = MemoryOptions {
                topic_entries_max: settings.events.stream_maxlen,
                age_max: settings.events.replay_max_age,
                idempotency_window: settings.events.idempotency_window,
                bytes_max: settings.memory.max_bytes,
            };
            let journal = Arc::new(MemoryJournal::new(options, Arc::clone(clock)));
            let feed: Arc<dyn Feed> = Arc::new(MemoryFeed::new(Arc::clone(&journal)));
            let source =
                |name| Source { log: Arc::clone(&journal) as _, feed: Arc::clone(&feed), availability: Arc::new(Availability::new(name)) };
            let sources = Sources { users: source("journal"), messages: source("messages") };
            Backends { messages: Arc::clone(&journal) as _, journal, sources }
        }
    }
}

/// The only `match` on where limits are counted.
fn limits_backend(settings: &Settings, clock: &Arc<dyn Clock>) -> LimitsBackend {
    match settings.limits.backend {
        Backend::Memory => {
            let limits = Arc::new(MemoryLimits::new(Arc::clone(clock)));
            LimitsBackend { leases: Arc::clone(&limits) as _, budget: limits }
        }
    }
}

fn authenticator(auth: &AuthSettings, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Authenticator>, StartError> {
    // In mode `jwt` the settings have exactly one source; without one there is nothing to check a token with.
    let (AuthMode::Jwt, Some(source)) = (auth.mode, auth.jwt.key_sources().next()) else { return Ok(Arc::new(NoAuthentication)) };
    let key = match source {
        config::KeySource::Secret(secret) => KeySource::Secret(secret.reveal().to_owned()),
        config::KeySource::PublicKeyFile(path) => KeySource::PemFile(path.to_owned()),
        config::KeySource::JwksFile(path) => KeySource::JwksFile(path.to_owned()),
        config::KeySource::JwksUrl(url) => KeySource::JwksUrl(url.to_owned()),
    };
    let algorithm = |algorithm: &config::Algorithm| match algorithm {
        config::Algorithm::Hs256 => Algorithm::Hs256,
        config::Algorithm::Rs256 => Algorithm::Rs256,
        config::Algorithm::Es256 => Algorithm::Es256,
        config::Algorithm::EdDsa => Algorithm::EdDsa,
    };
    let options = JwtOptions {
        key,
        algorithms: auth.jwt.algorithms.iter().map(algorithm).collect(),
        issuer: auth.jwt.issuer.clone(),
        audience: auth.jwt.audience.clone(),
        leeway: auth.jwt.leeway,
    };
    let keys = auth.keys.iter().map(|key| StaticKey { name: key.name.clone(), sha256: key.sha256, scopes: key.scopes.clone() });
    let jwt = JwtAuthenticator::new(options, Arc::clone(clock))?;
    Ok(Arc::new(KeysThenJwt::new(StaticKeys::new(keys)?, jwt)))
}

fn ring_options(settings: &Settings) -> RingOptions {
    let hub = &settings.hub;
    RingOptions { entries_max: hub.ring_entries_max, bytes_max: hub.ring_max_bytes, total_bytes_max: hub.rings_max_bytes }
}

fn limits_options(settings: &Settings) -> LimitsOptions {
    LimitsOptions {
        connections_max: settings.sse.max_concurrent_per_user,
        replays_max: settings.events.replay_budget_requests_per_window,
        replay_window: settings.events.replay_budget_window,
    }
}

fn subscription_options(settings: &Settings) -> SubscriptionOptions {
    let policy = StreamPolicy {
        keepalive: settings.sse.keepalive,
        retry_ms: settings.sse.retry_ms,
        snapshot_entries_max: settings.events.replay_max_per_request,
    };
    SubscriptionOptions {
        policy,
        page_limit: PAGE_LIMIT,
        age_max: settings.events.replay_max_age,
        push_enabled: settings.sse.push_enabled,
        producer_idle: settings.messages.producer_idle,
    }
}

fn api_options(settings: &Settings) -> ApiOptions {
    ApiOptions {
        body_bytes_max: settings.server.max_body_bytes,
        request_timeout: settings.server.request_timeout,
        recipients_max: settings.events.recipients_max,
        cors_origins: match &settings.server.cors_origins {
            CorsOrigins::Any => vec![HeaderValue::from_static("*")],
            CorsOrigins::Only(origins) => origins.clone(),
        },
        token_cookie: settings.auth.cookie.clone(),
        token_in_query: settings.auth.query_token,
        retry_ms: settings.sse.retry_ms,
    }
}

fn server_options(settings: &Settings) -> ServerOptions {
    ServerOptions {
        connections_max: settings.server.max_connections,
        request_timeout: settings.server.request_timeout,
        header_bytes_max: settings.server.max_header_bytes,
        write_timeout: settings.server.write_timeout,
    }
}
