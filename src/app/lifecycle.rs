//! From start to stop: draining, and the tasks that a stop waits for.
//!
//! Invariant: once draining has begun nothing new begins, and everything that runs is told; what is still there when the
//! time is over is cut off.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by all that has to know whether the process stops. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// Connections, and whatever else a stop waits for.
    pub tasks: TaskTracker,
    draining: CancellationToken,
    stopped: CancellationToken,
}

impl Lifecycle {
    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Cancelled when draining begins.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when the time to drain is over.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Tells everybody that draining has begun.
    pub fn begin_drain(&self) {
        self.draining.cancel();
        self.tasks.close();
    }

    /// Waits for the tasks, for so long at the most, and then cuts off what is left. Tells whether all ended in time.
    pub async fn finish(&self, within: Duration) -> bool {
        let in_time = tokio::time::timeout(within, self.tasks.wait()).await.is_ok();
        self.stopped.cancel();
        in_time
    }
}
