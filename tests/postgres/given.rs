//! What these tests begin with.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use rejoin::{
    adapters::{backend_kit::Ports, postgres::PostgresOptions},
    domain::{
        event::Event,
        idempotency_key::IdempotencyKey,
        topic::{Topic, UserId},
    },
    ports::{feed::Signal, journal::Append},
};

pub(crate) const SCHEMA: &str = "rejoin";

pub(crate) fn options(url: String) -> PostgresOptions {
    PostgresOptions {
        url,
        schema: SCHEMA.to_owned(),
        max_connections: 12,
        timeout: Duration::from_secs(5),
    }
}

pub(crate) fn topic(user: &str) -> Topic {
    Topic::User(UserId::parse(user).unwrap())
}

pub(crate) fn event() -> Arc<Event> {
    rejoin::testing::event("{}")
}

pub(crate) fn append(user: &str, key: Option<&str>) -> Append {
    Append {
        user: UserId::parse(user).unwrap(),
        event: event(),
        idempotency_key: key.map(|key| IdempotencyKey::parse(key).unwrap()),
    }
}

/// Appends one event, and gives its id.
pub(crate) async fn appended(postgres: &Ports, user: &str) -> rejoin::domain::position::EventId {
    postgres.journal.append(vec![append(user, None)]).await.unwrap()[0].as_ref().unwrap().id
}

/// Takes signals up to one that is meant; gives those before it.
pub(crate) async fn until_signal(
    signals: &mut BoxStream<'static, Signal>,
    is_meant: impl Fn(&Signal) -> bool,
) -> Vec<Signal> {
    let mut before = Vec::new();
    loop {
        let signal = signals.next().await.unwrap();
        if is_meant(&signal) {
            return before;
        }
        before.push(signal);
    }
}
