//! Messages: what may be appended is decided here, on what was read, and done on the server if
//! nothing has changed since.
//!
//! Invariant: a decision is carried out on the very state that it was made on, or not at all; then
//! it is made again.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use super::{
    failure::about,
    failure::malformed_reply,
    journal::RedisJournal,
    message_state::{MessageState, unique},
    scripts::{CHANGE_MESSAGE, DELETE_MESSAGE, LOOK_AT_MESSAGE, SILENT_MESSAGES},
    stored_entry::stream_id_of,
};
use crate::{
    adapters::backend_kit::stored_event,
    domain::{
        event::Event,
        idempotency_key::IdempotencyKey,
        message::{
            AppendRefusal, AppendTarget, Message, MessageAppend, MessageAppended, Observed,
            OpenRefusal, Opened, append_batch,
        },
        timestamp::{Timestamp, millis},
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        messages::Messages,
    },
};

/// How often a decision is made anew when others change the message meanwhile. Each time one of
/// them gets through.
const ATTEMPTS_MAX: usize = 1_000;

/// How many indexes are looked at together: a cluster has one for each slot. The driver takes a
/// hundred calls at once, and lets the others wait; the sweep leaves room for them.
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
    const fn to(state: MessageState) -> Self {
        Self { state, appended: Vec::new(), numbers_of_keys: Vec::new() }
    }
}

/// A message that is being appended to: as it was found, with what is to change.
struct Appending<'a> {
    look: &'a Look,
    change: Change,
}

impl AppendTarget for Appending<'_> {
    fn message(&mut self) -> &mut Message {
        &mut self.change.state.message
    }

    fn number_of(&mut self, key: &IdempotencyKey) -> Option<u64> {
        let Change { state, numbers_of_keys, .. } = &self.change;
        let now = numbers_of_keys.iter().find(|(known, _)| known == key).map(|(_, number)| *number);
        // The key of a message that was deleted says nothing of the one that has its id now.
        let before = || {
            self.look
                .numbers_of_keys
                .get(key)?
                .strip_prefix(&state.incarnation)?
                .strip_prefix(':')?
                .parse()
                .ok()
        };
        now.or_else(before)
    }

    fn holds(&self, sequence_no: u64, event: &Event) -> bool {
        let now = self
            .change
            .appended
            .iter()
            .find(|(taken, _)| *taken == sequence_no)
            .map(|(_, event)| &**event);
        let there = now.or_else(|| self.look.events.get(&sequence_no));
        there.is_some_and(|there| there.is_repeated_by(event))
    }

    fn push(&mut self, sequence_no: u64, append: MessageAppend) {
        self.change.appended.push((sequence_no, append.event));
        self.change.numbers_of_keys.extend(append.idempotency_key.map(|key| (key, sequence_no)));
    }
}

impl RedisJournal {
    async fn look(&self, id: &MessageId, batch: &[MessageAppend]) -> Result<Look, BackendError> {
        let topic = Topic::Message(id.clone());
        let keys: Vec<&IdempotencyKey> =
            batch.iter().filter_map(|append| append.idempotency_key.as_ref()).collect();
        let numbers: Vec<u64> = batch.iter().filter_map(|append| append.sequence_no).collect();
        let names = [self.keys.message_state(id), self.keys.stream(&topic)];
        let names: Vec<String> = names
            .into_iter()
            .chain(keys.iter().map(|key| self.keys.idempotency(&topic, key)))
            .collect();
        let stream_ids: Vec<String> = numbers.iter().map(|number| stream_id_of(*number)).collect();
        let (now_ms, fields, held, envelopes): LookAnswer = self
            .appends
            .run("look at the message", &LOOK_AT_MESSAGE, &names, &stream_ids)
            .await
            .map_err(about(&topic))?;
        let state = MessageState::read(&fields);
        if state.is_none() && !fields.is_empty() {
            return Err(BackendError::damaged(
                "look at the message",
                topic,
                "its state is not understood: remove its keys",
            ));
        }
        let event = |envelope: Vec<u8>| {
            stored_event::decode(&envelope, Timestamp::from_ms(0), &self.context.registry).ok()
        };
        Ok(Look {
            now: Timestamp::from_ms(now_ms),
            state,
            numbers_of_keys: keys
                .into_iter()
                .cloned()
                .zip(held)
                .filter_map(|(key, held)| Some((key, held?)))
                .collect(),
            events: numbers
                .into_iter()
                .zip(envelopes)
                .filter_map(|(number, envelope)| Some((number, event(envelope?)?)))
                .collect(),
        })
    }

