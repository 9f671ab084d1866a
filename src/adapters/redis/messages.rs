//! Messages: what may be appended is decided here, on what was read, and done on the server if nothing has changed since.
//!
//! Invariant: a decision is carried out on the very state that it was made on, or not at all; then it is made again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use super::{
    failure::about,
    journal::{RedisJournal, ms, senseless},
    message_state::{MessageState, unique},
    scripts::{CHANGE_MESSAGE, DELETE_MESSAGE, LOOK_AT_MESSAGE, SILENT_MESSAGES},
    stored_entry::stream_id_of,
};
use crate::{
    adapters::stored_event,
    domain::{
        event::Event,
        idempotency_key::IdempotencyKey,
        message::{AppendRefusal, Message, Observed, OpenRefusal, Place},
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        messages::{MessageAppend, MessageAppended, Messages, Opened},
    },
};

/// How often a decision is made anew when others change the message meanwhile. Each time one of them gets through.
const ATTEMPTS_MAX: usize = 1_000;

/// How many indexes are looked at together: a cluster has one for each slot. The driver takes a hundred calls at once, and lets
/// the others wait; the sweep leaves room for them.
pub(super) const INDEXES_AT_ONCE: usize = 64;

/// What there is of a message.
struct Look {
    now: Timestamp,
    state: Option<MessageState>,
    /// Numbers that idempotency keys got, of whichever incarnation: `<incarnation>:<number>`.
    numbers_of_keys: HashMap<IdempotencyKey, String>,
    /// Events under numbers that were asked for.
    events: HashMap<u64, Event>,
}

/// The time, the fields, what the keys hold, the envelopes under the numbers.
type LookAnswer = (u64, HashMap<String, String>, Vec<Option<String>>, Vec<Option<Vec<u8>>>);

/// What is to become of it.
struct Change {
    state: MessageState,
    appended: Vec<(u64, Arc<Event>)>,
    numbers_of_keys: Vec<(IdempotencyKey, u64)>,
}

impl Change {
    fn of(state: &MessageState) -> Self {
        Self { state: state.clone(), appended: Vec::new(), numbers_of_keys: Vec::new() }
    }
}

impl RedisJournal {
    async fn look(&self, id: MessageId, batch: &[MessageAppend]) -> Result<Look, BackendError> {
        let topic = Topic::Message(id);
        let keys: Vec<&IdempotencyKey> = batch.iter().filter_map(|append| append.idempotency_key.as_ref()).collect();
        let numbers: Vec<u64> = batch.iter().filter_map(|append| append.sequence_no).collect();
        let names = [self.keys.message_state(id), self.keys.stream(&topic)];
        let names: Vec<String> = names.into_iter().chain(keys.iter().map(|key| self.keys.idempotency(&topic, key))).collect();
        let stream_ids: Vec<String> = numbers.iter().map(|number| stream_id_of(*number)).collect();
        let (now_ms, fields, held, envelopes): LookAnswer =
            self.appends.run("look at the message", &LOOK_AT_MESSAGE, &names, &stream_ids).await.map_err(about(&topic))?;
        let state = MessageState::read(&fields);
        if state.is_none() && !fields.is_empty() {
            return Err(BackendError::damaged("look at the message", topic, "its state is not understood: remove its keys"));
        }
        let event = |envelope: Vec<u8>| stored_event::decode(&envelope, Timestamp::from_ms(0), &self.options.registry).ok();
        Ok(Look {
            now: Timestamp::from_ms(now_ms),
            state,
            numbers_of_keys: keys.into_iter().cloned().zip(held).filter_map(|(key, held)| Some((key, held?))).collect(),
            events: numbers.into_iter().zip(envelopes).filter_map(|(number, envelope)| Some((number, event(envelope?)?))).collect(),
        })
    }

