//! The keys that publishers gave, for as long as a repeat is recognised.
//!
//! Invariant: a key is known for the window, or until the keys' bytes reach their bound; the oldest
//! go first.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use super::cost;
use crate::domain::{position::EventId, timestamp::Timestamp};

/// What recognises a repeat.
pub(super) trait RepeatKey: Clone + Eq + Hash {
    /// What its texts cost, in bytes.
    fn text_bytes(&self) -> usize;
}

#[derive(Debug)]
pub(super) struct SeenKeys<K> {
    window: Duration,
    bytes_max: usize,
    bytes: usize,
    ids: HashMap<K, EventId>,
    oldest_first: VecDeque<(Timestamp, K)>,
}

impl<K: RepeatKey> SeenKeys<K> {
    pub(super) fn new(window: Duration, bytes_max: usize) -> Self {
        Self { window, bytes_max, bytes: 0, ids: HashMap::new(), oldest_first: VecDeque::new() }
    }

    /// What the keys cost.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What a key costs.
    pub(super) fn cost_bytes(key: &K) -> usize {
        cost::table_place::<(K, EventId)>()
            + cost::queue_place::<(Timestamp, K)>()
            + key.text_bytes()
    }

    /// The id that the key got, if it is still known.
    pub(super) fn find(&mut self, now: Timestamp, key: &K) -> Option<EventId> {
        self.forget_until(now);
        self.ids.get(key).copied()
    }

    pub(super) fn remember(&mut self, now: Timestamp, key: K, id: EventId) {
        self.bytes += Self::cost_bytes(&key);
        self.ids.insert(key.clone(), id);
        self.oldest_first.push_back((now, key));
        self.forget_until(now);
    }

    fn forget_until(&mut self, now: Timestamp) {
        while let Some((seen_at, _)) = self.oldest_first.front() {
            if self.bytes <= self.bytes_max && now.since(*seen_at) < self.window {
                break;
            }
            if let Some((_, key)) = self.oldest_first.pop_front() {
                self.bytes -= Self::cost_bytes(&key);
                self.ids.remove(&key);
            }
        }
        let len = self.ids.len();
        if len <= self.ids.capacity() / 4 {
            self.ids.shrink_to(2 * len);
            self.oldest_first.shrink_to(2 * len);
        }
    }
}
