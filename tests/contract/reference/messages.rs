//! Messages: opening, appending, stopping, silence, removal.

use std::{collections::HashMap, sync::Arc, time::Duration};

use proptest::{prelude::*, test_runner::TestCaseError};
use rejoin::domain::{
    cursor::Bounds,
    event::{Content, Entry, Event, Last},
    idempotency_key::IdempotencyKey,
    message::{AppendRefusal, AppendTarget, Message, MessageAppend, Observed, append_batch},
    page::{Page, PageLimit},
    position::{EventId, Position},
    topic::{MessageId, Topic, UserId},
};
use uuid::Uuid;

use super::{Time, judge_histories};
use crate::contract::{
    backend::{Fixture, Options, Process},
    given::user,
};

const OWNERS: [&str; 2] = ["u1", "u2"];
const KEYS: [&str; 2] = ["a", "b"];

#[derive(Clone, Debug)]
enum Act {
    Open { owner: usize, takeover: bool },
    Append { epoch: Option<u64>, batch: Vec<NewEvent> },
    Heartbeat { epoch: Option<u64> },
    Stop,
    Delete,
    Sweep { silent_ms: u64 },
    Step(i64),
    Read { after: Option<u64>, entries_max: usize, bytes_max: usize },
}

#[derive(Clone, Debug)]
struct NewEvent {
    event_type: &'static str,
    payload: u8,
    last: Option<bool>,
    sequence_no: Option<u64>,
    key: Option<usize>,
}

