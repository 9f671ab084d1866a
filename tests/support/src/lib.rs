//! What the tests of Rejoin share. Everything here starts private servers on free ports, waits for
//! conditions instead of sleeping, and gives up with a message instead of hanging.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]
#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on says so by panicking"
)]

mod client;
mod nats;
mod pgbouncer;
mod ports;
mod postgres;
mod proxy;
mod redis;
mod redis_clock;
mod server;

use std::time::Duration;

pub use self::{
    client::{Connection, EventClient, Seen},
    nats::{NatsCluster, NatsConfig, NatsServer},
    pgbouncer::PgBouncer,
    ports::reserve_port,
    postgres::{PostgresServer, program},
    proxy::{CuttingProxy, Spared},
    redis::{RedisCluster, RedisServer},
    redis_clock::RedisClockProxy,
    server::{ServerProcess, TestServer},
};

/// Longer than anything here takes on a busy machine; who waits so long waits for something that
/// never comes.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "timed out waiting for: {what}");
}

/// Waits for a future that should end soon.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("timed out waiting for: {what}"))
}
