//! Replay budgets, in a sliding window over all processes.

use std::time::Duration;

use rejoin::domain::{
    position::{EventId, Position},
    replay_budget::{CONTINUATIONS_MAX, Exhausted},
};
use tokio::{task::JoinSet, time::Instant};

use crate::contract::{
    backend::{Fixture, Options},
    given::user,
};

const WINDOW_SECONDS: u64 = 6;
const WINDOW: Duration = Duration::from_secs(WINDOW_SECONDS);

/// Asserts a refusal, and that it tells when to come back.
fn assert_refused(
    taken: Result<u32, Exhausted>,
    expected: Duration,
    fixture: &dyn Fixture,
) -> Duration {
    let retry_after = taken.expect_err("the budget is spent").retry_after;
    assert!(retry_after > Duration::ZERO && retry_after <= WINDOW);
    let off = retry_after.abs_diff(expected);
    assert!(off <= fixture.time_tolerance(), "told {retry_after:?}, where it is {expected:?}");
    retry_after
}

/// How long it is since then by the backend's clock, which the law has moved by so much: with what
/// a busy machine took beside.
fn passed(fixture: &dyn Fixture, began: Instant, by_the_law: Duration) -> Duration {
    match began.elapsed() {
        _ if fixture.time_tolerance().is_zero() => by_the_law,
        // It was moved by waiting.
        real if real >= by_the_law => real,
        real => by_the_law + real,
    }
}

pub(crate) async fn a_budget_is_a_sliding_window(fixture: &dyn Fixture) {
    const PAUSE: Duration = Duration::from_millis(1_500);
    let backend = fixture.open(Options::default()).await;
    let (one, two, user) = (backend.process().await, backend.process().await, user("u1"));
    let mut granted = Vec::new();
    for (process, left) in [(&one, 2), (&two, 1), (&one, 0)] {
        granted.push(Instant::now());
        assert_eq!(process.budget.take(&user, Position::Start, 3, WINDOW).await.unwrap(), Ok(left));
        backend.pass(PAUSE).await;
    }
    // Granted at 0, 1.5 and 3 seconds; it is 4.5.
    let first_ends_in = WINDOW.saturating_sub(passed(fixture, granted[0], PAUSE * 3));
    let retry_after = assert_refused(
        two.budget.take(&user, Position::Start, 3, WINDOW).await.unwrap(),
        first_ends_in,
        fixture,
    );
    backend.pass(retry_after).await;
    assert_eq!(two.budget.take(&user, Position::Start, 3, WINDOW).await.unwrap(), Ok(0));
    let second_ends_in =
        WINDOW.saturating_sub(passed(fixture, granted[1], PAUSE * 2 + retry_after));
    let retry_after = assert_refused(
        one.budget.take(&user, Position::Start, 3, WINDOW).await.unwrap(),
        second_ends_in,
        fixture,
    );
    backend.pass(retry_after).await;
    assert_eq!(one.budget.take(&user, Position::Start, 3, WINDOW).await.unwrap(), Ok(0));
    backend.pass(WINDOW + fixture.time_tolerance()).await;
    assert_eq!(
        one.budget.take(&user, Position::Start, 3, WINDOW).await.unwrap(),
        Ok(2),
        "a window without a replay frees all"
    );
}