    /// Carries a change out. `false` if the message is no longer what it was when `seen` was read.
    async fn change(&self, id: MessageId, seen: Option<&MessageState>, change: Change) -> Result<bool, BackendError> {
        let (topic, Change { state, appended, numbers_of_keys }) = (Topic::Message(id), change);
        let mut keys = vec![self.keys.message_state(id), self.keys.stream(&topic), self.keys.messages_by_silence(id)];
        keys.extend(numbers_of_keys.iter().map(|(key, _)| self.keys.idempotency(&topic, key)));
        let fields = state.fields();
        let mut arguments = vec![
            seen.map(|seen| seen.version.clone()).unwrap_or_default(),
            unique(),
            id.to_string(),
            self.keys.channel(&topic),
            state.message.producer_seen_at.as_ms().to_string(),
            ms(self.options.idempotency_window).to_string(),
            self.keys.database_mark(),
            fields.len().to_string(),
        ];
        arguments.extend(fields.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        arguments.push(appended.len().to_string());
        for (number, event) in &appended {
            arguments.extend([stream_id_of(*number), number.to_string(), stored_event::encode(&topic, event)]);
        }
        arguments.extend(numbers_of_keys.iter().map(|(_, number)| format!("{}:{number}", state.incarnation)));
        self.appends.run("change the message", &CHANGE_MESSAGE, &keys, &arguments).await.map_err(about(&topic))
    }

    /// Decides on what there is, and carries it out, until that succeeds. `decide` gives its answer, and a change unless
    /// all stays as it is.
    async fn decide<T>(
        &self,
        id: MessageId,
        batch: &[MessageAppend],
        mut decide: impl FnMut(&Look) -> (T, Option<Change>) + Send,
    ) -> Result<T, BackendError>
    where
        T: Send,
    {
        for _ in 0..ATTEMPTS_MAX {
            let look = self.look(id, batch).await?;
            let (answer, change) = decide(&look);
            let Some(change) = change else { return Ok(answer) };
            if self.change(id, look.state.as_ref(), change).await? {
                return Ok(answer);
            }
        }
        Err(BackendError::new(BackendErrorKind::Timeout, "change a message that many change"))
    }

    async fn silent_messages(&self, index: String, arguments: &[String; 2]) -> Result<(String, Vec<String>), BackendError> {
        self.appends.run("look for silent messages", &SILENT_MESSAGES, &[index], arguments).await
    }

    async fn remove(&self, id: MessageId, seen_before: &str) -> Result<bool, BackendError> {
        let topic = Topic::Message(id);
        let keys = [self.keys.message_state(id), self.keys.stream(&topic), self.keys.messages_by_silence(id)];
        let arguments = [id.to_string(), self.keys.channel(&topic), seen_before.to_owned()];
        self.appends.run("delete the message", &DELETE_MESSAGE, &keys, &arguments).await.map_err(about(&topic))
    }
}

impl Look {
    fn observed(&self, message: &Message) -> Observed {
        let silent_ms = self.now.as_ms().saturating_sub(message.producer_seen_at.as_ms());
        Observed { message: message.clone(), silent_for: Duration::from_millis(silent_ms) }
    }

    fn append(
        &self,
        change: &mut Change,
        epoch: Option<u64>,
        MessageAppend { event, sequence_no, idempotency_key }: &MessageAppend,
    ) -> Result<MessageAppended, AppendRefusal> {
        let message = &change.state.message;
        let stop_requested = message.stop_requested;
        let repeat_of = |sequence_no| Ok(MessageAppended { sequence_no, duplicate: true, stop_requested });
        let place = message.place(epoch, *sequence_no);
        // A producer that is fenced has no say, not even of what it said before.
        if !matches!(place, Err(AppendRefusal::Fenced { .. }))
            && let Some(first) = idempotency_key.as_ref().and_then(|key| self.number_of(key, change))
        {
            return repeat_of(first);
        }
        let number = match place? {
            Place::Taken(number) if self.is_repeat(change, number, event) => return repeat_of(number),
            Place::Taken(number) => return Err(AppendRefusal::Conflict { sequence_no: number }),
            Place::Next(number) => number,
        };
        change.state.message.appended(&event.event_type, self.now);
        change.appended.push((number, Arc::clone(event)));
        change.numbers_of_keys.extend(idempotency_key.clone().map(|key| (key, number)));
        Ok(MessageAppended { sequence_no: number, duplicate: false, stop_requested })
    }

    fn number_of(&self, key: &IdempotencyKey, change: &Change) -> Option<u64> {
        let now = change.numbers_of_keys.iter().find(|(known, _)| known == key).map(|(_, number)| *number);
        let before = || self.numbers_of_keys.get(key)?.strip_prefix(&change.state.incarnation)?.strip_prefix(':')?.parse().ok();
        now.or_else(before)
    }

