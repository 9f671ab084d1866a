//! What a journal may be filled with. Each shape has more than fits.

use futures_util::future::BoxFuture;
use rejoin::{
    adapters::memory::MemoryJournal,
    domain::{
        idempotency_key::IdempotencyKey,
        message::MessageAppend,
        topic::{MessageId, UserId},
    },
    ports::{
        journal::{Append, Journal},
        messages::Messages,
    },
    testing::event_of_bytes as event,
};
use uuid::Uuid;

/// How a journal is filled.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) stream_maxlen: usize,
    pub(crate) steps: usize,
    /// The least that it holds when it is full, as a part of the setting: what is counted is there.
    pub(crate) least: f64,
    pub(crate) step: for<'a> fn(&'a MemoryJournal, usize) -> BoxFuture<'a, ()>,
}

const MANY: usize = 1_000_000;

pub(crate) const SHAPES: &[Shape] = &[
    Shape {
        name: "many topics with one small entry",
        stream_maxlen: MANY,
        steps: 150_000,
        least: 0.6,
        step: |journal, n| Box::pin(append(journal, n, 1, None)),
    },
    Shape {
        name: "many topics with a few small entries",
        stream_maxlen: MANY,
        steps: 200_000,
        least: 0.6,
        step: |journal, n| Box::pin(append(journal, n / 5, 40, None)),
    },
    Shape {
        name: "topics that come round again, each with its last three entries",
        stream_maxlen: 3,
        steps: 200_000,
        least: 0.3,
        step: |journal, n| Box::pin(append(journal, n % 20_000, 40, None)),
    },
    Shape {
        name: "a few topics with many small entries",
        stream_maxlen: MANY,
        steps: 250_000,
        least: 0.6,
        step: |journal, n| Box::pin(append(journal, n % 8, 1, None)),
    },
    Shape {
        name: "entries of every size",
        stream_maxlen: MANY,
        steps: 30_000,
        least: 0.8,
        step: |journal, n| Box::pin(append(journal, n % 100, n * 37 % 5_000, None)),
    },
    Shape {
        name: "large entries",
        stream_maxlen: MANY,
        steps: 800,
        least: 0.8,
        step: |journal, n| Box::pin(append(journal, n % 10, 66_000, None)),
    },
    Shape {
        name: "small topics, and then large entries in their place",
        stream_maxlen: MANY,
        steps: 120_000,
        least: 0.6,
        step: |journal, n| Box::pin(append(journal, n, if n < 115_000 { 1 } else { 20_000 }, None)),
    },
    Shape {
        name: "many idempotency keys of one topic",
        stream_maxlen: 1,
        steps: 100_000,
        // They have a quarter.
        least: 0.12,
        step: |journal, n| Box::pin(append(journal, 0, 1, Some(format!("key-{n}")))),
    },
    Shape {
        name: "many topics, each with a long idempotency key",
        stream_maxlen: MANY,
        steps: 100_000,
        least: 0.6,
        step: |journal, n| Box::pin(append(journal, n, 1, Some(format!("{n:0200}")))),
    },
    Shape {
        name: "many messages with one small event",
        stream_maxlen: MANY,
        steps: 100_000,
        least: 0.6,
        step: |journal, n| Box::pin(append_to_message(journal, n, 1, None)),
    },
    Shape {
        name: "many messages with a few events that have keys",
        stream_maxlen: MANY,
        steps: 100_000,
        least: 0.6,
        step: |journal, n| {
            Box::pin(append_to_message(journal, n / 4, 30, Some(format!("key-{n}"))))
        },
    },
    Shape {
        name: "a few messages with many small events",
        stream_maxlen: MANY,
        steps: 250_000,
        least: 0.3,
        step: |journal, n| Box::pin(append_to_message(journal, n / 60_000, 1, None)),
    },
    Shape {
        name: "a message with many keys",
        stream_maxlen: MANY,
        steps: 100_000,
        least: 0.3,
        step: |journal, n| {
            Box::pin(append_to_message(journal, n / 60_000, 1, Some(format!("key-{n}"))))
        },
    },
];

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user-{number:08}")).unwrap()
}

fn key(text: Option<String>) -> Option<IdempotencyKey> {
    text.map(|text| IdempotencyKey::parse(&text).unwrap())
}

async fn append(
    journal: &MemoryJournal,
    number: usize,
    payload_bytes: usize,
    idempotency_key: Option<String>,
) {
    let append = Append {
        user: user(number),
        event: event(payload_bytes),
        idempotency_key: key(idempotency_key),
    };
    Journal::append(journal, vec![append]).await.unwrap().remove(0).unwrap();
}

async fn append_to_message(
    journal: &MemoryJournal,
    number: usize,
    payload_bytes: usize,
    idempotency_key: Option<String>,
) {
    let id = MessageId::from(Uuid::from_u128(number as u128));
    if journal.observe(&id).await.unwrap().is_none() {
        journal.open(&id, &user(number), false).await.unwrap().unwrap();
    }
    let append = MessageAppend {
        event: event(payload_bytes),
        sequence_no: None,
        idempotency_key: key(idempotency_key),
    };
    // A message that holds all there may be takes no more.
    let _ = Messages::append(journal, &id, None, vec![append]).await.unwrap();
}
