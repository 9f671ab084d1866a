//! How many connections there may be.
//!
//! Invariants: there are never more than allowed, but for a few that are answered so, or how the
//! server is; each time that a limit turns a connection away is counted, and logged once a minute.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::app::signals::{ConnectionLimit, Counted, Signals};

/// How many more connections there may be.
pub(super) struct Places {
    usual: Arc<Semaphore>,
    usual_max: usize,
    /// For those over the limit, which are answered and closed.
    over_limit: Arc<Semaphore>,
    signals: Arc<Signals>,
    connections_log: SeldomLogged,
    files_log: SeldomLogged,
}

/// A connection's place among those allowed.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// A place for the connection that comes next.
pub(super) enum Vacancy {
    Usual(OwnedSemaphorePermit),
    OverLimit(OwnedSemaphorePermit),
}

impl Places {
    /// How many connections may be over the limit at once. Further ones wait in the kernel's queue,
    /// not for long.
    const OVER_LIMIT: usize = 32;

    pub(super) fn new(max_connections: Option<usize>, signals: Arc<Signals>) -> Self {
        let usual_max =
            max_connections.unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self {
            usual: Arc::new(Semaphore::new(usual_max)),
            usual_max,
            over_limit: Arc::new(Semaphore::new(Self::OVER_LIMIT)),
            signals,
            connections_log: SeldomLogged::default(),
            files_log: SeldomLogged::default(),
        }
    }

    pub(super) async fn vacancy(&self) -> Vacancy {
        let (usual, over_limit) = (Arc::clone(&self.usual), Arc::clone(&self.over_limit));
        tokio::select! {
            biased;
            // Neither semaphore is ever closed.
            Ok(place) = usual.acquire_owned() => Vacancy::Usual(place),
            Ok(place) = over_limit.acquire_owned() => Vacancy::OverLimit(place),
            else => std::future::pending().await,
        }
    }

    /// The place of a connection that has come, and whether it is over the limit: another may have
    /// gone since.
    pub(super) fn fill(&mut self, vacancy: Vacancy) -> (Place, bool) {
        let (permit, over_limit) = match vacancy {
            Vacancy::Usual(permit) => (permit, false),
            Vacancy::OverLimit(over_limit) => match Arc::clone(&self.usual).try_acquire_owned() {
                Ok(permit) => (permit, false),
                Err(_) => (over_limit, true),
            },
        };
        if over_limit {
            self.signals.limit_reached(ConnectionLimit::Connections);
            if self.connections_log.is_due() {
                let max_connections = self.usual_max;
                tracing::warn!(
                    max_connections,
                    "there are as many connections as server.max_connections allows: further ones get 503"
                );
            }
        }
        (Place { _permit: permit, _counted: self.signals.connection_opened() }, over_limit)
    }

    /// The system did not accept a connection.
    pub(super) fn refused(&mut self, error: &io::Error) {
        let out_of_files = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
        if out_of_files {
            self.signals.limit_reached(ConnectionLimit::Files);
        }
        if self.files_log.is_due() {
            tracing::warn!(%error, out_of_files, "can't accept connections: new clients wait until some of the open ones end");
        }
    }
}

/// Something that is logged when it happens, but at most once a minute.
#[derive(Default)]
struct SeldomLogged(Option<Instant>);

impl SeldomLogged {
    const PAUSE: Duration = Duration::from_mins(1);

    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|logged| logged.elapsed() >= Self::PAUSE);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}
