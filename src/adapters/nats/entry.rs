//! An entry as it is kept in a stream: the event's envelope, and its place in a header.
//!
//! Invariant: what an entry follows is known from the entry alone.

use async_nats::{HeaderMap, HeaderName};

use super::{
    incarnation::Incarnation,
    store::Stored,
    trail::{Place, Trail},
};
use crate::{
    adapters::backend_kit::{stored_event, stored_page::StoredEntry},
    domain::category::Registry,
};

/// The header with the stream's incarnation and an entry's trail.
const TRAIL: HeaderName = HeaderName::from_static("Rejoin-Trail");
/// The header of what is written where a topic is purged: nothing of the topic is left before it
/// but what its trail says.
pub(super) const PURGED: HeaderName = HeaderName::from_static("Rejoin-Purged");
/// The server's header with what a subject is expected to end at.
pub(super) const EXPECTED_LAST: HeaderName =
    HeaderName::from_static("Nats-Expected-Last-Subject-Sequence");

/// The headers of a write into an incarnation of a stream, at this place of its batch, where the
/// subject is expected to end at a sequence.
pub(super) fn headers(
    created_ms: u64,
    trail: &Trail,
    index: u64,
    expected_last: Option<u64>,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(TRAIL, format!("{created_ms} {}", trail.encode(index)));
    if let Some(last) = expected_last {
        headers.insert(EXPECTED_LAST, last.to_string());
    }
    headers
}

impl Stored {
    /// Where it stands among its subject's. Nothing, where another program wrote it.
    pub(super) fn trail(&self) -> Option<Trail> {
        let (_, trail) = self.headers.get_last(TRAIL)?.as_str().split_once(' ')?;
        Trail::decode(trail, self.sequence).ok()
    }

    /// The trail of what comes next under its subject.
    pub(super) fn next_trail(&self) -> Trail {
        match self.trail() {
            Some(trail) if self.is_purge() => Trail::begin(trail.follows()),
            Some(trail) => trail.next(Place::At(self.sequence)),
            None => Trail::begin(self.sequence),
        }
    }

    /// Which incarnation of the stream it was written into, in milliseconds.
    pub(super) fn created_ms(&self) -> Option<u64> {
        self.headers.get_last(TRAIL)?.as_str().split_once(' ')?.0.parse().ok()
    }

    /// Whether it says that the topic was purged.
    pub(super) fn is_purge(&self) -> bool {
        self.headers.get_last(PURGED).is_some()
    }

    /// As an entry.
    pub(super) fn entry(&self, incarnation: &Incarnation, registry: &Registry) -> StoredEntry {
        let trail = self.trail();
        StoredEntry {
            id: incarnation.id(self.sequence),
            prev: trail.as_ref().map(|trail| incarnation.position(trail.follows())),
            event: stored_event::decode(&self.payload, self.time, registry),
        }
    }
}
