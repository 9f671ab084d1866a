//! From start to stop: draining, and the tasks that a stop waits for.
//!
//! Invariant: once draining has begun nothing new begins, and everything that runs is notified;
//! what is still there when the time is over is cut off, and counted.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture, WaitForCancellationFutureOwned},
    task::TaskTracker,
};

use super::supervisor::panic_text;

/// Shared by all that has to know whether the process stops. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    tasks: TaskTracker,
    draining: CancellationToken,
    ending: CancellationToken,
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

    /// Cancelled when the time to drain is nearly over: who only waits for a client goes, so that
    /// the drain is not late for its sake.
    pub const fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// What a stop asks from now on, step by step.
    pub fn stop_signs(&self) -> StopSigns<'_> {
        let next = if self.is_draining() { StopSign::End } else { StopSign::Drain };
        StopSigns { lifecycle: self, next: Some(next), wait: Box::pin(self.sign(next).cancelled()) }
    }

    const fn sign(&self, sign: StopSign) -> &CancellationToken {
        match sign {
            StopSign::Drain => &self.draining,
            StopSign::End => &self.ending,
        }
    }

    /// Cancelled when the time to drain is over.
    pub const fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Spawns a task of one connection: a stop waits for it, and cuts it off when the time to drain
    /// is over. A panic ends this connection alone, and is logged.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.tasks.spawn(self.until_stopped(task));
    }

    /// Spawns a task that belongs to one that [`Self::spawn`] has spawned, and that a stop waits
    /// for as a part of that.
    pub fn spawn_part<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that starts tasks of connections"
        )]
        drop(tokio::spawn(self.until_stopped(task)));
    }

    fn until_stopped<F: Future>(&self, task: F) -> UntilStopped<F> {
        UntilStopped { task, stopped: self.stopped.clone().cancelled_owned() }
    }

    /// Notifies all tasks that draining has begun.
    pub fn begin_drain(&self) {
        self.draining.cancel();
        self.tasks.close();
    }

    /// Waits for the tasks, for so long at the most, and then cuts off what is left. Returns how
    /// many those were.
    pub async fn finish(&self, within: Duration) -> usize {
        let all_over = async {
            if tokio::time::timeout(within * 9 / 10, self.tasks.wait()).await.is_err() {
                self.ending.cancel();
                self.tasks.wait().await;
            }
        };
        let in_time = tokio::time::timeout(within, all_over).await.is_ok();
        let cut_off = if in_time { 0 } else { self.tasks.len() };
        self.stopped.cancel();
        // What is cut off is dropped at its next poll, for which it has just been woken.
        self.tasks.wait().await;
        cut_off
    }
}

/// What a stop asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSign {
    /// To begin nothing new.
    Drain,
    /// To wait for no client any more.
    End,
}

/// The signs of a stop, in their order. See [`Lifecycle::stop_signs`].
pub struct StopSigns<'a> {
    lifecycle: &'a Lifecycle,
    next: Option<StopSign>,
    wait: Pin<Box<WaitForCancellationFuture<'a>>>,
}

impl StopSigns<'_> {
    /// The next sign, once.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<StopSign> {
        let Some(sign) = self.next else { return Poll::Pending };
        ready!(self.wait.as_mut().poll(context));
        self.next = match sign {
            StopSign::Drain => Some(StopSign::End),
            StopSign::End => None,
        };
        if let Some(next) = self.next {
            self.wait.set(self.lifecycle.sign(next).cancelled());
        }
        Poll::Ready(sign)
    }
}

pin_project! {
    /// A task, or its end by a stop. Written out because an `async` block that awaits a future
    /// which it was given holds that future twice, and there is one of these for each connection.
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
        // A panic would only end this task, and nothing waits for it.
        catch_unwind(AssertUnwindSafe(|| this.task.poll(context).map(drop))).unwrap_or_else(
            |panic| {
                tracing::error!(
                    why = panic_text(&*panic),
                    "a connection's task panicked: the connection ends"
                );
                Poll::Ready(())
            },
        )
    }
}
