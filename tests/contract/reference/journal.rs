//! Ids, repeats, what a page has, what is over age.

use std::{collections::HashMap, time::Duration};

use proptest::{prelude::*, test_runner::TestCaseError};
use rejoin::domain::{
    cursor::Bounds,
    event::Entry,
    idempotency_key::IdempotencyKey,
    page::{Page, PageLimit},
    position::{EventId, Position},
    retention::retained_since,
    topic::Topic,
};

use super::{Time, judge_histories};
use crate::contract::{
    backend::{Fixture, Options, Process},
    given::{to_append, topic},
};

const AGE_MAX: Duration = Duration::from_secs(10);
const KEYS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Act {
    /// Appends a batch; the keys are indexes of [`KEYS`], beyond them there is none.
    Append(Vec<usize>),
    /// Moves the clock.
    Step(i64),
    Purge,
    /// Reads after the entry of this index (modulo their number; the last is the start).
    Read {
        after: usize,
        entries_max: usize,
        bytes_max: usize,
    },
}

/// Mostly whole seconds, so that ages are often exactly the limit.
fn step() -> impl Strategy<Value = Act> {
    prop_oneof![4 => (1_i64..5).prop_map(|seconds| seconds * 1_000), 1 => -300_i64..300]
        .prop_map(Act::Step)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => proptest::collection::vec(0_usize..9, 1..6).prop_map(Act::Append),
        4 => step(),
        1 => Just(Act::Purge),
        6 => (0_usize..40, 0_usize..6, 0_usize..900).prop_map(|(after, entries_max, bytes_max)| Act::Read { after, entries_max, bytes_max }),
    ]
}

pub(crate) async fn a_topic_is_as_the_domain_decides(fixture: &dyn Fixture) {
    judge_histories(fixture, act(), |acts| judge(fixture, acts));
}

async fn judge(fixture: &dyn Fixture, acts: Vec<Act>) -> Result<(), TestCaseError> {
    let options = Options { replay_max_age: Some(AGE_MAX), ..Options::default() };
    let backend = fixture.open_with_clock(options).await;
    let mut world = World {
        process: backend.process().await,
        topic: topic("u1"),
        time: Time::begin(&*backend).await,
        head: Position::Start,
        entries: Vec::new(),
        purged: 0,
        keys: HashMap::new(),
        appended: 0,
    };
    // Of a topic that has no entry yet backends say each in its own way where it begins.
    world.head = world.process.bounds(&world.topic).await.head;
    world.append(&[9]).await?;
    for act in acts {
        match act {
            Act::Append(keys) => world.append(&keys).await?,
            Act::Step(by_ms) => world.time.step(by_ms).await,
            Act::Purge => world.purge().await,
            Act::Read { after, entries_max, bytes_max } => {
                world.read(after, PageLimit { entries_max, bytes_max }).await?;
            }
        }
        world.look().await?;
    }
    Ok(())
}

struct World<'a> {
    process: Process,
    topic: Topic,
    time: Time<'a>,
    head: Position,
    /// Everything that was ever appended.
    entries: Vec<Entry>,
    /// How many of them a purge has removed.
    purged: usize,
    keys: HashMap<&'static str, EventId>,
    appended: usize,
}

impl World<'_> {
    async fn append(&mut self, keys: &[usize]) -> Result<(), TestCaseError> {
        let (mut batch, mut expected) = (Vec::new(), Vec::new());
        for key in keys {
            let key = KEYS.get(*key).copied();
            self.appended += 1;
            let mut append = to_append(
                &self.topic,
                self.appended * 10_usize.pow(u32::try_from(self.appended % 9).unwrap()),
            );
            append.idempotency_key = key.map(|key| IdempotencyKey::parse(key).unwrap());
            if let Some(first) = key.and_then(|key| self.keys.get(key)) {
                expected.push((*first, true));
            } else {
                let id = self.head.id().unwrap().next(self.time.now());
                self.entries.push(Entry { id, prev: Some(self.head), event: append.event.clone() });
                self.head = id.into();
                self.keys.extend(key.map(|key| (key, id)));
                expected.push((id, false));
            }
            batch.push(append);
        }
        let appended = self.process.append(batch).await;
        prop_assert_eq!(
            appended.iter().map(|appended| (appended.id, appended.duplicate)).collect::<Vec<_>>(),
            expected
        );
        Ok(())
    }

    async fn purge(&mut self) {
        self.process.journal.purge(self.topic.user().unwrap()).await.unwrap();
        self.purged = self.entries.len();
    }

    /// What counts at this moment.
    fn retained(&self) -> &[Entry] {
        let since = retained_since(self.time.now(), Some(AGE_MAX)).as_ms();
        let over = self.entries.partition_point(|entry| entry.id.major() < since);
        &self.entries[over.max(self.purged)..]
    }

    async fn read(&self, after: usize, limit: PageLimit) -> Result<(), TestCaseError> {
        let after = self
            .entries
            .get(after % (self.entries.len() + 1))
            .map_or(Position::Start, |entry| entry.id.into());
        let page = self.process.journal.read(&self.topic, after, limit).await.unwrap();
        let entries = self.retained().iter().filter(|entry| after.is_before(entry.id)).cloned();
        let expected = Page::of(entries, limit, page.bounds);
        prop_assert_eq!(
            without_first_prev(page, &self.entries[0]),
            without_first_prev(expected, &self.entries[0])
        );
        Ok(())
    }

    async fn look(&self) -> Result<(), TestCaseError> {
        let length = self.process.journal.length(self.topic.user().unwrap()).await.unwrap();
        let Bounds { oldest, head, .. } = self.process.bounds(&self.topic).await;
        let retained = self.retained();
        prop_assert_eq!(length, retained.len() as u64);
        prop_assert_eq!(oldest, retained.first().map(|entry| entry.id));
        prop_assert!(
            retained.is_empty() || head == self.head,
            "the head is {head:?} instead of {:?}",
            self.head
        );
        Ok(())
    }
}

/// Backends say each in its own way what the very first entry follows.
fn without_first_prev(mut page: Page, first: &Entry) -> Page {
    page.entries
        .iter_mut()
        .filter(|entry| entry.id == first.id)
        .for_each(|entry| entry.prev = None);
    page
}
