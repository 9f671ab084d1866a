//! What an operator can see of a user, and do for them.
//!
//! Invariant: looking costs the user nothing: no slot, and nothing of their budget.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use super::{
    archive::{Archives, Exporter, Record},
    backlog::{Backlog, BacklogTurn, BacklogTurns, TooManyBacklogs},
    hub::Hub,
    lifecycle::Lifecycle,
    limits::{Limits, Usage},
    sources::Sources,
};
use crate::{
    domain::{
        access::{Forbidden, Operator},
        category::CategoryFilter,
        cursor::Bounds,
        position::Position,
        topic::{Topic, UserId},
    },
    ports::{backend_error::BackendError, clock::Clock, journal::Journal},
};

/// Most users in an account of who is connected.
const USERS_SHOWN_MAX: usize = 100;

/// The use case.
pub struct Administration {
    journal: Arc<dyn Journal>,
    sources: Sources,
    archives: Archives,
    hub: Hub,
    limits: Arc<Limits>,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
    started: Instant,
    backlog_turns: BacklogTurns,
}

/// What there is of a user.
#[derive(Clone, Copy, Debug)]
pub struct UserState {
    /// Events that are retained.
    pub backlog_length: u64,
    /// The extent of their topic.
    pub bounds: Bounds,
    /// What they use.
    pub usage: Usage,
}

/// What there is of this process.
#[derive(Clone, Debug)]
pub struct ProcessState {
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Whether it is about to end.
    pub draining: bool,
    /// Each backend by what it is used for, and whether it answered when it was last asked.
    pub backends: BTreeMap<&'static str, bool>,
    /// Open streams.
    pub connections: usize,
    /// Topics that are followed here.
    pub topics_followed: usize,
    /// What is kept ready for connections, in bytes, about.
    pub ring_bytes: usize,
    /// Who is connected here, with how many connections; those with the most of them.
    pub users: Vec<(UserId, u32)>,
}

/// An export that is being made.
pub struct Export {
    exporter: Exporter,
    _turn: BacklogTurn,
}

impl Export {
    /// The next record; `None` behind the last.
    ///
    /// # Errors
    /// The backend's.
    pub async fn next(&mut self) -> Result<Option<Record>, BackendError> {
        self.exporter.next().await
    }
}

/// Why nothing is exported.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum ExportRefused {
    /// The operator may not read all of it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// Others are reading.
    #[error(transparent)]
    TooMany(#[from] TooManyBacklogs),
}

impl Administration {
    /// Administration of one process, over what it shares with the others.
    pub fn new(
        journal: Arc<dyn Journal>,
        sources: Sources,
        archives: Archives,
        hub: Hub,
        limits: Arc<Limits>,
        lifecycle: Lifecycle,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            journal,
            sources,
            archives,
            hub,
            limits,
            lifecycle,
            clock,
            started: Instant::now(),
            backlog_turns: BacklogTurns::new(),
        }
    }

    /// A user's backlog, connections and replay budget.
    ///
    /// # Errors
    /// The backend's.
    pub async fn user(&self, _: &Operator, user: &UserId) -> Result<UserState, BackendError> {
        let bounds = self.sources.users.log.bounds(&Topic::User(user.clone())).await?;
        let backlog_length = self.journal.length(user).await?;
        Ok(UserState { backlog_length, bounds, usage: self.limits.usage(user).await? })
    }

    /// A part of a user's backlog: the events after `after` that the operator's credentials let
    /// them read.
    ///
    /// # Errors
    /// [`TooManyBacklogs`].
    pub async fn backlog(
        &self,
        operator: &Operator,
        user: &UserId,
        after: Position,
        entries_max: usize,
    ) -> Result<Backlog, TooManyBacklogs> {
        let turn = self.backlog_turns.take().await?;
        let filter = CategoryFilter::granted(operator.principal().categories.as_ref());
        Ok(Backlog::new(
            self.sources.users.clone(),
            Topic::User(user.clone()),
            filter,
            after,
            entries_max,
            turn,
        ))
    }

    /// All that the backends hold, for an operator who may read every category.
    ///
    /// # Errors
    /// [`ExportRefused`].
    pub async fn export(&self, operator: &Operator) -> Result<Export, ExportRefused> {
        operator.principal().require_all_categories()?;
        let turn = self.backlog_turns.take().await?;
        Ok(Export { exporter: Exporter::new(self.archives.clone(), self.clock.now()), _turn: turn })
    }

    /// Removes a user's backlog; their clients are notified of a truncation where they had not read
    /// it.
    ///
    /// # Errors
    /// The backend's.
    pub async fn purge(&self, _: &Operator, user: &UserId) -> Result<(), BackendError> {
        self.journal.purge(user).await
    }

    /// Ends a user's connections in every process, of both channels. Returns how many there were.
    ///
    /// # Errors
    /// The backend's; to try again is harmless.
    pub async fn close_connections(
        &self,
        _: &Operator,
        user: &UserId,
    ) -> Result<u32, BackendError> {
        let connections = self.limits.usage(user).await?.connections;
        self.sources.users.feed.close_connections(user).await?;
        Ok(connections)
    }

    /// This process: its backends, its streams, who is connected.
    pub fn process(&self, _: &Operator) -> ProcessState {
        let sources = [&self.sources.users, &self.sources.messages];
        ProcessState {
            uptime_seconds: self.started.elapsed().as_secs(),
            draining: self.lifecycle.is_draining(),
            backends: sources
                .iter()
                .map(|source| (source.availability.name(), source.availability.is_up()))
                .collect(),
            connections: self.limits.connections(),
            topics_followed: self.hub.topics_followed(),
            ring_bytes: self.hub.ring_bytes(),
            users: self.limits.users_here(USERS_SHOWN_MAX),
        }
    }
}
