//! The laws of [`rejoin::ports::journal::Journal`].

pub(crate) mod appending;
pub(crate) mod idempotency;
pub(crate) mod model;
pub(crate) mod payloads;
pub(crate) mod reading;
pub(crate) mod removal;
