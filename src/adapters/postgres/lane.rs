//! A lane: a bounded number of connections for one purpose, so that no purpose starves another.
//!
//! Invariants: a call is answered within its time, whatever the server does; a connection whose call failed or was given
//! up is closed, never used again; what may have been done is not done again unless that is harmless.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    connector::{Connector, Purpose},
    failure::{Cause, Failure},
};
use crate::ports::backend_error::BackendError;

/// A connection that rested for longer is asked whether it lives before something is sent that must not be sent twice.
const RESTED_FOR: Duration = Duration::from_secs(1);
/// Most tries of one call.
const TRIES_MAX: usize = 3;

/// Whether a call may be made again when its connection was lost behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It reads, or doing it twice is as good as once.
    Harmless,
    /// It appends.
    Harmful,
}

pub(super) struct Lane {
    connector: Arc<Connector>,
    purpose: Purpose,
    call_timeout: Duration,
    turns: Semaphore,
    resting: Mutex<Vec<Resting>>,
}

struct Resting {
    connection: PgConnection,
    since: Instant,
    losses: u64,
}

impl Lane {
    pub(super) fn new(connector: &Arc<Connector>, purpose: Purpose, connections_max: usize, call_timeout: Duration) -> Self {
        let turns = Semaphore::new(connections_max);
        Self { connector: Arc::clone(connector), purpose, call_timeout, turns, resting: Mutex::default() }
    }

    /// Makes a call on one of the lane's connections, as soon as one is free.
    pub(super) async fn call<T: Send>(
        &self,
        context: &'static str,
        repeat: Repeat,
        act: impl for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + Sync,
    ) -> Result<T, BackendError> {
        let called = timeout(self.call_timeout, self.try_call(repeat, act)).await.unwrap_or_else(|_| {
            self.connector.lose();
            Err(Failure::Late)
        });
        called.map_err(|failure| failure.told(context))
    }

    async fn try_call<T: Send>(
        &self,
        repeat: Repeat,
        act: impl for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + Sync,
    ) -> Result<T, Failure> {
        // Closed never.
        let _turn = self.turns.acquire().await;
        let mut tries = 0;
        loop {
            tries += 1;
            let (mut connection, was_resting) = self.connection(repeat).await?;
            let losses = self.connector.losses();
            match act(&mut connection).await {
                Ok(answer) => {
                    self.resting().push(Resting { connection, since: Instant::now(), losses });
                    return Ok(answer);
                }
                Err(failure) => match self.connector.learn(&failure) {
                    Cause::Wiped | Cause::Collision if tries < TRIES_MAX => {}
                    Cause::Lost if tries < TRIES_MAX && was_resting && repeat == Repeat::Harmless => {}
                    _ => return Err(failure),
                },
            }
        }
    }

    /// A connection that can be used, and whether it has been used before.
    async fn connection(&self, repeat: Repeat) -> Result<(PgConnection, bool), Failure> {
        loop {
            let Some(mut resting) = self.resting().pop() else {
                return Ok((self.connector.connect(self.purpose).await?, false));
            };
            let is_suspect = resting.losses != self.connector.losses();
            let has_rested = resting.since.elapsed() >= RESTED_FOR;
            if !is_suspect && (repeat == Repeat::Harmless || !has_rested) || resting.connection.ping().await.is_ok() {
                return Ok((resting.connection, true));
            }
        }
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Resting>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names a closure's shape where it is made, which its use would be too late for.
pub(super) const fn calling<T, F>(act: F) -> F
where
    F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + Sync,
{
    act
}
