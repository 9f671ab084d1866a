//! What NATS alone has: accounts and TLS, streams that must be as they are to be, chains of
//! entries, room, servers that come later.

#![expect(clippy::disallowed_methods, reason = "tests make ids and start tasks of their own")]

mod access;
mod chains;
mod cluster;
mod given;
mod later;
mod room;
mod streams;
mod tls;
