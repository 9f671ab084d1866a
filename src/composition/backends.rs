//! The backends: which there are, and who gets which.
//!
//! Invariant: a server that was configured is opened once, however many parts use it; nothing else knows which backends
//! there are.

use std::{fmt::Display, sync::Arc};

use super::StartError;
use crate::{
    adapters::{
        config::{Backend, Settings},
        memory::{MemoryFeed, MemoryJournal, MemoryLimits, MemoryOptions},
        postgres::{Postgres, PostgresOptions},
        redis::{OnTrouble, Redis, RedisOptions},
        stored_page::OnMalformed,
    },
    app::{
        availability::Availability,
        signals::Signals,
        sources::{Source, Sources},
    },
    ports::{
        clock::Clock,
        feed::Feed,
        journal::Journal,
        limits::{ConnectionLeases, ReplayBudget},
        messages::Messages,
    },
};

/// The ports of a server.
pub(super) struct Backends {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) messages: Arc<dyn Messages>,
    pub(super) sources: Sources,
    pub(super) leases: Arc<dyn ConnectionLeases>,
    pub(super) budget: Arc<dyn ReplayBudget>,
}

/// All ports of one backend.
#[derive(Clone)]
struct Ports {
    journal: Arc<dyn Journal>,
    messages: Arc<dyn Messages>,
    feed: Arc<dyn Feed>,
    leases: Arc<dyn ConnectionLeases>,
    budget: Arc<dyn ReplayBudget>,
}

/// Opens what the settings name, and hands it out.
pub(super) async fn open(settings: &Settings, clock: &Arc<dyn Clock>, signals: &Arc<Signals>) -> Result<Backends, StartError> {
    let wanted = [settings.events.backend, settings.messages.backend, settings.limits.backend];
    let mut opened: Vec<(Backend, Ports)> = Vec::new();
    for backend in wanted {
        if !opened.iter().any(|(known, _)| *known == backend) {
            opened.push((backend, open_one(backend, settings, clock, signals).await?));
        }
    }
    let of = |wanted: Backend| {
        let found = opened.iter().find(|(known, _)| *known == wanted);
        found.map(|(_, ports)| ports.clone()).expect("each was opened above")
    };
    let [events, messages, limits] = wanted.map(of);
    let availability = |name| Arc::new(Availability::new(name, Arc::clone(signals)));
    let users = Source { log: Arc::clone(&events.journal) as _, feed: events.feed, availability: availability("journal") };
    let of_messages = Source { log: Arc::clone(&messages.messages) as _, feed: messages.feed, availability: availability("messages") };
    Ok(Backends {
        journal: events.journal,
        messages: messages.messages,
        sources: Sources { users, messages: of_messages },
        leases: limits.leases,
        budget: limits.budget,
    })
}

/// The only `match` on the kind of a backend.
async fn open_one(backend: Backend, settings: &Settings, clock: &Arc<dyn Clock>, signals: &Arc<Signals>) -> Result<Ports, StartError> {
    match backend {
        Backend::Memory => Ok(memory(settings, clock)),
        Backend::Redis => redis(settings, signals).await,
        Backend::Postgres => postgres(settings, signals).await,
    }
}

fn memory(settings: &Settings, clock: &Arc<dyn Clock>) -> Ports {
    let options = MemoryOptions {
        topic_entries_max: settings.events.stream_maxlen,
        age_max: settings.events.replay_max_age,
        idempotency_window: settings.events.idempotency_window,
        bytes_max: settings.memory.max_bytes,
    };
    let journal = Arc::new(MemoryJournal::new(options, Arc::clone(clock)));
    let limits = Arc::new(MemoryLimits::new(Arc::clone(clock)));
    Ports {
        feed: Arc::new(MemoryFeed::new(Arc::clone(&journal))),
        messages: Arc::clone(&journal) as _,
        journal,
        leases: Arc::clone(&limits) as _,
        budget: limits,
    }
}

async fn redis(settings: &Settings, signals: &Arc<Signals>) -> Result<Ports, StartError> {
    let options = RedisOptions {
        url: settings.redis.url.reveal().to_owned(),
        cluster: settings.redis.cluster,
        key_prefix: settings.redis.key_prefix.clone(),
        tls_ca_file: settings.redis.tls_ca_file.clone(),
        topic_entries_max: settings.events.stream_maxlen,
        age_max: settings.events.replay_max_age,
        idempotency_window: settings.events.idempotency_window,
        registry: Arc::new(settings.categories.clone()),
        on_malformed: on_malformed(signals),
        on_stray_hint: reporting(signals, Signals::heard_stray_hint),
        on_missed_broadcasts: reporting(signals, Signals::missed_broadcasts),
    };
    let Redis { journal, feed, limits } = Redis::open(options).await?;
    Ok(Ports { messages: Arc::clone(&journal) as _, journal, feed, leases: Arc::clone(&limits) as _, budget: limits })
}

async fn postgres(settings: &Settings, signals: &Arc<Signals>) -> Result<Ports, StartError> {
    let options = PostgresOptions {
        url: settings.postgres.url.reveal().to_owned(),
        schema: settings.postgres.schema.clone(),
        connections_max: settings.postgres.max_connections,
        call_timeout: settings.postgres.timeout,
        topic_entries_max: settings.events.stream_maxlen,
        age_max: settings.events.replay_max_age,
        idempotency_window: settings.events.idempotency_window,
        on_malformed: on_malformed(signals),
    };
    let Postgres { journal, messages, feed, limits, .. } = Postgres::open(options).await?;
    Ok(Ports { journal, messages, feed, leases: Arc::clone(&limits) as _, budget: limits })
}

fn reporting(signals: &Arc<Signals>, report: fn(&Signals, &dyn Display)) -> OnTrouble {
    let signals = Arc::clone(signals);
    Arc::new(move |what| report(&signals, what))
}

fn on_malformed(signals: &Arc<Signals>) -> OnMalformed {
    let signals = Arc::clone(signals);
    Arc::new(move |malformed| signals.passed_over_malformed(malformed.topic, &malformed))
}
