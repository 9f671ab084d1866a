//! Any sequence of appends, purges, reads and time, judged by a list.
//!
//! The model knows what was appended, and what the bounds say must be gone and must be there; the
//! rest (how much more than its bound a backend keeps) it learns from the first read, and holds the
//! backend to it.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use rejoin::domain::{
    cursor::{Bounds, Continuity},
    event::Entry,
    page::PageLimit,
    position::{EventId, Position},
    topic::Topic,
};
use tokio::{runtime::Handle, task::block_in_place};

use crate::contract::{
    backend::{Backend, Fixture, Options, Process},
    given::{AMPLE, ids, topic},
};

const BOUND: usize = 6;
const AGE_MAX_MS: u64 = 1_000;

#[derive(Clone, Debug)]
enum Act {
    /// Appends so many in a batch, by one of two processes.
    Append { process: usize, count: usize },
    /// Appends to another topic.
    Elsewhere,
    /// Lets so many milliseconds pass.
    Pass(u64),
    /// Removes all.
    Purge,
    /// Reads behind the entry of this index (modulo their number), at most so many.
    Read { from: usize, entries_max: usize },
}

fn act(time_is_free: bool) -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0_usize..2, 1_usize..5).prop_map(|(process, count)| Act::Append { process, count }),
        2 => Just(Act::Elsewhere),
        if time_is_free { 5 } else { 0 } => (0_u64..600).prop_map(Act::Pass),
        1 => Just(Act::Purge),
        6 => (0_usize..100, 0_usize..8).prop_map(|(from, entries_max)| Act::Read { from, entries_max }),
    ]
}

