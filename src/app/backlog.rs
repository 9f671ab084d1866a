//! An operator's read of a user's backlog, page by page.
//!
//! Invariants: an event whose category the operator may not read is passed over. Each read holds
//! one page at a time, and only so many are held in a process, so that answers that are not taken
//! cost a bounded amount of memory; one answer is bounded as well.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::sources::Source;
use crate::{
    domain::{
        category::CategoryFilter, event::Entry, page::PageLimit, position::Position, topic::Topic,
    },
    ports::backend_error::BackendError,
};

/// Most backlogs that a process reads at the same time.
const READS_MAX: usize = 16;
/// How long a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(5);
/// What a read holds. One larger event still comes alone.
const PAGE: PageLimit = PageLimit { entries_max: 100, bytes_max: 64 * 1024 };
/// Most bytes of events that one read looks at, about.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Who may read now.
#[derive(Clone, Debug)]
pub(super) struct BacklogTurns(Arc<Semaphore>);

/// A turn to read: dropping it lets another read.
pub(super) struct BacklogTurn(
    #[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit,
);

/// As many backlogs as may be are being read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("as many backlogs are being read as may be: try again later")]
pub struct TooManyBacklogs;

impl BacklogTurns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(READS_MAX)))
    }

    pub(super) async fn take(&self) -> Result<BacklogTurn, TooManyBacklogs> {
        let turn = timeout(TURN_WAIT, Arc::clone(&self.0).acquire_owned())
            .await
            .map_err(|_| TooManyBacklogs)?;
        // The semaphore is never closed.
        turn.map(BacklogTurn).map_err(|_| TooManyBacklogs)
    }
}

/// A backlog being read.
pub struct Backlog {
    source: Source,
    topic: Topic,
    filter: CategoryFilter,
    /// Up to where it has been read.
    after: Position,
    entries_left: usize,
    bytes_left: usize,
    is_over: bool,
    more: bool,
    _turn: BacklogTurn,
}

impl Backlog {
    pub(super) fn new(
        source: Source,
        topic: Topic,
        filter: CategoryFilter,
        after: Position,
        entries_max: usize,
        turn: BacklogTurn,
    ) -> Self {
        let (entries_left, bytes_left) = (entries_max, BYTES_MAX);
        Self {
            source,
            topic,
            filter,
            after,
            entries_left,
            bytes_left,
            is_over: false,
            more: false,
            _turn: turn,
        }
    }

    /// The next entries that the operator may read, oldest first; there may be none among those
    /// that were looked at. Nothing at the end.
    ///
    /// # Errors
    /// The backend's.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, BackendError> {
        if self.is_over {
            return Ok(None);
        }
        let page = self.source.log.read(&self.topic, self.after, PAGE).await?;
        self.more = page.more && !page.entries.is_empty();
        let mut shown = Vec::new();
        for entry in page.entries {
            if self.entries_left == 0 || self.bytes_left == 0 {
                self.more = true;
                break;
            }
            self.bytes_left = self.bytes_left.saturating_sub(entry.event.cost_bytes());
            self.after = Position::After(entry.id);
            if self.filter.passes(entry.event.category.as_ref()) {
                self.entries_left -= 1;
                shown.push(entry);
            }
        }
        self.is_over = !self.more || self.entries_left == 0 || self.bytes_left == 0;
        Ok(Some(shown))
    }

    /// After the end: the position after which there is more, if there is.
    pub fn rest(&self) -> Option<Position> {
        self.more.then_some(self.after)
    }
}
