//! The composition root: a server is put together from its settings here, and nowhere else.
//!
//! Invariant: this is the only module that knows every layer; nothing is decided here but who gets
//! what.

pub mod archives;
mod authentication;
mod backends;
mod options;

use std::{error::Error, io, iter, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::net::TcpListener;

use self::{
    authentication::authenticator,
    backends::{Backends, Parts},
    options::{api_options, limits_options, ring_options, server_options, subscription_options},
};
use crate::{
    adapters::{
        auth::{jwt::JwtSetupError, keys::DuplicateKey},
        backend_kit::sweep::Sweeper,
        config::Settings,
        http::{self as http_adapter, Api, Listeners, MetricsText, RouteCollision},
        prometheus::Prometheus,
        system_clock::SystemClock,
        system_entropy::SystemEntropy,
    },
    app::{
        administration::Administration,
        broadcasting::Broadcaster,
        broadcasts::Broadcasts,
        drain::DrainPlan,
        hub::Hub,
        lifecycle::Lifecycle,
        limits::Limits,
        producing::Producing,
        publishing::Publisher,
        signals::Signals,
        subscriptions::{STREAM_PAGE, Subscriptions},
        supervisor::Supervisor,
    },
    ports::{
        clock::Clock,
        entropy::Entropy,
        tasks::{Task, Tasks},
    },
};

/// A server that runs.
pub struct Server {
    address: SocketAddr,
    ops_address: Option<SocketAddr>,
    lifecycle: Lifecycle,
    hub: Hub,
    limits: Arc<Limits>,
    drain: Duration,
    supervisor: Supervisor,
    serving: Vec<Task>,
    /// They sweep for as long as the server runs.
    _sweepers: Vec<Arc<Sweeper>>,
}

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address can't be had.
    #[error(
        "can't listen on {address}: is another server running there? Set {key} to a free address"
    )]
    Listen {
        /// The setting.
        key: &'static str,
        /// The address as set.
        address: SocketAddr,
        /// The underlying IO error.
        #[source]
        source: io::Error,
    },
    /// The keys to check tokens with are not usable.
    #[error(transparent)]
    Jwt(#[from] JwtSetupError),
    /// Two publishers' keys are one.
    #[error(transparent)]
    Keys(#[from] DuplicateKey),
    /// A backend is none of those that this program was built with.
    #[error(
        "this program was built without the feature `{backend}`: set `events.backend`, `messages.backend` or `limits.backend` to another one, or build it with that feature"
    )]
    NotBuilt {
        /// The backend, as the settings name it.
        backend: &'static str,
    },
    /// A route of the deployment's own takes the path of another.
    #[error(transparent)]
    Route(#[from] RouteCollision),
    /// A backend can't be used as the settings say.
    #[error(transparent)]
    Backend(Box<dyn Error + Send + Sync>),
}

impl Server {
    /// Puts a server together and starts it. It serves until [`Server::drain`].
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let prometheus = Prometheus::new();
        let signals = Signals::new(&prometheus.recorder(), Arc::clone(&clock));
        let lifecycle = Lifecycle::default();
        let supervisor = Supervisor::new(lifecycle.stopped().clone(), Arc::clone(&signals));
        let tasks: Arc<dyn Tasks> = Arc::new(supervisor.clone());
        let authenticator = authenticator(&settings.auth, &clock, &tasks)?;
        let (listener, address) = listen("server.listen", settings.server.listen)?;
        let ops = match settings.server.ops_listen {
            Some(address) => Some(listen("server.ops_listen", address)?),
            None => None,
        };

