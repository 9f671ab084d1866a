//! What holds of the Postgres backend alone: its schema, its statements, its bounds.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod bounds;
mod broadcasts;
mod damaged;
mod failover;
mod given;
mod log;
mod malformed;
mod notifications;
mod other_programs;
mod poolers;
mod reasons;
mod removed_by_hand;
mod schema;
mod statements;
mod sweeping;
mod tls;
mod urls;
