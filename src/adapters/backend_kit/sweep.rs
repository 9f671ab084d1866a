//! The sweep: what is over its time is removed, little by little.
//!
//! Invariants: one process at a time does it, which keeps its turn with each batch, so that one
//! that hangs keeps nobody from it; between batches it rests for longer than it worked.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::BackendContext;
use crate::{
    domain::backoff::share_of,
    ports::{backend_error::BackendError, entropy::Entropy, tasks::Task},
};

/// How long a turn lasts without a batch.
const TURN_LASTS: Duration = Duration::from_mins(1);
/// For each second of work the sweep rests two.
const REST_FACTOR: u32 = 2;
const REST_MIN: Duration = Duration::from_millis(5);

/// How a backend sweeps.
#[async_trait]
pub trait Sweep: Send + Sync + 'static {
    /// Takes the turn for a holder, or keeps it, for so long; `false` if it is another's.
    async fn take_turn(&self, holder: Uuid, lasts: Duration) -> Result<bool, BackendError>;

    /// Gives the turn back, where it is this holder's.
    async fn end_turn(&self, holder: Uuid) -> Result<(), BackendError>;

    /// Removes what is over its time in bounded batches. Before each of them [`Turn::next_batch`]
    /// has to say `true`.
    async fn remove(&self, turn: &mut Turn<'_>) -> Result<(), BackendError>;
}

/// A process's turn.
pub struct Turn<'a> {
    sweep: &'a dyn Sweep,
    holder: Uuid,
    is_lost: bool,
    batch_began: Option<Instant>,
}

impl Turn<'_> {
    /// Rests after the batch before, and keeps the turn. `false` where another process has it: then
    /// nothing is to be done.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn next_batch(&mut self) -> Result<bool, BackendError> {
        if self.is_lost {
            return Ok(false);
        }
        if let Some(began) = self.batch_began {
            sleep(REST_MIN.max(began.elapsed() * REST_FACTOR)).await;
        }
        self.is_lost = !self.sweep.take_turn(self.holder, TURN_LASTS).await?;
        self.batch_began = Some(Instant::now());
        Ok(!self.is_lost)
    }
}

/// What sweeps a backend.
pub struct Sweeper {
    sweep: Arc<dyn Sweep>,
    entropy: Arc<dyn Entropy>,
    _sweeping: Task,
}

impl Sweeper {
    /// Begins to sweep every so often, in a task of this name. It ends when this is dropped.
    pub fn start(
        context: &BackendContext,
        task: &'static str,
        every: Duration,
        sweep: Arc<dyn Sweep>,
    ) -> Self {
        let entropy = Arc::clone(&context.entropy);
        let sweeping = sweep_again_and_again(Arc::clone(&sweep), Arc::clone(&entropy), every);
        Self { sweep, entropy, _sweeping: context.tasks.spawn_vital(task, sweeping.boxed()) }
    }

    /// Removes all that is over its time now, or leaves that to another process which is at it.
    ///
    /// # Errors
    /// Those of the backend; what was removed until then stays removed.
    pub async fn sweep(&self) -> Result<(), BackendError> {
        in_turn(&*self.sweep, self.entropy.uuid()).await
    }
}

async fn sweep_again_and_again(sweep: Arc<dyn Sweep>, entropy: Arc<dyn Entropy>, every: Duration) {
    // Not all processes of a deployment at the same moment.
    let mut next = Instant::now() + share_of(every, entropy.next_u64());
    loop {
        sleep_until(next).await;
        // A backend that is away is noticed and reported by those who need it; what is over its
        // time is there the next time.
        if let Err(error) = in_turn(&*sweep, entropy.uuid()).await {
            tracing::debug!(%error, "the sweep was cut short");
        }
        next = Instant::now() + every;
    }
}

async fn in_turn(sweep: &dyn Sweep, holder: Uuid) -> Result<(), BackendError> {
    let mut turn = Turn { sweep, holder, is_lost: false, batch_began: None };
    let swept = sweep.remove(&mut turn).await;
    // Where it can't be given back, it ends by itself.
    let _ = sweep.end_turn(holder).await;
    swept
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::testing;

    /// So many batches, of which each takes a second; and when each began.
    #[derive(Default)]
    struct Batches {
        turn: Mutex<Option<Uuid>>,
        left: Mutex<usize>,
        began: Mutex<Vec<Instant>>,
    }

    #[async_trait]
    impl Sweep for Batches {
        async fn take_turn(&self, holder: Uuid, _: Duration) -> Result<bool, BackendError> {
            Ok(*self.turn.lock().unwrap().get_or_insert(holder) == holder)
        }

        async fn end_turn(&self, holder: Uuid) -> Result<(), BackendError> {
            self.turn.lock().unwrap().take_if(|held| *held == holder);
            Ok(())
        }

        async fn remove(&self, turn: &mut Turn<'_>) -> Result<(), BackendError> {
            while *self.left.lock().unwrap() > 0 && turn.next_batch().await? {
                self.began.lock().unwrap().push(Instant::now());
                sleep(Duration::from_secs(1)).await;
                *self.left.lock().unwrap() -= 1;
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_process_sweeps_at_a_time_and_rests_between_batches() {
        let batches = Arc::new(Batches { left: Mutex::new(3), ..Batches::default() });
        let every = Duration::from_hours(1);
        let start = || {
            Sweeper::start(
                &testing::backend_context(),
                "test sweep",
                every,
                Arc::clone(&batches) as _,
            )
        };
        let (one, other) = (start(), start());
        let (swept, left_alone) = tokio::join!(one.sweep(), other.sweep());
        swept.and(left_alone).unwrap();
        let began = batches.began.lock().unwrap().clone();
        let pauses: Vec<Duration> = began.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(
            pauses,
            [Duration::from_secs(3); 2],
            "two seconds of rest for each second of work, by one of them"
        );
        assert_eq!(*batches.turn.lock().unwrap(), None, "the turn was given back");
        *batches.left.lock().unwrap() = 1;
        sleep(2 * every).await;
        assert_eq!(*batches.left.lock().unwrap(), 0, "it happens by itself");
    }
}
