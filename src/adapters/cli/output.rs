//! Standard output, which may be slow, and may be closed by its reader.
//!
//! Invariant: only the writer waits for a reader that doesn't read: a signal is heard
//! at any time, and the program can end. What [`Output::write`] has returned for is written.

use std::{
    io::{self, Write},
    thread,
};

use tokio::sync::{mpsc, oneshot};

/// A thread that writes. It is no task of the runtime, because the runtime waits at its end for
/// writes that have begun.
#[derive(Debug)]
pub(super) struct Output {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    bytes: Vec<u8>,
    written: oneshot::Sender<io::Result<()>>,
}

/// Why nothing can be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// Who read it has read enough, as `head` does.
    #[error("standard output was closed")]
    Closed,
    /// Such as a full disk.
    #[error("standard output can't be written")]
    Failed(#[source] io::Error),
}

impl Output {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(1);
        thread::Builder::new().name("standard output".to_owned()).spawn(move || {
            while let Some(job) = waiting.blocking_recv() {
                let mut stdout = io::stdout().lock();
                let result = stdout.write_all(&job.bytes).and_then(|()| stdout.flush());
                // No one waits any more if a signal came.
                let _ = job.written.send(result);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Writes all of it.
    pub(super) async fn write(&self, bytes: impl Into<Vec<u8>>) -> Result<(), OutputError> {
        let (written, result) = oneshot::channel();
        let ended = || OutputError::Failed(io::Error::other("its thread has ended"));
        self.jobs.send(Job { bytes: bytes.into(), written }).await.map_err(|_| ended())?;
        match result.await.map_err(|_| ended())? {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputError::Closed),
            result => result.map_err(OutputError::Failed),
        }
    }
}

/// Writes the whole result of a command. A reader that has read enough is content.
pub(super) fn print(text: &str) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(OutputError::Failed(error)),
        _ => Ok(()),
    }
}
