//! The backend that needs nothing: everything is in this process's memory.
//!
//! - **Acknowledged** means: in memory. A restart loses everything, and every client is told by
//!   `backlog.truncated`.
//! - **Truncation** is exact, but for one case: a topic whose entries have all been removed, by age
//!   or because the whole journal reached its bound, is forgotten. Its floor is from then on the
//!   highest id that was ever forgotten, so a client that asks such a topic for "all" (`0`), or
//!   with a cursor before that id, may be notified needlessly; so may one that asks a topic which
//!   never had an entry, since forgotten topics are not remembered.
//! - **Origin** is the time the journal was made; the **head** of a topic is its last entry, or
//!   now; **prev** is known. Where the machine's clock was set back before a restart, ids of the
//!   run before may lie behind the new origin: until the clock has passed them such a cursor is
//!   ahead, and its client notified; after that it is taken for one of this run's.
//! - It needs nothing from anybody, and there is no server that could restart.
//! - **Messages** are never trimmed: one is whole, or gone. When all together reach their bound,
//!   the one whose producer has been silent for longest goes, whole; its readers are told by
//!   `backlog.truncated`, and then that it is not there.
//! - **Bounds**: entries per topic, age, and bytes of everything together; the oldest entries go
//!   first. Idempotency keys have at most a quarter of the bytes; the oldest keys go first there
//!   too, and a key that went early can't stop a repeat. What is counted is what the allocator
//!   gives out, so that the process holds at most 1.2 times the bytes for this, whether they are a
//!   million topics or a hundred large entries (`tests/memory`); the allocator itself keeps about a
//!   tenth more.

mod cost;
mod idempotency;
mod journal;
mod log;
mod message_store;
mod messages;
mod stored_message;

use std::sync::Arc;

pub use journal::{MemoryJournal, MemoryOptions};

use crate::adapters::backend_kit::{
    BackendContext, Ports, Retention, feed::local::LocalFeed, limits::LocalLimits,
};

/// The ports of a new backend, which keeps at most so many bytes of users' events, and as many of
/// messages.
pub fn open(max_bytes: usize, context: &BackendContext) -> Ports {
    let Retention { stream_maxlen, replay_max_age, idempotency_window } = context.retention;
    let options = MemoryOptions { stream_maxlen, replay_max_age, idempotency_window, max_bytes };
    let journal = Arc::new(MemoryJournal::new(options, Arc::clone(&context.clock)));
    let limits = Arc::new(LocalLimits::new(Arc::clone(&context.clock)));
    Ports {
        feed: Arc::new(LocalFeed::new(journal.listeners())),
        messages: Arc::clone(&journal) as _,
        archive: Arc::clone(&journal) as _,
        journal,
        leases: Arc::clone(&limits) as _,
        budget: limits,
        sweeper: None,
    }
}
