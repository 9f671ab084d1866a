//! The backends: which there are, and who gets which.
//!
//! Invariant: a server that was configured is opened once, however many parts use it; nothing else
//! knows which backends there are.

use std::{fmt::Display, sync::Arc};

use super::StartError;
use crate::{
    adapters::{
        backend_kit::{
            BackendContext, OnTrouble, Ports, Retention, stored_page::OnMalformed, sweep::Sweeper,
        },
        config::{Backend, Settings},
        memory,
    },
    app::{
        archive::Archives,
        availability::Availability,
        observed::Observed,
        signals::Signals,
        sources::{Source, Sources},
    },
    ports::{
        clock::Clock,
        entropy::Entropy,
        journal::Journal,
        limits::{ConnectionLeases, ReplayBudget},
        messages::Messages,
        tasks::Tasks,
    },
};

/// The ports of a server.
pub(super) struct Backends {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) messages: Arc<dyn Messages>,
    pub(super) sources: Sources,
    pub(super) archives: Archives,
    pub(super) leases: Arc<dyn ConnectionLeases>,
    pub(super) budget: Arc<dyn ReplayBudget>,
    pub(super) sweepers: Vec<Arc<Sweeper>>,
}

/// What a server has that its backends need.
pub(super) struct Parts<'a> {
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) entropy: &'a Arc<dyn Entropy>,
    pub(super) tasks: &'a Arc<dyn Tasks>,
    pub(super) signals: &'a Arc<Signals>,
}

/// Opens what the settings name, and hands it out.
pub(super) async fn open(settings: &Settings, parts: Parts<'_>) -> Result<Backends, StartError> {
    let (context, signals) = (context(settings, &parts), parts.signals);
    let wanted = [settings.events.backend, settings.messages.backend, settings.limits.backend];
    let mut opened: Vec<(Backend, Ports)> = Vec::new();
    for backend in wanted {
        if !opened.iter().any(|(known, _)| *known == backend) {
            opened.push((backend, open_one(backend, settings, &context).await?));
        }
    }
    let of = |wanted: Backend| {
        let found = opened.iter().find(|(known, _)| *known == wanted);
        found.map(|(_, ports)| ports.clone()).expect("each was opened above")
    };
    let [events, messages, limits] = wanted.map(of);
    let availability = |name| Arc::new(Availability::new(name, Arc::clone(signals)));
    let [of_users, of_messages, of_limits] = ["journal", "messages", "limits"].map(availability);
    let journal = observed(events.journal, &of_users);
    let users = Source {
        log: Arc::clone(&journal) as _,
        feed: observed(events.feed, &of_users),
        availability: of_users,
    };
    let store = observed(messages.messages, &of_messages);
    let of_messages_archive = messages.archive;
    let messages = Source {
        log: Arc::clone(&store) as _,
        feed: observed(messages.feed, &of_messages),
        availability: of_messages,
    };
    let archives = Archives {
        journal: Arc::clone(&journal) as _,
        messages: Arc::clone(&store) as _,
        of_events: events.archive,
        of_messages: of_messages_archive,
    };
    Ok(Backends {
        archives,
        journal,
        messages: store,
        sources: Sources { users, messages },
        leases: observed(limits.leases, &of_limits),
        budget: observed(limits.budget, &of_limits),
        sweepers: opened.into_iter().filter_map(|(_, ports)| ports.sweeper).collect(),
    })
}

/// No port leaves this module unobserved.
fn observed<P: ?Sized>(port: Arc<P>, availability: &Arc<Availability>) -> Arc<Observed<P>> {
    Arc::new(Observed::new(port, Arc::clone(availability)))
}

/// The only `match` on the kind of a backend.
#[cfg_attr(
    not(any(feature = "redis", feature = "nats", feature = "postgres")),
    expect(clippy::unused_async, reason = "only backends on the network are waited for")
)]
async fn open_one(
    backend: Backend,
    settings: &Settings,
    context: &BackendContext,
) -> Result<Ports, StartError> {
    match backend {
        Backend::Memory => Ok(memory::open(settings.memory.max_bytes, context)),
        #[cfg(feature = "disk")]
        Backend::Disk => open_disk(settings, context),
        #[cfg(feature = "redis")]
        Backend::Redis => open_redis(settings, context).await,
        #[cfg(feature = "nats")]
        Backend::Nats => open_nats(settings, context).await,
        #[cfg(feature = "postgres")]
        Backend::Postgres => open_postgres(settings, context).await,
        #[cfg(not(all(
            feature = "disk",
            feature = "redis",
            feature = "nats",
            feature = "postgres"
        )))]
        other => Err(StartError::NotBuilt { backend: other.name() }),
    }
}

