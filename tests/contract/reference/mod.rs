//! The domain's functions as the reference: whatever a backend's server decides by itself, in a
//! script or an SQL function, is compared with what the domain decides on the same history.
//!
//! The backend's clock stands still and is set by the history, so that answers have to be equal,
//! ids and times included.

mod journal;
mod limits;
mod messages;

use std::fmt::Debug;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use rejoin::domain::timestamp::Timestamp;
use tokio::{runtime::Handle, task::block_in_place};

pub(crate) use self::{
    journal::a_topic_is_as_the_domain_decides,
    limits::leases_and_budgets_are_as_the_domain_decides,
    messages::a_message_is_as_the_domain_decides,
};
use crate::contract::backend::{Backend, Fixture};

/// When each history begins.
const BEGINNING_MS: u64 = 1_800_000_000_000;

/// Fewest histories of a law; `REFERENCE_HISTORIES` sets another number.
const HISTORIES_MIN: u32 = 16;

/// Judges a number of generated histories.
fn judge_histories<Act: Debug, Judging: Future<Output = Result<(), TestCaseError>>>(
    fixture: &dyn Fixture,
    act: impl Strategy<Value = Act>,
    judge: impl Fn(Vec<Act>) -> Judging,
) {
    let wanted =
        std::env::var("REFERENCE_HISTORIES").ok().map(|count| count.parse().expect("a number"));
    let cases = wanted.unwrap_or_else(|| fixture.property_cases().max(HISTORIES_MIN));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let histories = proptest::collection::vec(act, 1..80);
    let tried = block_in_place(|| {
        TestRunner::new(config).run(&histories, |acts| Handle::current().block_on(judge(acts)))
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}

/// The time of a history: what the backend's clock shows, and what the domain is told.
struct Time<'a> {
    backend: &'a dyn Backend,
    shown_ms: u64,
    latest_ms: u64,
}

impl<'a> Time<'a> {
    async fn begin(backend: &'a dyn Backend) -> Self {
        backend.set_clock_ms(BEGINNING_MS).await;
        Self { backend, shown_ms: BEGINNING_MS, latest_ms: BEGINNING_MS }
    }

    async fn step(&mut self, by_ms: i64) {
        self.shown_ms = self.shown_ms.checked_add_signed(by_ms).unwrap();
        self.latest_ms = self.latest_ms.max(self.shown_ms);
        self.backend.set_clock_ms(self.shown_ms).await;
    }

    /// The time that the backend goes by.
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(if self.backend.follows_steps_back() {
            self.shown_ms
        } else {
            self.latest_ms
        })
    }
}