fn new_event() -> impl Strategy<Value = NewEvent> {
    let event_type =
        prop_oneof![30 => Just("chunk"), 3 => Just("other"), 1 => Just("end"), 1 => Just("error")];
    let sequence_no = prop_oneof![3 => Just(None), 2 => (0_u64..9).prop_map(Some)];
    let key = prop_oneof![3 => Just(None), 1 => (0_usize..KEYS.len()).prop_map(Some)];
    let last = prop_oneof![40 => Just(None), 1 => any::<bool>().prop_map(Some)];
    (event_type, 0_u8..5, last, sequence_no, key).prop_map(
        |(event_type, payload, last, sequence_no, key)| NewEvent {
            event_type,
            payload,
            last,
            sequence_no,
            key,
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    let epoch = || prop_oneof![3 => Just(None), 2 => (1_u64..4).prop_map(Some)];
    prop_oneof![
        3 => (0_usize..10, proptest::bool::weighted(0.3)).prop_map(|(owner, takeover)| Act::Open { owner: usize::from(owner == 0), takeover }),
        9 => (epoch(), proptest::collection::vec(new_event(), 0..6)).prop_map(|(epoch, batch)| Act::Append { epoch, batch }),
        2 => epoch().prop_map(|epoch| Act::Heartbeat { epoch }),
        1 => Just(Act::Stop),
        1 => Just(Act::Delete),
        // Whole half seconds, so that a silence is often exactly as long as is swept for.
        1 => (0_u64..10).prop_map(|halves| Act::Sweep { silent_ms: halves * 500 }),
        3 => (-1_i64..4).prop_map(|halves| Act::Step(halves * 500)),
        3 => (proptest::option::of(0_u64..12), 0_usize..5, 0_usize..900)
            .prop_map(|(after, entries_max, bytes_max)| Act::Read { after, entries_max, bytes_max }),
    ]
}

pub(crate) async fn a_message_is_as_the_domain_decides(fixture: &dyn Fixture) {
    judge_histories(fixture, act(), |acts| judge(fixture, acts));
}

/// The message as the domain has it.
struct Held {
    message: Message,
    events: Vec<Arc<Event>>,
    keys: HashMap<IdempotencyKey, u64>,
}

impl AppendTarget for Held {
    fn message(&mut self) -> &mut Message {
        &mut self.message
    }

    fn number_of(&mut self, key: &IdempotencyKey) -> Option<u64> {
        self.keys.get(key).copied()
    }

    fn holds(&self, sequence_no: u64, event: &Event) -> bool {
        let there = &self.events[usize::try_from(sequence_no).unwrap()];
        there.is_repeated_by(event)
    }

    fn push(&mut self, sequence_no: u64, append: MessageAppend) {
        self.keys.extend(append.idempotency_key.map(|key| (key, sequence_no)));
        self.events.push(append.event);
    }
}

struct World<'a> {
    id: MessageId,
    process: Process,
    time: Time<'a>,
    held: Option<Held>,
}

async fn judge(fixture: &dyn Fixture, acts: Vec<Act>) -> Result<(), TestCaseError> {
    let backend = fixture.open_with_clock(Options::default()).await;
    let (process, time) = (backend.process().await, Time::begin(&*backend).await);
    let mut world = World { id: MessageId::from(Uuid::from_u128(7)), process, time, held: None };
    // A clock that never goes back has to have been looked at.
    assert_eq!(world.process.messages.observe(&world.id).await.unwrap(), None);
    for act in acts {
        world.act(act).await?;
        let observed = world.process.messages.observe(&world.id).await.unwrap();
        prop_assert_eq!(observed, world.observed());
    }
    Ok(())
}

impl World<'_> {
    fn observed(&self) -> Option<Observed> {
        self.held.as_ref().map(|held| Observed::at(self.time.now(), held.message.clone()))
    }

    async fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
        let now = self.time.now();
        match act {
            Act::Open { owner, takeover } => self.open(&user(OWNERS[owner]), takeover).await?,
            Act::Append { epoch, batch } => {
                let batch: Vec<MessageAppend> = batch.iter().map(append_of).collect();
                let expected = append_batch(self.held.as_mut(), epoch, batch.clone(), now);
                prop_assert_eq!(
                    self.process.messages.append(&self.id, epoch, batch).await.unwrap(),
                    expected
                );
            }
            Act::Heartbeat { epoch } => {
                let answer = self.process.messages.heartbeat(&self.id, epoch).await.unwrap();
                let beat = |held: &mut Held| {
                    held.message
                        .heartbeat(epoch, now)
                        .map(|()| Observed::at(now, held.message.clone()))
                };
                prop_assert_eq!(
                    answer,
                    self.held.as_mut().map_or(Err(AppendRefusal::Unknown), beat)
                );
            }
            Act::Stop => {
                let observed = self.process.messages.request_stop(&self.id).await.unwrap();
                if let Some(held) = &mut self.held {
                    held.message.request_stop();
                }
                prop_assert_eq!(observed, self.observed());
            }
            Act::Delete => prop_assert_eq!(
                self.process.messages.delete(&self.id).await.unwrap(),
                self.held.take().is_some()
            ),
            Act::Sweep { silent_ms } => {
                let silent_for = Duration::from_millis(silent_ms);
                let removed = self.process.messages.sweep(silent_for, 10).await.unwrap();
                let is_over = self
                    .held
                    .as_ref()
                    .is_some_and(|held| held.message.producer_seen_at < now.minus(silent_for));
                prop_assert_eq!(removed, usize::from(is_over));
                self.held = self.held.take().filter(|_| !is_over);
            }
            Act::Step(by_ms) => self.time.step(by_ms).await,
            Act::Read { after, entries_max, bytes_max } => {
                self.read(after, PageLimit { entries_max, bytes_max }).await?;
            }
        }
        Ok(())
    }

    async fn open(&mut self, owner: &UserId, takeover: bool) -> Result<(), TestCaseError> {
        let existing = self.held.as_ref().map(|held| held.message.clone());
        let expected = Message::open(existing, owner, takeover, self.time.now());
        prop_assert_eq!(
            &self.process.messages.open(&self.id, owner, takeover).await.unwrap(),
            &expected
        );
        if let Ok(opened) = expected {
            let message = opened.observed.message;
            match &mut self.held {
                Some(held) => held.message = message,
                None => {
                    self.held = Some(Held { message, events: Vec::new(), keys: HashMap::new() });
                }
            }
        }
        Ok(())
    }

    async fn read(&self, after: Option<u64>, limit: PageLimit) -> Result<(), TestCaseError> {
        let after = after.map_or(Position::Start, |number| EventId::sequence(number).into());
        let events = self.held.as_ref().map_or(&[][..], |held| &held.events);
        let entries = events.iter().zip(0..).map(|(event, number)| {
            let id = EventId::sequence(number);
            Entry { id, prev: Some(Position::before(id)), event: Arc::clone(event) }
        });
        let bounds = self.held.as_ref().map_or(Bounds::of_message(0), |held| held.message.bounds());
        let expected = Page::of(entries.filter(|entry| after.is_before(entry.id)), limit, bounds);
        prop_assert_eq!(
            self.process
                .messages
                .read(&Topic::Message(self.id.clone()), after, limit)
                .await
                .unwrap(),
            expected
        );
        Ok(())
    }
}

fn append_of(NewEvent { event_type, payload, last, sequence_no, key }: &NewEvent) -> MessageAppend {
    let digits = format!("{payload}{}", "0".repeat(usize::from(*payload) * 90));
    let event = rejoin::testing::event_of_type(event_type, &digits);
    let content = match payload {
        0..3 => event.content.clone(),
        3 => Content::Data { text: digits.into(), event: None },
        _ => Content::Nothing,
    };
    let last = Last::of(&event.event_type, *last, None);
    let event = Arc::new(Event { content, last, ..(*event).clone() });
    let idempotency_key = key.map(|key| IdempotencyKey::parse(KEYS[key]).unwrap());
    MessageAppend { event, sequence_no: *sequence_no, idempotency_key }
}
