//! Background tasks of what a test puts together.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::ManualClock;
use crate::{
    app::{signals::Signals, supervisor::Supervisor},
    ports::tasks::Tasks,
};

/// Tasks that run until `stop` is cancelled.
pub fn tasks_until(stop: CancellationToken) -> Arc<dyn Tasks> {
    Arc::new(Supervisor::new(stop, Signals::unheard(Arc::new(ManualClock::default()))))
}

/// Tasks that run until who started them drops them, or the test ends.
pub fn tasks() -> Arc<dyn Tasks> {
    tasks_until(CancellationToken::new())
}
