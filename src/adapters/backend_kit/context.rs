//! What every backend is opened with, beside its own settings.

use std::{fmt::Display, sync::Arc, time::Duration};

use super::stored_page::OnMalformed;
use crate::{
    domain::category::Registry,
    ports::{clock::Clock, entropy::Entropy, tasks::Tasks},
};

/// Called with something that an operator should know, in words.
pub type OnTrouble = Arc<dyn Fn(&(dyn Display + Sync)) + Send + Sync>;

/// What every backend is opened with. Cheap to clone.
#[derive(Clone)]
pub struct BackendContext {
    /// The time of day, for backends without a server that has one.
    pub clock: Arc<dyn Clock>,
    /// For ids that must be unique, and pauses that must differ.
    pub entropy: Arc<dyn Entropy>,
    /// Starts background tasks.
    pub tasks: Arc<dyn Tasks>,
    /// Gives events of other programs their categories.
    pub registry: Arc<Registry>,
    /// What is kept for how long.
    pub retention: Retention,
    /// Called with each entry that is no event, each time that it is passed over.
    pub on_malformed: OnMalformed,
    /// Called with each notification of an event that is not there.
    pub on_stray_hint: OnTrouble,
    /// Called each time that broadcasts may not have come through to this process.
    pub on_missed_broadcasts: OnTrouble,
}

/// What is kept of users' topics, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Most entries of one topic; backends that trim approximately keep some more.
    pub stream_maxlen: usize,
    /// Age after which an entry counts as gone; `None` for never.
    pub replay_max_age: Option<Duration>,
    /// For how long an idempotency key is remembered, also one of a message.
    pub idempotency_window: Duration,
}
