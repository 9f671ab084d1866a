//! Limits over backends that fail, and over time.

use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures_util::FutureExt;

use super::*;
use crate::ports::{
    backend_error::{BackendError, BackendErrorKind},
    limits::{MockConnectionLeases, MockReplayBudget},
};
use crate::testing::SeededEntropy;

const OPTIONS: LimitsOptions = LimitsOptions {
    max_concurrent_per_user: Some(2),
    replay_budget_requests_per_window: Some(3),
    replay_budget_window: Duration::from_mins(1),
};

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn away() -> BackendError {
    BackendError::new(BackendErrorKind::Unavailable, "test")
}

fn limits(leases: MockConnectionLeases, budget: MockReplayBudget) -> Arc<Limits> {
    Limits::new(OPTIONS, Arc::new(leases), Arc::new(budget), Arc::new(SeededEntropy::of(1)))
}

/// Every lease that a mock was asked to hold or to give up, in order.
type Calls = Arc<Mutex<Vec<(UserId, LeaseId)>>>;

fn recorded(calls: &Calls, leases: &[(UserId, LeaseId)]) {
    calls.lock().unwrap().extend_from_slice(leases);
}

/// Leases that are all granted; what is renewed and what is released is recorded.
fn granting(renewed: &Calls, released: &Calls) -> MockConnectionLeases {
    let mut leases = MockConnectionLeases::new();
    let (renewed, released) = (Arc::clone(renewed), Arc::clone(released));
    leases.expect_acquire().returning(|_, _, _, _| Ok(true));
    leases.expect_renew().returning(move |leases, ttl| {
        assert!(leases.len() <= LEASES_PER_CALL && ttl == LEASE_TTL);
        recorded(&renewed, leases);
        Ok(())
    });
    leases.expect_release().returning(move |leases| {
        assert!(leases.len() <= LEASES_PER_CALL);
        recorded(&released, leases);
        Ok(())
    });
    leases
}

#[tokio::test]
async fn while_the_backend_is_away_this_process_counts_alone() {
    let mut leases = MockConnectionLeases::new();
    leases.expect_acquire().returning(|_, _, _, _| Err(away()));
    let mut budget = MockReplayBudget::new();
    budget.expect_take().returning(|_, _, _, _| Err(away()));
    let limits = limits(leases, budget);
    let (u1, u2) = (user("u1"), user("u2"));
    let first = limits.connect(&u1).await.unwrap();
    let _second = limits.connect(&u1).await.unwrap();
    let refused = limits.connect(&u1).await.err();
    assert_eq!(
        refused,
        Some(TooManyConnections { connections_max: 2, retry_after: SLOT_RETRY_AFTER })
    );
    assert!(limits.connect(&u2).await.is_ok(), "one user's connections are not another's");
    drop(first);
    assert!(limits.connect(&u1).await.is_ok());
    for _ in 0..10 {
        assert_eq!(
            limits.replay(&u1, Position::Start).await,
            Ok(()),
            "nobody is kept from what they missed"
        );
    }
}

#[tokio::test]
async fn a_refusal_of_the_backend_leaves_nothing_held() {
    let mut leases = MockConnectionLeases::new();
    let mut answers = [false, false, false, true, true].into_iter();
    leases
        .expect_acquire()
        .withf(|_, _, cap, ttl| (*cap, *ttl) == (2, LEASE_TTL))
        .returning(move |_, _, _, _| Ok(answers.next().unwrap()));
    let limits = limits(leases, MockReplayBudget::new());
    for _ in 0..3 {
        assert!(limits.connect(&user("u1")).await.is_err());
        assert_eq!(limits.connections(), 0);
    }
    let held = [limits.connect(&user("u1")).await.ok(), limits.connect(&user("u1")).await.ok()];
    assert!(held.iter().all(Option::is_some));
    assert_eq!(limits.connections(), 2);
    // This process knows by itself that there is no slot; the backend, which would have no answer,
    // is not asked.
    assert!(limits.connect(&user("u1")).await.is_err());
}

#[tokio::test]
async fn without_limits_nobody_is_asked() {
    let options = LimitsOptions {
        max_concurrent_per_user: None,
        replay_budget_requests_per_window: None,
        ..OPTIONS
    };
    let limits = Limits::new(
        options,
        Arc::new(MockConnectionLeases::new()),
        Arc::new(MockReplayBudget::new()),
        Arc::new(SeededEntropy::of(1)),
    );
    let keeper = tokio::spawn(Arc::clone(&limits).keep_leases());
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(limits.connect(&user("u1")).await.unwrap());
    }
    assert_eq!(
        (limits.connections(), limits.replay(&user("u1"), Position::Start).await),
        (100, Ok(()))
    );
    held.clear();
    tokio::task::yield_now().await;
    assert_eq!(limits.connections(), 0);
    assert!(!keeper.is_finished(), "a call that a mock did not expect ends the task");
}