pub(crate) async fn a_refused_replay_does_not_count(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, user) = (backend.process().await, user("u1"));
    let began = Instant::now();
    assert_eq!(process.budget.take(&user, Position::Start, 1, WINDOW).await.unwrap(), Ok(0));
    for second in 1..6 {
        backend.pass(Duration::from_secs(1)).await;
        let ends_in = WINDOW.saturating_sub(passed(fixture, began, Duration::from_secs(second)));
        let taken = process.budget.take(&user, Position::Start, 1, WINDOW).await.unwrap();
        if taken.is_ok() {
            // A busy machine took more than these seconds.
            assert!(
                passed(fixture, began, Duration::from_secs(second)) + fixture.time_tolerance()
                    >= WINDOW
            );
            return;
        }
        assert_refused(taken, ends_in, fixture);
    }
    backend.pass(Duration::from_secs(1) + fixture.time_tolerance()).await;
    assert_eq!(
        process.budget.take(&user, Position::Start, 1, WINDOW).await.unwrap(),
        Ok(0),
        "who kept trying is let in all the same"
    );
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
            asking.spawn(async move {
                process
                    .budget
                    .take(&user, Position::Start, LIMIT, Duration::from_mins(10))
                    .await
                    .unwrap()
            });
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
        assert_eq!(one.budget.take(&user, Position::Start, 3, window).await.unwrap(), Ok(left));
        assert_eq!(two.budget.left(&user, 3, window).await.unwrap(), left);
    }
    assert!(one.budget.take(&user, Position::Start, 3, window).await.unwrap().is_err());
    assert_eq!(two.budget.left(&user, 3, window).await.unwrap(), 0);
    assert_eq!(
        two.budget.left(&user, 2, window).await.unwrap(),
        0,
        "a limit that was lowered leaves nothing"
    );
}

pub(crate) async fn going_on_from_where_a_snapshot_was_capped_is_free_once(fixture: &dyn Fixture) {
    const WITHIN: Duration = Duration::from_mins(1);
    let backend = fixture.open(Options::default()).await;
    let (one, two, user, another) =
        (backend.process().await, backend.process().await, user("u1"), user("u2"));
    let (here, elsewhere) =
        (Position::After(EventId::timed(7, 1)), Position::After(EventId::timed(7, 2)));
    assert_eq!(one.budget.take(&user, Position::Start, 1, WINDOW).await.unwrap(), Ok(0));
    for _ in 0..2 {
        one.budget.allow_continuation(&user, here, WITHIN).await.unwrap();
    }
    assert!(
        two.budget.take(&user, elsewhere, 1, WINDOW).await.unwrap().is_err(),
        "only from there"
    );
    assert_eq!(
        one.budget.take(&another, here, 1, WINDOW).await.unwrap(),
        Ok(0),
        "only for that user"
    );
    assert_eq!(
        two.budget.take(&user, here, 1, WINDOW).await.unwrap(),
        Ok(0),
        "by whichever process"
    );
    assert_eq!(
        one.budget.take(&user, here, 1, WINDOW).await.unwrap(),
        Ok(0),
        "as often as it was allowed"
    );
    assert!(
        one.budget.take(&user, here, 1, WINDOW).await.unwrap().is_err(),
        "each allowance is used once"
    );
}

pub(crate) async fn a_continuation_is_allowed_for_a_time(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, user, cursor) =
        (backend.process().await, user("u1"), Position::After(EventId::timed(7, 1)));
    let window = Duration::from_mins(10);
    assert_eq!(process.budget.take(&user, Position::Start, 1, window).await.unwrap(), Ok(0));
    process.budget.allow_continuation(&user, cursor, Duration::from_secs(1)).await.unwrap();
    backend.pass(Duration::from_secs(2)).await;
    assert!(process.budget.take(&user, cursor, 1, window).await.unwrap().is_err());
}

pub(crate) async fn promise_7_a_bounded_number_of_continuations_is_kept(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, user) = (backend.process().await, user("u1"));
    let cursor = |n: usize| Position::After(EventId::timed(7, n as u64));
    assert_eq!(process.budget.take(&user, Position::Start, 1, WINDOW).await.unwrap(), Ok(0));
    for n in 0..=CONTINUATIONS_MAX {
        process.budget.allow_continuation(&user, cursor(n), Duration::from_mins(1)).await.unwrap();
    }
    assert!(
        process.budget.take(&user, cursor(0), 1, WINDOW).await.unwrap().is_err(),
        "the oldest gave way"
    );
    assert!(
        process.budget.take(&user, cursor(CONTINUATIONS_MAX), 1, WINDOW).await.unwrap().is_ok()
    );
}
