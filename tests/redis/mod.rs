//! Many processes over one Redis, over real HTTP and with real servers: each test starts a Redis of
//! its own.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod access;
mod caller;
mod damaged;
mod expiry;
mod failover;
mod feed;
mod foreign;
mod full;
mod limits;
mod listener;
mod messages;
mod outage;
mod program;
mod reasons;
mod tls;
mod warnings;
mod wipe;