        let parts = Parts { clock: &clock, entropy: &entropy, tasks: &tasks, signals: &signals };
        let Backends { journal, messages, sources, archives, leases, budget, sweepers } =
            backends::open(settings, parts).await?;
        let limits = Limits::new(limits_options(settings), leases, budget, Arc::clone(&entropy));
        let broadcasts = Arc::new(Broadcasts::new(settings.hub.broadcasts_max_bytes));
        let hub = Hub::start(
            sources.clone(),
            Arc::clone(&limits),
            Arc::clone(&broadcasts),
            ring_options(settings),
            STREAM_PAGE,
            Arc::clone(&tasks),
            Arc::clone(&entropy),
        );
        tasks.spawn_vital("leases", Arc::clone(&limits).keep_leases().boxed()).detach();
        let administration = Administration::new(
            Arc::clone(&journal),
            sources.clone(),
            archives,
            hub.clone(),
            Arc::clone(&limits),
            lifecycle.clone(),
            Arc::clone(&clock),
        );
        let registry = Arc::new(settings.categories.clone());
        let push_enabled = settings.sse.push_enabled;
        let broadcaster =
            Broadcaster::new(broadcasts, Arc::clone(&sources.users.feed), Arc::clone(&signals));
        let publisher = Publisher::new(
            journal,
            broadcaster,
            Arc::clone(&clock),
            registry,
            Arc::clone(&signals),
            push_enabled,
        );
        let subscriptions = Subscriptions::new(
            subscription_options(settings),
            sources.clone(),
            Arc::clone(&messages),
            hub.clone(),
            Arc::clone(&limits),
            Arc::clone(&clock),
            Arc::clone(&signals),
        );
        let idle = settings.messages.producer_idle;
        let producing =
            Arc::new(Producing::new(messages, Arc::clone(&clock), Arc::clone(&signals), idle));
        let retention = Arc::clone(&producing).keep_retention(settings.messages.retention);
        tasks.spawn_vital("message retention", retention.boxed()).detach();
        tasks.spawn_vital("metrics upkeep", prometheus.clone().keep_up().boxed()).detach();
        let api = Api {
            subscriptions: Arc::new(subscriptions),
            publisher: Arc::new(publisher),
            producing,
            administration: Arc::new(administration),
            authenticator,
            sources,
            entropy,
            lifecycle: lifecycle.clone(),
            signals: Arc::clone(&signals),
            metrics: Arc::new(MetricsText::new(move || prometheus.render())),
            options: Arc::new(api_options(settings)),
        };
        let (ops_listener, ops_address) = ops.unzip();
        let serving = serve(api, settings, &clock, &tasks, listener, ops_listener)?;
        Ok(Self {
            address,
            ops_address,
            lifecycle,
            hub,
            limits,
            drain: settings.server.drain,
            supervisor,
            serving,
            _sweepers: sweepers,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for operators, if that is elsewhere.
    pub const fn ops_address(&self) -> Option<SocketAddr> {
        self.ops_address
    }

    /// How many streams are open.
    pub fn connections(&self) -> usize {
        self.limits.connections()
    }

    /// Waits until one of its background tasks has failed: it can't go on then, and is to be
    /// drained.
    pub async fn failed(&self) {
        self.supervisor.failed().cancelled().await;
    }

    /// Asks all clients to leave, spread over the drain time, lets requests finish, and stops.
    /// Returns how many streams and requests were cut off, since they were not over in time.
    pub async fn drain(self) -> usize {
        self.lifecycle.begin_drain();
        self.hub.drain(DrainPlan::begin(self.drain));
        let cut_off = self.lifecycle.finish(self.drain).await;
        // What could not be given back by then ends by itself.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.limits.give_back()).await;
        // Only now the address is free for who comes next.
        for serving in self.serving {
            serving.ended().await;
        }
        cut_off
    }

    /// Stops at once, as a process that is killed does: no client is notified.
    pub async fn kill(self) {
        self.lifecycle.begin_drain();
        self.lifecycle.finish(Duration::ZERO).await;
        for serving in self.serving {
            serving.ended().await;
        }
    }
}

/// Serves the routes, by a task for each listener.
fn serve(
    api: Api,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    tasks: &Arc<dyn Tasks>,
    listener: TcpListener,
    ops_listener: Option<TcpListener>,
) -> Result<Vec<Task>, RouteCollision> {
    let (lifecycle, signals) = (api.lifecycle.clone(), Arc::clone(&api.signals));
    let Listeners { public, ops } = http_adapter::routes(api, ops_listener.is_some())?;
    let serve = |name, listener, routes| {
        let (clock, signals) = (Arc::clone(clock), Arc::clone(&signals));
        let options = server_options(settings);
        let serving =
            http_adapter::serve(listener, routes, options, lifecycle.clone(), clock, signals);
        tasks.spawn_vital(name, serving.boxed())
    };
    let public = serve("listener", listener, public);
    let ops = ops_listener.map(|listener| serve("operators listener", listener, ops));
    Ok(iter::once(public).chain(ops).collect())
}

fn listen(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { key, address, source };
    let listener = http_adapter::listen(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
