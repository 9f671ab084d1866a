//! The process's background tasks, and what happens when one fails.
//!
//! Invariant: a vital task that ends before the process stops, and any task that panics, is logged
//! and counted, and [`Supervisor::failed`] is cancelled, so that the process drains and exits with
//! a non-zero status (promise 10).

#[cfg(feature = "testing")]
mod faults;

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::signals::Signals;
use crate::ports::tasks::{Task, Tasks};

/// Starts background tasks, and watches them. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor {
    stopped: CancellationToken,
    failed: CancellationToken,
    signals: Arc<Signals>,
}

/// Whether a task may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    UntilStop,
    UntilDone,
}

impl Supervisor {
    /// Tasks run until `stopped` is cancelled: then they are dropped.
    pub fn new(stopped: CancellationToken, signals: Arc<Signals>) -> Self {
        Self { stopped, failed: CancellationToken::new(), signals }
    }

    /// Cancelled when a task has failed.
    pub const fn failed(&self) -> &CancellationToken {
        &self.failed
    }

    fn start(&self, name: &'static str, lasts: Lasts, task: BoxFuture<'static, ()>) -> Task {
        #[cfg(feature = "testing")]
        let task = faults::failing_on_request(name, task);
        let supervisor = self.clone();
        let watched = async move {
            tracing::debug!(
                task = name,
                is_vital = lasts == Lasts::UntilStop,
                "a background task runs"
            );
            let caught = AssertUnwindSafe(task).catch_unwind();
            match supervisor.stopped.run_until_cancelled(caught).await {
                None => {}
                Some(Ok(())) if lasts == Lasts::UntilDone || supervisor.stopped.is_cancelled() => {}
                Some(Ok(())) => supervisor.report(name, "it ended"),
                Some(Err(panic)) => supervisor.report(name, panic_text(&*panic)),
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the one place that starts background tasks")]
        Task::new(AbortOnDropHandle::new(tokio::spawn(watched)))
    }

    fn report(&self, task: &'static str, why: &str) {
        tracing::error!(task, why, "a background task failed: the process drains and exits");
        self.signals.task_failed(task);
        self.failed.cancel();
    }
}

impl Tasks for Supervisor {
    fn spawn_vital(&self, name: &'static str, task: BoxFuture<'static, ()>) -> Task {
        self.start(name, Lasts::UntilStop, task)
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> Task {
        self.start(name, Lasts::UntilDone, task)
    }
}

/// What a panic says.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor() -> Supervisor {
        Supervisor::new(CancellationToken::new(), Signals::unheard_in_tests())
    }

    #[tokio::test]
    async fn promise_10_a_vital_task_that_ends_or_panics_is_a_failure() {
        for task in [async {}.boxed(), async { panic!("a fault") }.boxed()] {
            let supervisor = supervisor();
            supervisor.spawn_vital("test", task).ended().await;
            assert!(supervisor.failed().is_cancelled());
        }
    }

    #[tokio::test]
    async fn a_task_whose_work_is_done_may_end_and_may_not_panic() {
        let supervisor = supervisor();
        supervisor.spawn("test", async {}.boxed()).ended().await;
        assert!(!supervisor.failed().is_cancelled());
        supervisor.spawn("test", async { panic!("a fault") }.boxed()).ended().await;
        assert!(supervisor.failed().is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_is_dropped_or_stopped_has_not_failed() {
        let supervisor = supervisor();
        drop(supervisor.spawn_vital("test", std::future::pending().boxed()));
        let task = supervisor.spawn_vital("test", std::future::pending().boxed());
        supervisor.stopped.cancel();
        task.ended().await;
        assert!(!supervisor.failed().is_cancelled());
    }
}