#[tokio::test]
async fn the_budget_of_the_backend_is_what_counts() {
    let exhausted = Exhausted { retry_after: Duration::from_secs(7) };
    let mut budget = MockReplayBudget::new();
    let mut answers = [Ok(1), Ok(0), Err(exhausted)].into_iter();
    budget
        .expect_take()
        .withf(|_, _, limit, window| (*limit, *window) == (3, Duration::from_mins(1)))
        .returning(move |_, _, _, _| Ok(answers.next().unwrap()));
    let limits = limits(MockConnectionLeases::new(), budget);
    for expected in [Ok(()), Ok(()), Err(exhausted)] {
        assert_eq!(limits.replay(&user("u1"), Position::Start).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_renewed_and_what_is_dropped_is_given_back() {
    let (renewed, released) = (Calls::default(), Calls::default());
    let limits = limits(granting(&renewed, &released), MockReplayBudget::new());
    let keeper = tokio::spawn(Arc::clone(&limits).keep_leases());
    let (kept, dropped) =
        (limits.connect(&user("u1")).await.unwrap(), limits.connect(&user("u2")).await.unwrap());
    let ids = ((kept.user.clone(), kept.id), (dropped.user.clone(), dropped.id));
    tokio::time::sleep(LEASE_TTL).await;
    for lease in [&ids.0, &ids.1] {
        let times = renewed.lock().unwrap().iter().filter(|call| *call == lease).count();
        assert!(times >= 2, "a lease outlives its time only if it is renewed within it");
    }
    drop(dropped);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        *released.lock().unwrap(),
        std::slice::from_ref(&ids.1),
        "at once, and not at the next renewal"
    );
    renewed.lock().unwrap().clear();
    tokio::time::sleep(LEASE_TTL).await;
    assert!(
        renewed.lock().unwrap().iter().all(|call| *call == ids.0),
        "what was given back is not taken up again"
    );
    assert_eq!(limits.connections(), 1);
    keeper.abort();
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_again() {
    let mut leases = MockConnectionLeases::new();
    let tries = Arc::new(AtomicUsize::new(0));
    leases.expect_acquire().returning(|_, _, _, _| Ok(true));
    leases.expect_renew().returning({
        let tries = Arc::clone(&tries);
        move |_, _| if tries.fetch_add(1, Ordering::SeqCst) < 3 { Err(away()) } else { Ok(()) }
    });
    let limits = limits(leases, MockReplayBudget::new());
    let keeper = tokio::spawn(Arc::clone(&limits).keep_leases());
    let _held = limits.connect(&user("u1")).await.unwrap();
    tokio::time::sleep(RENEW_EVERY * 6).await;
    assert!(tries.load(Ordering::SeqCst) >= 5, "{tries:?}");
    keeper.abort();
}

#[tokio::test(start_paused = true)]
async fn many_leases_go_in_several_calls() {
    let (renewed, released) = (Calls::default(), Calls::default());
    let options = LimitsOptions { max_concurrent_per_user: Some(10_000), ..OPTIONS };
    let limits = Limits::new(
        options,
        Arc::new(granting(&renewed, &released)),
        Arc::new(MockReplayBudget::new()),
        Arc::new(SeededEntropy::of(1)),
    );
    let keeper = tokio::spawn(Arc::clone(&limits).keep_leases());
    let mut held = Vec::new();
    for _ in 0..3 * LEASES_PER_CALL / 2 {
        held.push(limits.connect(&user("u1")).await.unwrap());
    }
    tokio::time::sleep(RENEW_EVERY / 2).await;
    assert_eq!(renewed.lock().unwrap().len(), held.len());
    // Those that end together with the process are given back too.
    let count = held.len();
    held.clear();
    keeper.abort();
    limits.give_back().await;
    assert_eq!((released.lock().unwrap().len(), limits.connections()), (count, 0));
}

/// A backend that takes a request for a lease, and never answers.
struct Silent;

#[async_trait]
impl ConnectionLeases for Silent {
    async fn acquire(
        &self,
        _: &UserId,
        _: LeaseId,
        _: u32,
        _: Duration,
    ) -> Result<bool, BackendError> {
        pending().await
    }

    async fn renew(&self, _: &[(UserId, LeaseId)], _: Duration) -> Result<(), BackendError> {
        Err(away())
    }

    async fn release(&self, _: &[(UserId, LeaseId)]) -> Result<(), BackendError> {
        Err(away())
    }

    async fn count(&self, _: &UserId) -> Result<u32, BackendError> {
        Err(away())
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_while_it_waits_holds_nothing() {
    let limits = Limits::new(
        OPTIONS,
        Arc::new(Silent),
        Arc::new(MockReplayBudget::new()),
        Arc::new(SeededEntropy::of(1)),
    );
    for _ in 0..5 {
        let u1 = user("u1");
        let mut waiting = std::pin::pin!(limits.connect(&u1));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(limits.connections(), 1, "it counts while it waits");
    }
    assert_eq!(limits.connections(), 0);
    assert_eq!(limits.held().unconfirmed_leases.len(), 5, "the backend may have granted them");
}