    /// Carries a change out. `false` if the message is no longer what it was when `seen` was read.
    async fn change(
        &self,
        id: &MessageId,
        seen: Option<&MessageState>,
        change: Change,
    ) -> Result<bool, BackendError> {
        let (topic, Change { state, appended, numbers_of_keys }) =
            (Topic::Message(id.clone()), change);
        let mut keys = vec![
            self.keys.message_state(id),
            self.keys.stream(&topic),
            self.keys.messages_by_silence(id),
        ];
        keys.extend(numbers_of_keys.iter().map(|(key, _)| self.keys.idempotency(&topic, key)));
        let fields = state.fields();
        let mut arguments = vec![
            seen.map(|seen| seen.version.clone()).unwrap_or_default(),
            unique(&*self.context.entropy),
            id.to_string(),
            self.keys.channel(&topic),
            state.message.producer_seen_at.as_ms().to_string(),
            millis(self.context.retention.idempotency_window).to_string(),
            self.keys.database_mark(),
            fields.len().to_string(),
        ];
        arguments.extend(fields.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        arguments.push(appended.len().to_string());
        for (number, event) in &appended {
            arguments.extend([
                stream_id_of(*number),
                number.to_string(),
                stored_event::encode(&topic, event),
            ]);
        }
        arguments.extend(
            numbers_of_keys.iter().map(|(_, number)| format!("{}:{number}", state.incarnation)),
        );
        self.appends
            .run("change the message", &CHANGE_MESSAGE, &keys, &arguments)
            .await
            .map_err(about(&topic))
    }

    /// Decides on what there is, and carries it out, until that succeeds. `decide` gives its
    /// answer, and a change unless all stays as it is.
    async fn decide<T>(
        &self,
        id: &MessageId,
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

    /// Changes what is no event; `None` if the message is not there.
    async fn change_state<R: Send>(
        &self,
        id: &MessageId,
        change: impl Fn(&mut Message, Timestamp) -> Result<(), R> + Send + Sync,
    ) -> Result<Option<Result<Observed, R>>, BackendError> {
        self.decide(id, &[], |look| {
            let Some(mut state) = look.state.clone() else { return (None, None) };
            match change(&mut state.message, look.now) {
                Ok(()) => (
                    Some(Ok(Observed::at(look.now, state.message.clone()))),
                    Some(Change::to(state)),
                ),
                Err(refusal) => (Some(Err(refusal)), None),
            }
        })
        .await
    }

    async fn silent_messages(
        &self,
        index: String,
        arguments: &[String; 2],
    ) -> Result<(String, Vec<String>), BackendError> {
        self.appends.run("look for silent messages", &SILENT_MESSAGES, &[index], arguments).await
    }

    async fn remove(&self, id: &MessageId, seen_before: &str) -> Result<bool, BackendError> {
        let topic = Topic::Message(id.clone());
        let keys = [
            self.keys.message_state(id),
            self.keys.stream(&topic),
            self.keys.messages_by_silence(id),
        ];
        let arguments = [id.to_string(), self.keys.channel(&topic), seen_before.to_owned()];
        self.appends
            .run("delete the message", &DELETE_MESSAGE, &keys, &arguments)
            .await
            .map_err(about(&topic))
    }
}

#[async_trait]
impl Messages for RedisJournal {
    async fn open(
        &self,
        id: &MessageId,
        owner: &UserId,
        takeover: bool,
    ) -> Result<Result<Opened, OpenRefusal>, BackendError> {
        self.decide(id, &[], |look| {
            let existing = look.state.as_ref().map(|state| state.message.clone());
            match Message::open(existing, owner, takeover, look.now) {
                Err(refusal) => (Err(refusal), None),
                Ok(opened) => {
                    let message = opened.observed.message.clone();
                    let state = look.state.clone().map_or_else(
                        || MessageState::new(message.clone(), &*self.context.entropy),
                        |state| MessageState { message: message.clone(), ..state },
                    );
                    (Ok(opened), Some(Change::to(state)))
                }
            }
        })
        .await
    }

    async fn append(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Result<Vec<Result<MessageAppended, AppendRefusal>>, BackendError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.decide(id, &batch, |look| {
            let mut target =
                look.state.clone().map(|state| Appending { look, change: Change::to(state) });
            let answers = append_batch(target.as_mut(), epoch, batch.clone(), look.now);
            let changed =
                target.map(|target| target.change).filter(|change| !change.appended.is_empty());
            (answers, changed)
        })
        .await
    }

    async fn heartbeat(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
    ) -> Result<Result<Observed, AppendRefusal>, BackendError> {
        let beaten = self.change_state(id, |message, now| message.heartbeat(epoch, now)).await?;
        Ok(beaten.unwrap_or(Err(AppendRefusal::Unknown)))
    }

    async fn request_stop(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        let stop = |message: &mut Message, _| {
            message.request_stop();
            Ok::<(), Infallible>(())
        };
        Ok(self.change_state(id, stop).await?.map(|Ok(observed)| observed))
    }

    async fn observe(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        let look = self.look(id, &[]).await?;
        Ok(look.state.map(|state| Observed::at(look.now, state.message)))
    }

    async fn delete(&self, id: &MessageId) -> Result<bool, BackendError> {
        self.remove(id, "").await
    }

    async fn sweep(
        &self,
        silent_for: Duration,
        messages_max: usize,
    ) -> Result<usize, BackendError> {
        let arguments = [millis(silent_for).to_string(), messages_max.to_string()];
        let messages_max = messages_max.min(Semaphore::MAX_PERMITS);
        let room = Semaphore::new(messages_max);
        // Each index by itself, and all of them driven together: a call that is made and then not
        // polled would keep its place among the driver's calls, and so keep out the very one that
        // is waited for meanwhile.
        let indexes = stream::iter(self.keys.all_messages_by_silence()).map(Ok);
        indexes
            .try_for_each_concurrent(INDEXES_AT_ONCE, async |index| {
                if room.available_permits() == 0 {
                    return Ok(());
                }
                let (seen_before, ids) = self.silent_messages(index, &arguments).await?;
                for id in ids {
                    let Ok(place) = room.try_acquire() else { break };
                    let id = MessageId::parse(&id).map_err(|_| malformed_reply())?;
                    match self.remove(&id, &seen_before).await {
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
