//! The keys that publishers gave, for as long as a repeat is recognised.
//!
//! Invariant: a key is known for the window, or until the keys' bytes reach their bound; the oldest go first.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    domain::{position::EventId, topic::Topic},
    ports::journal::IdempotencyKey,
};

/// What a key costs beside its texts, in bytes, about: it stands in a map and in a queue.
const KEY_OVERHEAD_BYTES: usize = 96;

type TopicKey = (Topic, IdempotencyKey);

#[derive(Debug)]
pub(super) struct SeenKeys {
    window_ms: u64,
    bytes_max: usize,
    bytes: usize,
    ids: HashMap<TopicKey, EventId>,
    oldest_first: VecDeque<(u64, TopicKey)>,
}

impl SeenKeys {
    pub(super) fn new(window: Duration, bytes_max: usize) -> Self {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        Self { window_ms, bytes_max, bytes: 0, ids: HashMap::new(), oldest_first: VecDeque::new() }
    }

    /// The id that the key got on this topic, if it is still known.
    pub(super) fn find(&mut self, now_ms: u64, topic: &Topic, key: &IdempotencyKey) -> Option<EventId> {
        self.forget_until(now_ms);
        self.ids.get(&(topic.clone(), key.clone())).copied()
    }

    pub(super) fn remember(&mut self, now_ms: u64, topic: Topic, key: IdempotencyKey, id: EventId) {
        let key = (topic, key);
        self.bytes += cost_bytes(&key.0, &key.1);
        self.ids.insert(key.clone(), id);
        self.oldest_first.push_back((now_ms, key));
        self.forget_until(now_ms);
    }

    fn forget_until(&mut self, now_ms: u64) {
        while let Some((seen_ms, _)) = self.oldest_first.front() {
            if self.bytes <= self.bytes_max && now_ms.saturating_sub(*seen_ms) < self.window_ms {
                return;
            }
            if let Some((_, key)) = self.oldest_first.pop_front() {
                self.bytes -= cost_bytes(&key.0, &key.1);
                self.ids.remove(&key);
            }
        }
    }
}

/// What a key costs, in bytes, about.
pub(super) fn cost_bytes(topic: &Topic, key: &IdempotencyKey) -> usize {
    KEY_OVERHEAD_BYTES + topic.cost_bytes() + key.as_str().len()
}
