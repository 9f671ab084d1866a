//! Message events over real sockets: producers, readers, and what goes wrong between them.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]
#![expect(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod hostile;
mod isolation;
mod lifecycle;
mod pipe;
mod producing;
mod reading;
mod server;
mod uploads;
