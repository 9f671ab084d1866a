//! A bounded number of calls at the same time.
//!
//! Invariant: a call is answered within its time, whatever the server does; the wait for a permit
//! counts, since a server that is silent would otherwise be waited for by one crowd after the
//! other.

use std::time::Duration;

use tokio::{sync::Semaphore, time::timeout};

/// Most tries of one call.
const TRIES_MAX: usize = 3;

/// Why a try failed.
#[derive(Debug)]
pub enum Failed<E> {
    /// Another one may succeed, and is harmless.
    Retry(E),
    /// Another one would fail as well, or might do harm.
    ForGood(E),
}

/// What calls of one purpose have in common.
#[derive(Debug)]
pub struct CallPermits {
    permits: Semaphore,
    call_timeout: Duration,
}

impl CallPermits {
    /// For at most so many calls at the same time, each of which may take so long.
    pub const fn new(calls_max: usize, call_timeout: Duration) -> Self {
        Self { permits: Semaphore::const_new(calls_max), call_timeout }
    }

    /// Makes a call as soon as there is a permit for it, and tries it again where that is worth it.
    ///
    /// # Errors
    /// That of the last try; `late` if the time was over. What was under way then may have been
    /// done.
    pub async fn call<T, E, Try>(
        &self,
        late: impl FnOnce() -> E,
        attempt: impl Fn() -> Try,
    ) -> Result<T, E>
    where
        Try: Future<Output = Result<T, Failed<E>>>,
    {
        let called = async {
            // Closed never.
            let _permit = self.permits.acquire().await;
            for _ in 1..TRIES_MAX {
                match attempt().await {
                    Ok(answer) => return Ok(answer),
                    Err(Failed::Retry(_)) => {}
                    Err(Failed::ForGood(error)) => return Err(error),
                }
            }
            attempt().await.map_err(|(Failed::Retry(error) | Failed::ForGood(error))| error)
        };
        timeout(self.call_timeout, called).await.unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_tried_again_where_that_is_worth_it_and_is_late_after_its_time() {
        let permits = CallPermits::new(1, Duration::from_secs(2));
        let tries = AtomicUsize::new(0);
        let call = |failed: fn(&'static str) -> Failed<&'static str>, successes_after: usize| {
            let tries = &tries;
            tries.store(0, Ordering::Relaxed);
            permits.call(
                || "late",
                move || async move {
                    if tries.fetch_add(1, Ordering::Relaxed) < successes_after {
                        Err(failed("failed"))
                    } else {
                        Ok(())
                    }
                },
            )
        };
        assert_eq!((call(Failed::Retry, 2).await, tries.load(Ordering::Relaxed)), (Ok(()), 3));
        assert_eq!(
            (call(Failed::Retry, 9).await, tries.load(Ordering::Relaxed)),
            (Err("failed"), 3)
        );
        assert_eq!(
            (call(Failed::ForGood, 9).await, tries.load(Ordering::Relaxed)),
            (Err("failed"), 1)
        );
        let (silent, waiting) = tokio::join!(
            permits.call(|| "late", std::future::pending::<Result<(), Failed<&str>>>),
            permits.call(|| "late", || async { Ok(()) })
        );
        assert_eq!((silent, waiting), (Err("late"), Err("late")), "the wait for a permit counts");
    }
}