#[cfg(feature = "disk")]
fn open_disk(settings: &Settings, context: &BackendContext) -> Result<Ports, StartError> {
    use crate::adapters::{
        config::DiskSync,
        disk::{Disk, DiskOptions, SyncPolicy},
    };

    let options = DiskOptions {
        path: settings.disk.path.clone(),
        sync: match settings.disk.sync {
            DiskSync::Always => SyncPolicy::Always,
            DiskSync::Interval => SyncPolicy::Interval,
        },
        cache_bytes: settings.disk.cache_bytes,
    };
    Ok(Disk::open(&options, context).map_err(|error| StartError::Backend(error.into()))?.ports())
}

#[cfg(feature = "redis")]
async fn open_redis(settings: &Settings, context: &BackendContext) -> Result<Ports, StartError> {
    use crate::adapters::redis::{self, RedisOptions};

    let options = RedisOptions {
        url: settings.redis.url.reveal().to_owned(),
        cluster: settings.redis.cluster,
        key_prefix: settings.redis.key_prefix.clone(),
        tls_ca_file: settings.redis.tls_ca_file.clone(),
    };
    redis::open(options, context).await.map_err(|error| StartError::Backend(error.into()))
}

#[cfg(feature = "nats")]
async fn open_nats(settings: &Settings, context: &BackendContext) -> Result<Ports, StartError> {
    use crate::adapters::{
        config::NatsStorage,
        nats::{self, NatsOptions},
    };

    let settings = &settings.nats;
    let options = NatsOptions {
        url: settings.url.reveal().to_owned(),
        credentials_file: settings.credentials_file.clone(),
        nkey_file: settings.nkey_file.clone(),
        tls_ca_file: settings.tls_ca_file.clone(),
        stream_prefix: settings.stream_prefix.clone(),
        subject_prefix: settings.subject_prefix.clone(),
        domain: settings.domain.clone(),
        replicas: settings.replicas,
        storage: match settings.storage {
            NatsStorage::File => nats::Storage::File,
            NatsStorage::Memory => nats::Storage::Memory,
        },
    };
    nats::open(options, context).await.map_err(|error| StartError::Backend(error.into()))
}

#[cfg(feature = "postgres")]
async fn open_postgres(settings: &Settings, context: &BackendContext) -> Result<Ports, StartError> {
    use crate::adapters::postgres::{self, PostgresOptions};

    let options = PostgresOptions {
        url: settings.postgres.url.reveal().to_owned(),
        schema: settings.postgres.schema.clone(),
        max_connections: settings.postgres.max_connections,
        timeout: settings.postgres.timeout,
    };
    postgres::open(options, context).await.map_err(|error| StartError::Backend(error.into()))
}

fn context(settings: &Settings, parts: &Parts<'_>) -> BackendContext {
    let events = &settings.events;
    let retention = Retention {
        stream_maxlen: events.stream_maxlen,
        replay_max_age: events.replay_max_age,
        idempotency_window: events.idempotency_window,
    };
    BackendContext {
        clock: Arc::clone(parts.clock),
        entropy: Arc::clone(parts.entropy),
        tasks: Arc::clone(parts.tasks),
        registry: Arc::new(settings.categories.clone()),
        retention,
        on_malformed: on_malformed(parts.signals),
        on_stray_hint: reporting(parts.signals, Signals::heard_stray_hint),
        on_missed_broadcasts: reporting(parts.signals, Signals::missed_broadcasts),
    }
}

fn reporting(signals: &Arc<Signals>, report: fn(&Signals, &dyn Display)) -> OnTrouble {
    let signals = Arc::clone(signals);
    Arc::new(move |what| report(&signals, what))
}

fn on_malformed(signals: &Arc<Signals>) -> OnMalformed {
    let signals = Arc::clone(signals);
    Arc::new(move |malformed| signals.passed_over_malformed(malformed.topic, &malformed))
}
