//! Leases, the sliding window of replays, and continuations.

use std::time::Duration;

use proptest::{prelude::*, test_runner::TestCaseError};
use rejoin::domain::{
    leases::{LeaseId, Leases},
    position::{EventId, Position},
    replay_budget::{Continuations, SlidingWindow},
};
use uuid::Uuid;

use super::{Time, judge_histories};
use crate::contract::{
    backend::{Fixture, Options},
    given::user,
};

#[derive(Clone, Debug)]
enum Act {
    Acquire { lease: u128, cap: u32, ttl_ms: u64 },
    Renew { lease: u128, ttl_ms: u64 },
    Release { lease: u128 },
    Take { cursor: u64, limit: u32 },
    Allow { cursor: u64, within_ms: u64 },
    Step(i64),
}

/// Servers remove keys by clocks of their own: nothing here is over before a history is.
const MINUTE_MS: u64 = 60_000;
const WINDOW: Duration = Duration::from_mins(3);

fn act() -> impl Strategy<Value = Act> {
    // Whole half minutes, so that times are often exactly over.
    let ttl_ms = || (2_u64..6).prop_map(|halves| halves * MINUTE_MS / 2);
    prop_oneof![
        4 => (0_u128..6, 1_u32..4, ttl_ms()).prop_map(|(lease, cap, ttl_ms)| Act::Acquire { lease, cap, ttl_ms }),
        2 => (0_u128..6, ttl_ms()).prop_map(|(lease, ttl_ms)| Act::Renew { lease, ttl_ms }),
        1 => (0_u128..6).prop_map(|lease| Act::Release { lease }),
        5 => (0_u64..3, 0_u32..5).prop_map(|(cursor, limit)| Act::Take { cursor, limit }),
        2 => (0_u64..3, ttl_ms()).prop_map(|(cursor, within_ms)| Act::Allow { cursor, within_ms }),
        3 => (1_i64..4).prop_map(|halves| Act::Step(halves * 30_000)),
    ]
}

pub(crate) async fn leases_and_budgets_are_as_the_domain_decides(fixture: &dyn Fixture) {
    judge_histories(fixture, act(), |acts| judge(fixture, acts));
}

async fn judge(fixture: &dyn Fixture, acts: Vec<Act>) -> Result<(), TestCaseError> {
    let backend = fixture.open_with_clock(Options::default()).await;
    let (process, user) = (backend.process().await, user("u1"));
    let mut time = Time::begin(&*backend).await;
    let (mut leases, mut spent, mut continuations) =
        (Leases::default(), SlidingWindow::default(), Continuations::default());
    let mut held: Vec<u128> = Vec::new();
    let id = |lease| LeaseId(Uuid::from_u128(lease));
    let at = |cursor| Position::After(EventId::timed(cursor, 1));
    for act in acts {
        let now = time.now();
        match act {
            // A lease's id is used once.
            Act::Acquire { lease, .. } if held.contains(&lease) => {}
            Act::Acquire { lease, cap, ttl_ms } => {
                let ttl = Duration::from_millis(ttl_ms);
                let granted = leases.acquire(now, id(lease), cap, ttl);
                held.extend(granted.then_some(lease));
                prop_assert_eq!(
                    process.leases.acquire(&user, id(lease), cap, ttl).await.unwrap(),
                    granted
                );
            }
            Act::Renew { lease, ttl_ms } => {
                let ttl = Duration::from_millis(ttl_ms);
                leases.renew(now, id(lease), ttl);
                held.push(lease);
                process.leases.renew(&[(user.clone(), id(lease))], ttl).await.unwrap();
            }
            Act::Release { lease } => {
                leases.release(id(lease));
                process.leases.release(&[(user.clone(), id(lease))]).await.unwrap();
            }
            Act::Take { cursor, limit } => {
                let is_free = continuations.take(at(cursor), now);
                let expected = if is_free {
                    Ok(spent.left(now, limit, WINDOW))
                } else {
                    spent.take(now, limit, WINDOW)
                };
                prop_assert_eq!(
                    process.budget.take(&user, at(cursor), limit, WINDOW).await.unwrap(),
                    expected
                );
            }
            Act::Allow { cursor, within_ms } => {
                let within = Duration::from_millis(within_ms);
                continuations.allow(at(cursor), now, now.plus(within));
                process.budget.allow_continuation(&user, at(cursor), within).await.unwrap();
            }
            Act::Step(by_ms) => time.step(by_ms).await,
        }
        let now = time.now();
        prop_assert_eq!(process.leases.count(&user).await.unwrap() as usize, leases.count_at(now));
        prop_assert_eq!(
            process.budget.left(&user, 4, WINDOW).await.unwrap(),
            spent.left(now, 4, WINDOW)
        );
    }
    Ok(())
}
