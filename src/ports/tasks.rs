//! Background tasks.
//!
//! Invariant: no background task of the process is started in any other way, so that none ends
//! unnoticed.

use futures_util::future::BoxFuture;
use tokio_util::task::AbortOnDropHandle;

/// Starts background tasks, and watches them.
pub trait Tasks: Send + Sync {
    /// Starts a task that the process can't do without: where it ends or panics before the process
    /// stops, that is logged and counted under its name, and the process drains and exits with a
    /// non-zero status.
    fn spawn_vital(&self, name: &'static str, task: BoxFuture<'static, ()>) -> Task;

    /// Starts a task that ends when its work is done. Where it panics, the same happens as for a
    /// vital one.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> Task;
}

/// A background task that runs. It is aborted when this value is dropped, which is no failure.
#[must_use = "the task is aborted when this is dropped"]
#[derive(Debug)]
pub struct Task(AbortOnDropHandle<()>);

impl Task {
    /// The task behind a handle.
    pub const fn new(handle: AbortOnDropHandle<()>) -> Self {
        Self(handle)
    }

    /// Lets the task run for as long as the process does, or until its work is done.
    pub fn detach(self) {
        drop(self.0.detach());
    }

    /// Waits for the task's end.
    pub async fn ended(self) {
        // An error would be a panic, which has been reported.
        let _ = self.0.await;
    }
}
