//! Replay budgets, in a sliding window over all processes.

use std::time::Duration;

use rejoin::domain::replay_budget::Exhausted;
use tokio::task::JoinSet;

use crate::{
    backend::{Fixture, Options},
    given::user,
};

const WINDOW_SECONDS: u64 = 6;
const WINDOW: Duration = Duration::from_secs(WINDOW_SECONDS);

/// Asserts a refusal, and that it tells when to come back.
fn assert_refused(taken: Result<u32, Exhausted>, expected: Duration, fixture: &dyn Fixture) -> Duration {
    let retry_after = taken.expect_err("the budget is spent").retry_after;
    assert!(retry_after > Duration::ZERO && retry_after <= WINDOW);
    let off = retry_after.abs_diff(expected);
    assert!(off <= fixture.time_tolerance(), "told {retry_after:?}, where it is {expected:?}");
    retry_after
}

pub(crate) async fn a_budget_is_a_sliding_window(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, user) = (backend.process().await, backend.process().await, user("u1"));
    for (process, left) in [(&one, 2), (&two, 1), (&one, 0)] {
        assert_eq!(process.budget.take(&user, 3, WINDOW).await.unwrap(), Ok(left));
        backend.pass(Duration::from_millis(1_500)).await;
    }
    // Granted at 0, 1.5 and 3 seconds; it is 4.5.
    let retry_after = assert_refused(two.budget.take(&user, 3, WINDOW).await.unwrap(), Duration::from_millis(1_500), fixture);
    backend.pass(retry_after).await;
    assert_eq!(two.budget.take(&user, 3, WINDOW).await.unwrap(), Ok(0));
    let retry_after = assert_refused(one.budget.take(&user, 3, WINDOW).await.unwrap(), Duration::from_millis(1_500), fixture);
    backend.pass(retry_after).await;
    assert_eq!(one.budget.take(&user, 3, WINDOW).await.unwrap(), Ok(0));
    backend.pass(WINDOW + fixture.time_tolerance()).await;
    assert_eq!(one.budget.take(&user, 3, WINDOW).await.unwrap(), Ok(2), "a window without a replay frees all");
}

pub(crate) async fn a_refused_replay_does_not_count(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, user) = (backend.process().await, user("u1"));
    assert_eq!(process.budget.take(&user, 1, WINDOW).await.unwrap(), Ok(0));
    for second in 1..6 {
        backend.pass(Duration::from_secs(1)).await;
        assert_refused(process.budget.take(&user, 1, WINDOW).await.unwrap(), Duration::from_secs(WINDOW_SECONDS - second), fixture);
    }
    backend.pass(Duration::from_secs(1) + fixture.time_tolerance()).await;
    assert_eq!(process.budget.take(&user, 1, WINDOW).await.unwrap(), Ok(0), "who kept trying is let in all the same");
}

pub(crate) async fn concurrent_replays_stay_within_the_budget(fixture: &dyn Fixture) {
    const LIMIT: u32 = 10;
    let backend = fixture.open(Options::default()).await;
    let processes = [backend.process().await, backend.process().await];
    for round in 0..5 {
        let user = user(&format!("u{round}"));
        let mut asking = JoinSet::new();
        for n in 0..30 {
            let (process, user) = (processes[n % 2].clone(), user.clone());
            asking.spawn(async move { process.budget.take(&user, LIMIT, Duration::from_mins(10)).await.unwrap() });
        }
        let mut left: Vec<_> = asking.join_all().await.into_iter().filter_map(Result::ok).collect();
        left.sort_unstable();
        assert!(left.into_iter().eq(0..LIMIT), "each grant is told apart, and there are so many");
    }
}

pub(crate) async fn looking_at_a_budget_spends_nothing(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, user) = (backend.process().await, backend.process().await, user("u1"));
    let window = Duration::from_secs(30);
    for left in [3, 3, 3] {
        assert_eq!(two.budget.left(&user, 3, window).await.unwrap(), left);
    }
    for left in [2, 1, 0] {
        assert_eq!(one.budget.take(&user, 3, window).await.unwrap(), Ok(left));
        assert_eq!(two.budget.left(&user, 3, window).await.unwrap(), left);
    }
    assert!(one.budget.take(&user, 3, window).await.unwrap().is_err());
    assert_eq!(two.budget.left(&user, 3, window).await.unwrap(), 0);
    assert_eq!(two.budget.left(&user, 2, window).await.unwrap(), 0, "a limit that was lowered leaves nothing");
}
