//! A pool: a bounded number of connections for one purpose, so that no purpose starves another.
//!
//! Invariants: a call is answered within its time, whatever the server does; a connection whose
//! call failed or was given up is closed, never used again, and so is one that was opened before
//! the latest loss of any; what may have been done is not done again unless that is harmless.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::{
    connector::{Connector, Purpose},
    failure::{Cause, Failure},
};
use crate::{
    adapters::backend_kit::permits::{CallPermits, Failed},
    ports::backend_error::BackendError,
};

/// A connection that rested for longer is asked whether it lives before something is sent that must
/// not be sent twice.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// For so long after a write found no room, the server counts as full, unless one was taken since.
const FULL_FOR: Duration = Duration::from_secs(10);

/// Whether a call may be made again when its connection was lost behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It reads, or doing it twice is as good as once.
    Harmless,
    /// It appends.
    Harmful,
}

pub(super) struct ConnectionPool {
    connector: Arc<Connector>,
    purpose: Purpose,
    permits: CallPermits,
    idle: Mutex<Vec<IdleConnection>>,
    /// When an append last found no room.
    full_at: Mutex<Option<Instant>>,
}

struct IdleConnection {
    connection: PgConnection,
    since: Instant,
    /// How many losses there had been when it was opened.
    losses: u64,
}

/// A connection in use.
struct Lent {
    connection: PgConnection,
    losses: u64,
    was_idle: bool,
}

impl ConnectionPool {
    pub(super) fn new(
        connector: &Arc<Connector>,
        purpose: Purpose,
        max_connections: usize,
        call_timeout: Duration,
    ) -> Self {
        let permits = CallPermits::new(max_connections, call_timeout);
        Self {
            connector: Arc::clone(connector),
            purpose,
            permits,
            idle: Mutex::default(),
            full_at: Mutex::default(),
        }
    }

    /// Makes a call on one of the pool's connections, as soon as one is free.
    pub(super) async fn call<T: Send>(
        &self,
        context: &'static str,
        repeat: Repeat,
        act: impl for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + Sync,
    ) -> Result<T, BackendError> {
        let late = || {
            self.connector.lose();
            Failure::Late
        };
        let called = self.permits.call(late, || self.try_call(repeat, &act)).await;
        if repeat == Repeat::Harmful {
            self.learn_of_room(called.as_ref().err());
        }
        called.map_err(|failure| failure.into_backend_error(context))
    }

    /// Whether the server has no room for appends, as far as is known: a small write may still find
    /// some where an append does not.
    pub(super) fn is_full(&self) -> bool {
        self.full_at().is_some_and(|at| at.elapsed() < FULL_FOR)
    }

    fn learn_of_room(&self, failure: Option<&Failure>) {
        match failure {
            None => *self.full_at() = None,
            Some(failure) if failure.is_for_want_of_room() => {
                *self.full_at() = Some(Instant::now());
            }
            Some(_) => {}
        }
    }

    fn full_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn try_call<T: Send>(
        &self,
        repeat: Repeat,
        act: &(impl for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + Sync),
    ) -> Result<T, Failed<Failure>> {
        let Lent { mut connection, losses, was_idle } =
            self.connection(repeat).await.map_err(Failed::ForGood)?;
        match act(&mut connection).await {
            Ok(answer) => {
                self.idle().push(IdleConnection { connection, since: Instant::now(), losses });
                Ok(answer)
            }
            Err(failure) => Err(match self.connector.learn(&failure) {
                Cause::Wiped | Cause::Collision | Cause::ReadOnly => Failed::Retry(failure),
                Cause::Lost if was_idle && repeat == Repeat::Harmless => Failed::Retry(failure),
                _ => Failed::ForGood(failure),
            }),
        }
    }

    /// A connection that can be used.
    async fn connection(&self, repeat: Repeat) -> Result<Lent, Failure> {
        loop {
            let Some(IdleConnection { mut connection, since, losses }) = self.idle().pop() else {
                let losses = self.connector.losses();
                return Ok(Lent {
                    connection: self.connector.connect(self.purpose).await?,
                    losses,
                    was_idle: false,
                });
            };
            let is_trusted = losses == self.connector.losses();
            let is_fresh = repeat == Repeat::Harmless || since.elapsed() < FRESH_FOR;
            if is_trusted && (is_fresh || connection.ping().await.is_ok()) {
                return Ok(Lent { connection, losses, was_idle: true });
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names a closure's shape where it is made, which its use would be too late for.
pub(super) const fn calling<T, F>(act: F) -> F
where
    F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + Sync,
{
    act
}
