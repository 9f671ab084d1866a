//! Broadcasting: an event to every connection of every process. It is kept in no journal.
//!
//! Invariant: a broadcast is accepted only where each connection of this process can still get it.
//! One is on its way at a time, so that the next is judged by what this one has taken.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::timeout};

use super::{
    broadcasts::{Broadcasts, NoRoom},
    signals::{Outcome, Signals},
};
use crate::{
    domain::event::Event,
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        feed::Feed,
    },
};

/// How long a broadcast is waited for on its way back to this process. One that the feed delivers
/// later is not lost.
const RETURN_WITHIN: Duration = Duration::from_secs(1);

/// Why an event was not broadcast.
#[derive(Debug, thiserror::Error)]
pub enum BroadcastError {
    /// Connections could not get it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The backend could not take it.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// The use case.
pub struct Broadcaster {
    broadcasts: Arc<Broadcasts>,
    feed: Arc<dyn Feed>,
    signals: Arc<Signals>,
    turn: Mutex<()>,
}

impl Broadcaster {
    /// Broadcasts by `feed`, which brings them back to `broadcasts`, as to those of every other
    /// process.
    pub fn new(broadcasts: Arc<Broadcasts>, feed: Arc<dyn Feed>, signals: Arc<Signals>) -> Self {
        Self { broadcasts, feed, signals, turn: Mutex::default() }
    }

    /// Sends an event to every open connection.
    ///
    /// # Errors
    /// [`BroadcastError`]. After an error of the backend some connections may have got it, and
    /// would get it twice by a retry.
    pub async fn broadcast(&self, event: Arc<Event>) -> Result<(), BroadcastError> {
        let _turn = self.turn.lock().await;
        let sent = self.send(event).await;
        self.signals.published(if sent.is_ok() { Outcome::Broadcast } else { Outcome::Failed }, 1);
        sent
    }

    async fn send(&self, event: Arc<Event>) -> Result<(), BroadcastError> {
        self.broadcasts.room_for(&event)?;
        let mut added = self.broadcasts.added();
        self.feed.broadcast(event).await.map_err(|error| match error.kind {
            BackendErrorKind::BroadcastsFull => BroadcastError::NoRoom(NoRoom::Full),
            _ => error.into(),
        })?;
        // Not here in time: the feed is being connected anew, and delivers it then.
        let _ = timeout(RETURN_WITHIN, added.changed()).await;
        Ok(())
    }
}
