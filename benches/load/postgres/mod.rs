//! Rejoin over Postgres, on a private server that waits for its disk.

pub(crate) mod appends;
pub(crate) mod rows;

use std::time::Duration;

use rejoin::{
    adapters::backend_kit::{BackendContext, Retention},
    adapters::postgres::PostgresOptions,
    domain::topic::UserId,
    ports::journal::Append,
    testing::{backend_context_with, event_of_bytes},
};
use rejoin_test_support::PostgresServer;

const USERS: usize = 1_000;

/// Room for what is measured, and a disk that is waited for.
const SETTINGS: &str = "
fsync = on
shared_buffers = 1GB
min_wal_size = 4GB
max_wal_size = 8GB
checkpoint_timeout = 15min
synchronous_commit = on
";

fn options(server: &PostgresServer) -> PostgresOptions {
    PostgresOptions {
        url: server.url(),
        schema: "rejoin".to_owned(),
        max_connections: 16,
        timeout: Duration::from_secs(9),
    }
}

fn context(replay_max_age: Option<Duration>) -> BackendContext {
    let idempotency_window = Duration::from_mins(10);
    backend_context_with(Retention { stream_maxlen: 100_000, replay_max_age, idempotency_window })
}

fn append(user: usize) -> Append {
    Append {
        user: UserId::parse(&format!("u{user}")).unwrap(),
        event: event_of_bytes(200),
        idempotency_key: None,
    }
}
