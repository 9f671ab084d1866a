//! An open backend, as its ports.

use std::sync::Arc;

use super::sweep::Sweeper;
use crate::ports::{
    archive::Archive,
    feed::Feed,
    journal::Journal,
    limits::{ConnectionLeases, ReplayBudget},
    messages::Messages,
};

/// The ports of one process on a backend.
#[derive(Clone)]
pub struct Ports {
    /// Users' events.
    pub journal: Arc<dyn Journal>,
    /// Messages.
    pub messages: Arc<dyn Messages>,
    /// What is being appended, in both channels.
    pub feed: Arc<dyn Feed>,
    /// The backend as a whole.
    pub archive: Arc<dyn Archive>,
    /// Connection slots.
    pub leases: Arc<dyn ConnectionLeases>,
    /// Replay budgets.
    pub budget: Arc<dyn ReplayBudget>,
    /// Removes what is over its time, where the backend does not do so by itself.
    pub sweeper: Option<Arc<Sweeper>>,
}
