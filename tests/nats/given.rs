//! What these tests begin with.

use std::sync::Arc;

use rejoin::{
    adapters::{
        backend_kit::{BackendContext, Ports, Retention},
        nats::{self, NatsOptions, NatsSetupError, Storage},
        system_clock::SystemClock,
    },
    domain::{page::PageLimit, position::EventId, topic::Topic},
    ports::journal::Append,
    testing::{backend_context, event, user},
};

pub(crate) const AMPLE: PageLimit = PageLimit { entries_max: 2_000, bytes_max: 64 * 1024 * 1024 };

pub(crate) fn options(url: String) -> NatsOptions {
    NatsOptions {
        url,
        credentials_file: None,
        nkey_file: None,
        tls_ca_file: None,
        stream_prefix: "REJOIN".to_owned(),
        subject_prefix: "rejoin".to_owned(),
        domain: None,
        replicas: 1,
        storage: Storage::File,
    }
}

pub(crate) fn context() -> BackendContext {
    BackendContext {
        clock: Arc::new(SystemClock),
        on_malformed: Arc::new(|_| ()),
        ..backend_context()
    }
}

/// The same where topics keep so many entries.
pub(crate) fn keeping(stream_maxlen: usize) -> BackendContext {
    let context = context();
    BackendContext { retention: Retention { stream_maxlen, ..context.retention }, ..context }
}

pub(crate) async fn try_open(options: &NatsOptions) -> Result<Ports, NatsSetupError> {
    nats::open(options.clone(), &context()).await
}

pub(crate) async fn open(url: String) -> Ports {
    try_open(&options(url)).await.unwrap()
}

pub(crate) fn topic(user_id: &str) -> Topic {
    Topic::User(user(user_id))
}

pub(crate) fn append(user_id: &str, number: usize) -> Append {
    Append { user: user(user_id), event: event(&number.to_string()), idempotency_key: None }
}

/// Appends events of these numbers together, and gives their ids.
pub(crate) async fn appended(
    ports: &Ports,
    user_id: &str,
    numbers: impl IntoIterator<Item = usize>,
) -> Vec<EventId> {
    let batch = numbers.into_iter().map(|number| append(user_id, number)).collect();
    ports
        .journal
        .append(batch)
        .await
        .unwrap()
        .into_iter()
        .map(|appended| appended.unwrap().id)
        .collect()
}

/// The payloads behind a position.
pub(crate) async fn payloads(
    ports: &Ports,
    user_id: &str,
    after: rejoin::domain::position::Position,
) -> Vec<String> {
    let page = ports.journal.read(&topic(user_id), after, AMPLE).await.unwrap();
    assert!(!page.more);
    page.entries
        .iter()
        .map(|entry| entry.event.content.payload().unwrap().as_str().to_owned())
        .collect()
}
