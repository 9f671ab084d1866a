//! What unit tests, integration tests and benches share: a clock and randomness that a test drives,
//! events to append, and tokens.
//!
//! Built for the crate's own tests, and with the feature `testing`, which is not part of a release.
//! Servers that tests start are in `tests/support`.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a test that can't go on says so by panicking"
)]

mod backend;
mod clock;
mod entropy;
mod event;
mod tasks;
mod token;

pub use self::{
    backend::{backend_context, backend_context_with},
    clock::ManualClock,
    entropy::SeededEntropy,
    event::{event, event_of_bytes, event_of_type, user},
    tasks::{tasks, tasks_until},
    token::{SECRET, mint, mint_at, settings_with_tokens, token},
};
