//! What NATS alone has: accounts and TLS, streams that must be as they are to be, chains of entries, room, servers that come later.

mod access;
mod chains;
mod given;
mod later;
mod room;
mod streams;
mod tls;
