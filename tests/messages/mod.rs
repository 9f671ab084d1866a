//! Message events over real sockets: producers, readers, and what goes wrong between them.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod formats;
mod hostile;
mod isolation;
mod lifecycle;
mod pipe;
mod producing;
mod reading;
mod routes;
mod server;
mod uploads;