pub(crate) async fn a_topic_behaves_as_a_list_with_a_trimmed_beginning(fixture: &dyn Fixture) {
    let time_is_free = fixture.time_tolerance().is_zero();
    let config =
        Config { cases: fixture.property_cases(), failure_persistence: None, ..Config::default() };
    let acts = (proptest::collection::vec(act(time_is_free), 1..40), any::<bool>());
    let judge =
        |(acts, alone)| Handle::current().block_on(judge(fixture, time_is_free, acts, alone));
    let tried = block_in_place(|| TestRunner::new(config).run(&acts, judge));
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn judge(
    fixture: &dyn Fixture,
    time_is_free: bool,
    acts: Vec<Act>,
    alone: bool,
) -> Result<(), TestCaseError> {
    let replay_max_age = time_is_free.then_some(Duration::from_millis(AGE_MAX_MS));
    let backend =
        fixture.open(Options { stream_maxlen: BOUND, replay_max_age, ..Options::default() }).await;
    let mut world = World {
        slack: backend.trim_slack_entries(),
        processes: [backend.process().await, backend.process().await],
        backend,
        topic: topic("u1"),
        alone,
        log: Vec::new(),
        removed: 0,
        purged: 0,
        now_ms: 0,
        head: Position::Start,
    };
    for act in acts {
        world.act(&act).await?;
        world.observe().await?;
    }
    Ok(())
}

struct World {
    backend: Box<dyn Backend>,
    processes: [Process; 2],
    topic: Topic,
    slack: usize,
    /// Whether this is the only topic.
    alone: bool,
    /// Every id that was told, and when.
    log: Vec<(EventId, u64)>,
    /// How many of the oldest are known to be gone, and how many of them by a purge.
    removed: usize,
    purged: usize,
    now_ms: u64,
    head: Position,
}

impl World {
    async fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match *act {
            Act::Append { process, count } => {
                let told = self.processes[process].append_batch(&self.topic, 0..count).await;
                for id in told {
                    prop_assert!(
                        self.head.is_before(id),
                        "{id} lies behind the head {:?}",
                        self.head
                    );
                    self.head = id.into();
                    self.log.push((id, self.now_ms));
                }
            }
            Act::Elsewhere if self.alone => {}
            Act::Elsewhere => {
                self.processes[0].append_batch(&topic("u2"), 0..2).await;
            }
            Act::Pass(ms) => {
                self.now_ms += ms;
                self.backend.pass(Duration::from_millis(ms)).await;
            }
            Act::Purge => {
                self.processes[1].journal.purge(self.topic.user().unwrap()).await.unwrap();
                self.purged = self.log.len();
                self.removed = self.log.len();
            }
            Act::Read { from, entries_max } => self.read(from, entries_max).await?,
        }
        Ok(())
    }

    fn aged(&self) -> usize {
        self.log.iter().take_while(|(_, at_ms)| self.now_ms - at_ms > AGE_MAX_MS).count()
    }

    /// How many of the oldest have to be gone by now, whatever the backend's slack.
    fn gone_at_least(&self) -> usize {
        self.aged().max(self.purged).max(self.log.len().saturating_sub(BOUND + self.slack))
    }

    /// How many of the oldest may be gone.
    fn gone_at_most(&self) -> usize {
        self.aged().max(self.purged).max(self.log.len().saturating_sub(BOUND))
    }

    /// Looks at all that can be seen, and compares it with all that is known.
    async fn observe(&mut self) -> Result<(), TestCaseError> {
        let page =
            self.processes[0].journal.read(&self.topic, Position::Start, AMPLE).await.unwrap();
        prop_assert!(!page.more);
        let gone = self.log.len() - page.entries.len();
        prop_assert!(
            (self.gone_at_least()..=self.gone_at_most()).contains(&gone),
            "{gone} of {} are gone",
            self.log.len()
        );
        prop_assert!(gone >= self.removed, "what was removed came back");
        self.removed = gone;
        let expected: Vec<_> = self.log[gone..].iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(ids(&page.entries), expected);
        for (entry, before) in page.entries.iter().zip(self.before(gone)) {
            // An entry that was appended when nothing was left before it may name any position in
            // between.
            let prev = entry.prev.expect("the journal knows where it appended");
            let known = before.is_none_or(|before| {
                prev == before.into() || entry.id == page.entries[0].id && prev >= before.into()
            });
            prop_assert!(known && prev.is_before(entry.id), "prev of {} is {prev:?}", entry.id);
        }
        let bounds = page.bounds;
        let later = self.processes[1].bounds(&self.topic).await;
        // Of a topic without entries the head may be now.
        let head = if page.entries.is_empty() { later.head.max(bounds.head) } else { bounds.head };
        prop_assert_eq!(Bounds { head, ..bounds }, later);
        prop_assert_eq!(bounds.oldest, page.entries.first().map(|entry: &Entry| entry.id));
        prop_assert!(bounds.head >= self.head, "the head went back");
        prop_assert_eq!(bounds.continuity(bounds.head), Continuity::Whole);
        self.head = bounds.head;
        let cursors = self.log.iter().map(|(id, _)| Position::After(*id));
        for (cursor, behind) in std::iter::once(Position::Start).chain(cursors).zip(0..) {
            let whole = behind >= gone;
            let continuity = bounds.continuity(cursor);
            prop_assert!(
                whole || continuity == Continuity::Truncated,
                "a silent hole behind {cursor:?}: {bounds:?}"
            );
            // A topic of which nothing is left may be forgotten, and then nobody knows it from
            // others that were.
            let exact = self.alone && !page.entries.is_empty();
            prop_assert!(
                !exact || !whole || continuity == Continuity::Whole,
                "a needless notice behind {cursor:?}: {bounds:?}"
            );
        }
        Ok(())
    }

    /// For each retained entry the one that was appended before it, if there is one.
    fn before(&self, gone: usize) -> impl Iterator<Item = Option<EventId>> {
        (gone..self.log.len()).map(|index| index.checked_sub(1).map(|before| self.log[before].0))
    }

    async fn read(&self, from: usize, entries_max: usize) -> Result<(), TestCaseError> {
        if self.log.is_empty() {
            return Ok(());
        }
        let from = from % self.log.len();
        let limit = PageLimit { entries_max, ..AMPLE };
        let page = self.processes[1]
            .journal
            .read(&self.topic, self.log[from].0.into(), limit)
            .await
            .unwrap();
        let behind: Vec<_> = self.log[(from + 1).max(self.removed.max(self.gone_at_least()))..]
            .iter()
            .map(|(id, _)| *id)
            .collect();
        if self.slack == 0 {
            let count = behind.len().min(entries_max.max(1));
            prop_assert_eq!(ids(&page.entries), &behind[..count]);
            prop_assert_eq!(page.more, count < behind.len());
        }
        Ok(())
    }
}
