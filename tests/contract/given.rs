//! What laws begin with: topics, events, and the shortest way to append and read them.

use std::sync::Arc;

use rejoin::{
    domain::{
        cursor::Bounds,
        event::{Entry, Event},
        idempotency_key::IdempotencyKey,
        page::PageLimit,
        position::{EventId, Position},
        topic::Topic,
    },
    ports::{
        journal::{Append, Appended},
        topic_log::TopicLog,
    },
};

use crate::contract::backend::Process;
pub(crate) use rejoin::testing::{event as event_of, user};

/// Enough for a law's every entry.
pub(crate) const AMPLE: PageLimit = PageLimit { entries_max: 1_000, bytes_max: 4 * 1024 * 1024 };

/// A page as the server reads them.
const AS_SERVED: PageLimit = PageLimit { entries_max: 256, bytes_max: 64 * 1024 };

pub(crate) fn topic(user_id: &str) -> Topic {
    Topic::User(user(user_id))
}

/// An event that [`number`] recognises.
pub(crate) fn event(number: usize) -> Arc<Event> {
    event_of(&number.to_string())
}

pub(crate) fn number(entry: &Entry) -> usize {
    entry.event.content.payload().unwrap().as_str().parse().unwrap()
}

pub(crate) fn numbers(entries: &[Entry]) -> Vec<usize> {
    entries.iter().map(number).collect()
}

pub(crate) fn ids(entries: &[Entry]) -> Vec<EventId> {
    entries.iter().map(|entry| entry.id).collect()
}

pub(crate) fn to_append(topic: &Topic, number: usize) -> Append {
    Append { user: topic.user().unwrap().clone(), event: event(number), idempotency_key: None }
}

pub(crate) fn with_key(topic: &Topic, number: usize, key: &str) -> Append {
    Append {
        idempotency_key: Some(IdempotencyKey::parse(key).unwrap()),
        ..to_append(topic, number)
    }
}

impl Process {
    pub(crate) async fn append(&self, batch: Vec<Append>) -> Vec<Appended> {
        self.journal
            .append(batch)
            .await
            .unwrap()
            .into_iter()
            .map(|appended| appended.unwrap())
            .collect()
    }

    /// Appends one event.
    pub(crate) async fn append_one(&self, append: Append) -> Appended {
        let appended = self.append(vec![append]).await;
        assert_eq!(appended.len(), 1);
        appended[0]
    }

    /// Appends numbered events one by one, and tells their ids.
    pub(crate) async fn append_each(
        &self,
        topic: &Topic,
        numbers: impl IntoIterator<Item = usize>,
    ) -> Vec<EventId> {
        let mut ids = Vec::new();
        for number in numbers {
            ids.push(self.append_one(to_append(topic, number)).await.id);
        }
        ids
    }

    /// Appends numbered events in one batch, and tells their ids.
    pub(crate) async fn append_batch(
        &self,
        topic: &Topic,
        numbers: impl IntoIterator<Item = usize>,
    ) -> Vec<EventId> {
        let batch = numbers.into_iter().map(|number| to_append(topic, number)).collect();
        self.append(batch).await.into_iter().map(|appended| appended.id).collect()
    }

    pub(crate) async fn bounds(&self, topic: &Topic) -> Bounds {
        self.log(topic).bounds(topic).await.unwrap()
    }

    /// Where a topic is read.
    fn log(&self, topic: &Topic) -> Arc<dyn TopicLog> {
        match topic {
            Topic::User(_) => Arc::clone(&self.journal) as _,
            Topic::Message(_) => Arc::clone(&self.messages) as _,
        }
    }

    /// Everything behind a position.
    pub(crate) async fn read_all(&self, topic: &Topic, after: Position) -> Vec<Entry> {
        let (mut entries, mut position) = (Vec::new(), after);
        loop {
            let page = self.log(topic).read(topic, position, AS_SERVED).await.unwrap();
            entries.extend(page.entries);
            if !page.more {
                return entries;
            }
            position = entries.last().expect("where there is more, there is something").id.into();
        }
    }
}

/// The law of `prev`: each entry was appended right behind the one before it.
pub(crate) fn assert_unbroken(entries: &[Entry]) {
    for pair in entries.windows(2) {
        assert!(pair[0].id < pair[1].id, "{} is not behind {}", pair[1].id, pair[0].id);
        assert_eq!(
            pair[1].prev,
            Some(Position::After(pair[0].id)),
            "the entry before {} is {}",
            pair[1].id,
            pair[0].id
        );
    }
}
