//! What Rejoin knows, without asking anybody: events, ids, cursors, replay, categories, budgets,
//! frames.
//!
//! Invariant of this layer: no IO, no clock, no randomness, no async. Time comes in as an argument.
//! What is decided here can be tested by the thousand without a socket.
//!
//! The words are those of the contract, one for each thing: *topic*, *event*, *event id*, *entry*,
//! *journal*, *cursor*, *snapshot*, *live tail*, *feed*, *gap*, *truncation*, *lease*, *replay
//! budget*, *category*, *origin*, *refusal*. A *position* is a place between entries (before all,
//! or just behind one); a *page* is one read of the journal; the *floor* is the position after
//! which nothing was removed.

pub mod access;
pub mod backoff;
pub mod category;
mod content;
pub mod cursor;
pub mod envelope;
pub mod event;
mod event_type;
pub mod frame;
pub mod frame_decoder;
pub mod idempotency_key;
pub mod json;
pub mod leases;
pub mod message;
pub mod message_data;
mod message_id;
pub mod page;
pub mod position;
pub mod replay;
pub mod replay_budget;
pub mod retention;
pub mod secret;
pub mod session;
mod terminal;
pub mod timestamp;
pub mod topic;
