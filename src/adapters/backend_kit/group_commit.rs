//! Group commit: what arrives while a transaction is in flight goes into the next one, together.
//!
//! Invariants: what is written together is bounded, but for one job that is larger by itself; jobs
//! are written in the order of their coming; a job whose caller has given up before its turn is not
//! written at all; each caller is answered within the call's time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::ports::{
    backend_error::{BackendError, BackendErrorKind},
    tasks::{Task, Tasks},
};

/// Most jobs that wait; who comes behind them waits for room.
const WAITING_MAX: usize = 4_096;
/// Most events that are written together, and most of their bytes.
const EVENTS_MAX: usize = 256;
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is written together.
pub trait Job: Send + 'static {
    /// What its caller gets.
    type Answer: Send + 'static;

    /// Its events, and their bytes about.
    fn size(&self) -> (usize, usize);
}

/// Writes jobs in one transaction.
#[async_trait]
pub trait Write<J: Job>: Send + Sync + 'static {
    /// Writes all, or none.
    async fn write(&self, jobs: &[J]) -> Result<Vec<J::Answer>, BackendError>;
}

struct Waiting<J: Job> {
    job: J,
    answer: oneshot::Sender<Result<J::Answer, BackendError>>,
}

/// The way in.
pub struct GroupCommit<J: Job> {
    waiting: mpsc::Sender<Waiting<J>>,
    call_timeout: Duration,
    _writing: Task,
}

impl<J: Job> GroupCommit<J> {
    /// Starts the task that writes, under this name; it ends when this value is gone.
    pub fn start(
        tasks: &dyn Tasks,
        name: &'static str,
        writer: Arc<impl Write<J>>,
        call_timeout: Duration,
    ) -> Self {
        let (waiting, coming) = mpsc::channel(WAITING_MAX);
        let task = tasks.spawn_vital(name, write_all(writer, coming).boxed());
        Self { waiting, call_timeout, _writing: task }
    }

    /// Has a job written.
    ///
    /// # Errors
    /// Those of the writer; or the call took too long, and the job may have been written.
    pub async fn call(&self, context: &'static str, job: J) -> Result<J::Answer, BackendError> {
        let written = timeout(self.call_timeout, async {
            let (answer, answered) = oneshot::channel();
            self.waiting.send(Waiting { job, answer }).await.ok()?;
            answered.await.ok()
        });
        match written.await {
            Ok(Some(answer)) => answer,
            // The writing task is gone.
            Ok(None) => Err(BackendError::new(BackendErrorKind::Unavailable, context)),
            Err(_) => Err(BackendError::new(BackendErrorKind::Timeout, context)),
        }
    }
}

async fn write_all<J: Job>(writer: Arc<impl Write<J>>, mut coming: mpsc::Receiver<Waiting<J>>) {
    let mut first = coming.recv().await;
    while let Some(waiting) = first.take() {
        let (mut jobs, mut answers) = (Vec::new(), Vec::new());
        let (mut events, mut bytes) = (0, 0);
        let mut next = Some(waiting);
        while let Some(Waiting { job, answer }) = next.take() {
            let (more_events, more_bytes) = job.size();
            if !jobs.is_empty()
                && (events + more_events > EVENTS_MAX || bytes + more_bytes > BYTES_MAX)
            {
                first = Some(Waiting { job, answer });
                break;
            }
            if !answer.is_closed() {
                events += more_events;
                bytes += more_bytes;
                jobs.push(job);
                answers.push(answer);
            }
            next = coming.try_recv().ok();
        }
        write_together(&*writer, jobs, answers).await;
        if first.is_none() {
            first = coming.recv().await;
        }
    }
    // Whoever had the way in is gone, and with them this task: to end by itself would count as a
    // failure.
    std::future::pending::<()>().await;
}

async fn write_together<J: Job>(
    writer: &impl Write<J>,
    jobs: Vec<J>,
    answers: Vec<oneshot::Sender<Result<J::Answer, BackendError>>>,
) {
    if jobs.is_empty() {
        return;
    }
    let failure = match writer.write(&jobs).await {
        Ok(written) => {
            for (answer, written) in answers.into_iter().zip(written) {
                // A caller that timed out has dropped its receiver.
                let _ = answer.send(Ok(written));
            }
            return;
        }
        Err(failure) => failure,
    };
    // Where the data of one job are what is wrong, nothing was done, and the others are not to
    // suffer by it.
    let is_of_one_job =
        matches!(failure.kind, BackendErrorKind::Damaged | BackendErrorKind::Rejected);
    if !is_of_one_job || jobs.len() == 1 {
        let (kind, context) = (failure.kind, failure.context);
        let mut source = failure.source;
        for answer in answers {
            // The first one has the driver's error for the log.
            let _ = answer.send(Err(BackendError {
                source: source.take(),
                ..BackendError::new(kind, context)
            }));
        }
        return;
    }
    for (job, answer) in jobs.into_iter().zip(answers).filter(|(_, answer)| !answer.is_closed()) {
        let alone = writer.write(std::slice::from_ref(&job)).await;
        let _ = answer.send(alone.and_then(|mut written| {
            written
                .pop()
                .ok_or_else(|| BackendError::new(BackendErrorKind::Timeout, failure.context))
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::Semaphore;

    use super::*;

    struct Number(u32);

    impl Job for Number {
        type Answer = u32;

        fn size(&self) -> (usize, usize) {
            (1, 0)
        }
    }

    /// Writes when it is let, and keeps what was written together.
    struct Slow {
        turns: Semaphore,
        written: Mutex<Vec<Vec<u32>>>,
    }

    #[async_trait]
    impl Write<Number> for Slow {
        async fn write(&self, jobs: &[Number]) -> Result<Vec<u32>, BackendError> {
            self.turns.acquire().await.unwrap().forget();
            let numbers: Vec<u32> = jobs.iter().map(|job| job.0).collect();
            self.written.lock().unwrap().push(numbers.clone());
            Ok(numbers)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_meanwhile_is_written_together_and_what_was_given_up_is_not() {
        let writer = Arc::new(Slow { turns: Semaphore::new(0), written: Mutex::default() });
        let group = Arc::new(GroupCommit::start(
            &*crate::testing::tasks(),
            "test",
            Arc::clone(&writer),
            Duration::from_secs(5),
        ));
        let call = |number| {
            let group = Arc::clone(&group);
            tokio::spawn(async move { group.call("test", Number(number)).await })
        };
        let first = call(0);
        tokio::task::yield_now().await;
        let (given_up, others) = (call(1), [2, 3, 4].map(call));
        tokio::task::yield_now().await;
        given_up.abort();
        assert!(given_up.await.is_err());
        writer.turns.add_permits(2);
        assert_eq!(first.await.unwrap().unwrap(), 0);
        for (other, number) in others.into_iter().zip(2..) {
            assert_eq!(other.await.unwrap().unwrap(), number);
        }
        assert_eq!(*writer.written.lock().unwrap(), [vec![0], vec![2, 3, 4]]);
        let late = call(5).await.unwrap().unwrap_err();
        assert_eq!(
            late.kind,
            BackendErrorKind::Timeout,
            "nobody waits longer than the call's time"
        );
    }

    #[tokio::test]
    async fn the_task_does_not_end_before_it_is_dropped() {
        let writer = Arc::new(Slow { turns: Semaphore::new(0), written: Mutex::default() });
        let (waiting, coming) = mpsc::channel(1);
        drop(waiting);
        assert!(write_all::<Number>(writer, coming).now_or_never().is_none());
    }
}
