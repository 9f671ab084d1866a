//! From start to stop: draining, and the tasks that a stop waits for.
//!
//! Invariant: once draining has begun nothing new begins, and everything that runs is told; what is still there when the
//! time is over is cut off.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::TaskTracker,
};

/// Shared by all that has to know whether the process stops. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    tasks: TaskTracker,
    draining: CancellationToken,
    stopped: CancellationToken,
}

impl Lifecycle {
    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Cancelled when draining begins.
    pub const fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when the time to drain is over.
    pub const fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Spawns a task that a stop waits for, and cuts off when the time to drain is over.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.tasks.spawn(UntilStopped { task, stopped: self.stopped.clone().cancelled_owned() });
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
        // What is cut off is dropped at its next poll, for which it has just been woken.
        self.tasks.wait().await;
        in_time
    }
}

pin_project! {
    /// A task, or its end by a stop. Written out because an `async` block that awaits a future which it was given holds
    /// that future twice, and there is one of these for each connection.
    struct UntilStopped<F> {
        #[pin]
        task: F,
        #[pin]
        stopped: WaitForCancellationFutureOwned,
    }
}

impl<F: Future> Future for UntilStopped<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.stopped.poll(context).is_ready() {
            return Poll::Ready(());
        }
        this.task.poll(context).map(drop)
    }
}
