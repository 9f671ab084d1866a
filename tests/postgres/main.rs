//! What holds of the Postgres backend alone: its schema, its statements, its bounds.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod broadcasts;
#[cfg(test)]
mod damaged;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod given;
#[cfg(test)]
mod log;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod notifications;
#[cfg(test)]
mod other_programs;
#[cfg(test)]
mod poolers;
#[cfg(test)]
mod reasons;
#[cfg(test)]
mod removed_by_hand;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod statements;
#[cfg(test)]
mod sweeping;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod urls;