    fn is_repeat(&self, change: &Change, number: u64, event: &Event) -> bool {
        let now = change.appended.iter().find(|(taken, _)| *taken == number).map(|(_, event)| &**event);
        let there = now.or_else(|| self.events.get(&number));
        there.is_some_and(|there| there.event_type == event.event_type && there.payload == event.payload)
    }
}

#[async_trait]
impl Messages for RedisJournal {
    async fn open(&self, id: MessageId, owner: &UserId, takeover: bool) -> Result<Result<Opened, OpenRefusal>, BackendError> {
        self.decide(id, &[], |look| {
            let Some(state) = &look.state else {
                let state = MessageState::new(Message::opened(owner.clone(), look.now));
                let opened = Opened { observed: look.observed(&state.message), created: true };
                return (Ok(opened), Some(Change::of(&state)));
            };
            let mut change = Change::of(state);
            if let Err(refusal) = change.state.message.open_again(owner, takeover, look.now) {
                return (Err(refusal), None);
            }
            (Ok(Opened { observed: look.observed(&change.state.message), created: false }), Some(change))
        })
        .await
    }

    async fn append(
        &self,
        id: MessageId,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Result<Vec<Result<MessageAppended, AppendRefusal>>, BackendError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.decide(id, &batch, |look| {
            let Some(state) = &look.state else { return (vec![Err(AppendRefusal::Unknown)], None) };
            let (mut change, mut answers) = (Change::of(state), Vec::with_capacity(batch.len()));
            for append in &batch {
                answers.push(look.append(&mut change, epoch, append));
                if answers.last().is_some_and(Result::is_err) {
                    break;
                }
            }
            let changed = !change.appended.is_empty();
            (answers, changed.then_some(change))
        })
        .await
    }

    async fn heartbeat(&self, id: MessageId, epoch: Option<u64>) -> Result<Result<Observed, AppendRefusal>, BackendError> {
        self.decide(id, &[], |look| {
            let Some(state) = &look.state else { return (Err(AppendRefusal::Unknown), None) };
            let mut change = Change::of(state);
            match change.state.message.heartbeat(epoch, look.now) {
                Ok(()) => (Ok(look.observed(&change.state.message)), Some(change)),
                Err(refusal) => (Err(refusal), None),
            }
        })
        .await
    }

    async fn request_stop(&self, id: MessageId) -> Result<Option<Observed>, BackendError> {
        self.decide(id, &[], |look| {
            let Some(state) = &look.state else { return (None, None) };
            let mut change = Change::of(state);
            change.state.message.stop_requested = true;
            (Some(look.observed(&change.state.message)), Some(change))
        })
        .await
    }

    async fn observe(&self, id: MessageId) -> Result<Option<Observed>, BackendError> {
        let look = self.look(id, &[]).await?;
        Ok(look.state.as_ref().map(|state| look.observed(&state.message)))
    }

    async fn delete(&self, id: MessageId) -> Result<bool, BackendError> {
        self.remove(id, "").await
    }

    async fn sweep(&self, silent_for: Duration, messages_max: usize) -> Result<usize, BackendError> {
        let arguments = [ms(silent_for).to_string(), messages_max.to_string()];
        let messages_max = messages_max.min(Semaphore::MAX_PERMITS);
        let room = Semaphore::new(messages_max);
        // Each index by itself, and all of them driven together: a call that is made and then not polled would keep its place
        // among the driver's calls, and so keep out the very one that is waited for meanwhile.
        let indexes = stream::iter(self.keys.all_messages_by_silence()).map(Ok);
        indexes
            .try_for_each_concurrent(INDEXES_AT_ONCE, async |index| {
                if room.available_permits() == 0 {
                    return Ok(());
                }
                let (seen_before, ids) = self.silent_messages(index, &arguments).await?;
                for id in ids {
                    let Ok(place) = room.try_acquire() else { break };
                    let id = id.parse().map(MessageId).map_err(|_| senseless())?;
                    match self.remove(id, &seen_before).await {
                        Ok(true) => place.forget(),
                        Ok(false) => {}
                        Err(error) if error.kind == BackendErrorKind::Damaged => {
                            tracing::debug!(%id, %error, "a message that is over its retention can't be removed");
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })
            .await?;
        Ok(messages_max - room.available_permits())
    }
}
