//! Message events over real sockets: producers, readers, and what goes wrong between them.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod hostile;
mod isolation;
mod lifecycle;
mod pipe;
mod producing;
mod reading;
mod server;
mod uploads;
