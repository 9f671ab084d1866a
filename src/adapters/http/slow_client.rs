//! The rule for slow clients, the same on HTTP/1.1 and HTTP/2: a client of which nothing is taken
//! for the write timeout has stalled. As long as it takes something within that time, however
//! little, it may be slow.

use std::{future::Future, io, time::Duration};

/// How long a stream waits for its client to take something.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteTimeout(Duration);

impl WriteTimeout {
    pub(super) const fn new(timeout: Duration) -> Self {
        Self(timeout)
    }

    /// Waits for one step of a write: that the client takes some of it.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] where the client takes nothing, and those of the step.
    pub(super) async fn step<T>(self, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        tokio::time::timeout(self.0, step)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
