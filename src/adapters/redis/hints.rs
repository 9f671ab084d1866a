//! What other programs' notifications name, so that it is noticed when it is not in the stream that
//! is read here.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use crate::adapters::backend_kit::OnTrouble;
use crate::domain::{cursor::Bounds, position::EventId, topic::Topic};

/// The newest entry of each watched topic that was only hinted at, until a read has shown whether
/// it is there.
pub(super) struct Hints {
    newest: Mutex<HashMap<Topic, EventId>>,
    on_stray: OnTrouble,
}

/// A notification of an entry that is not there.
struct StrayHint<'a> {
    topic: &'a Topic,
    id: EventId,
}

impl fmt::Display for StrayHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, id } = self;
        write!(
            f,
            "a notification of {topic} named event {id}, which is not in its stream: the program that sent it probably writes to another \
             database than the one in redis.url, or under another prefix than redis.key_prefix"
        )
    }
}

impl Hints {
    pub(super) fn new(on_stray: OnTrouble) -> Self {
        Self { newest: Mutex::default(), on_stray }
    }

    /// A notification named an entry, which was written before.
    pub(super) fn heard(&self, topic: &Topic, id: EventId) {
        let mut newest = self.newest();
        let known = newest.entry(topic.clone()).or_insert(id);
        *known = id.max(*known);
    }

    /// The topic has no reader any more.
    pub(super) fn forget(&self, topic: &Topic) {
        self.newest().remove(topic);
    }

    /// What a read of the topic that begins now will have to show.
    pub(super) fn expected(&self, topic: &Topic) -> Option<EventId> {
        self.newest().get(topic).copied()
    }

    /// That read has shown what the stream has.
    pub(super) fn was_read(&self, topic: &Topic, expected: EventId, bounds: &Bounds) {
        let mut newest = self.newest();
        if newest.get(topic) != Some(&expected) {
            return;
        }
        newest.remove(topic);
        drop(newest);
        // The head of a topic that never had an entry is the time of the read; of one that was
        // emptied it is the last entry's place.
        let had_entries = bounds.oldest.is_some() || bounds.floor == Some(bounds.head);
        if bounds.head.is_before(expected) || !had_entries {
            (self.on_stray)(&StrayHint { topic, id: expected });
        }
    }

    fn newest(&self) -> std::sync::MutexGuard<'_, HashMap<Topic, EventId>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
