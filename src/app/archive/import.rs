//! Taking over what another deployment, or this one at an earlier time, has exported.
//!
//! Invariant: what is there already is never changed: a topic or a message that has gone another
//! way stays as it is, and is counted.

use std::mem;

use super::{Archives, Record, Tally, tally::Counter};
use crate::{
    domain::{
        event::Entry,
        message::{AppendRefusal, Message, MessageAppend},
        position::{EventId, Position},
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        archive::{Part, Restored},
        backend_error::BackendError,
    },
};

/// Most entries, and bytes of events, of one call.
const ENTRIES_MAX: usize = 500;
const BYTES_MAX: usize = 1024 * 1024;
/// Most parts of one call.
const PARTS_MAX: usize = 200;
/// Takeovers that are made again, so that a producer that knows its epoch goes on.
const EPOCH_MAX: u64 = 1_000;

/// Why an import can't go on. What was imported before stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The backend failed; to import once more goes on where this ended.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An entry is before any topic.
    #[error("an entry stands before the topic that it belongs to")]
    NoTopic,
    /// The entries of a topic are not in order.
    #[error("entry {0} does not follow the one before it")]
    Disorder(EventId),
    /// The records are not those that the export says that it has.
    #[error("the export is not whole: it says that it holds {expected:?}, and {found:?} was found")]
    Incomplete {
        /// What its end says.
        expected: Box<Tally>,
        /// What there was.
        found: Box<Tally>,
    },
}

/// What an import came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Topics that are there with their ids: cursors go on.
    pub topics_kept: u64,
    /// Topics that are there with new ids: a client with a cursor is notified that entries may be
    /// missing.
    pub topics_renumbered: u64,
    /// Topics that have other entries here, and were left as they are.
    pub topics_left: u64,
    /// Messages that are there.
    pub messages: u64,
    /// Messages that are another one here, and were left as they are.
    pub messages_left: u64,
    /// Whether the export was read to its end.
    pub is_whole: bool,
}

/// Where the import is.
enum Within {
    Nothing,
    Topic(Part),
    /// A topic whose first part is not what the topic begins with: an import that was cut short may
    /// have gone on from there, up to that head. Its entries up to there are passed over.
    Known {
        next: Part,
        head: EventId,
    },
    Message(MessageImport),
}

struct MessageImport {
    id: MessageId,
    message: Message,
    next: u64,
    events: Vec<Entry>,
    bytes: usize,
    /// It is another one here.
    is_left: bool,
    is_open: bool,
}

/// An import that is being made.
pub struct Importer {
    into: Archives,
    within: Within,
    parts: Vec<Part>,
    entries: usize,
    bytes: usize,
    /// The user whose outcome was counted last, and how.
    counted: Option<(UserId, Restored)>,
    counter: Counter,
    imported: Imported,
}

impl Importer {
    /// Begins.
    pub fn new(into: Archives) -> Self {
        Self {
            into,
            within: Within::Nothing,
            parts: Vec::new(),
            entries: 0,
            bytes: 0,
            counted: None,
            counter: Counter::default(),
            imported: Imported::default(),
        }
    }

    /// What was read so far.
    pub const fn tally(&self) -> Tally {
        self.counter.tally
    }

    /// Takes a record.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn take(&mut self, record: Record) -> Result<(), ImportError> {
        self.counter.count(&record);
        match record {
            Record::Begin { .. } | Record::Unreadable { .. } => Ok(()),
            Record::Topic { user, origin, after } => {
                self.leave().await?;
                self.within = Within::Topic(Part {
                    user,
                    origin,
                    after,
                    is_first: true,
                    entries: Vec::new(),
                });
                Ok(())
            }
            Record::Message { id, message } => {
                self.leave().await?;
                let importing = MessageImport {
                    id,
                    message,
                    next: 0,
                    events: Vec::new(),
                    bytes: 0,
                    is_left: false,
                    is_open: false,
                };
                self.within = Within::Message(importing);
                Ok(())
            }
            Record::Entry(entry) => self.take_entry(entry).await,
            Record::End(expected) => {
                self.leave().await?;
                self.flush().await?;
                self.imported.is_whole = true;
                if self.counter.tally.is_as(&expected) {
                    return Ok(());
                }
                Err(ImportError::Incomplete {
                    expected: Box::new(expected),
                    found: Box::new(self.counter.tally),
                })
            }
        }
    }

    /// Ends the import, also where its end did not come.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn finish(mut self) -> Result<Imported, ImportError> {
        self.leave().await?;
        self.flush().await?;
        Ok(self.imported)
    }

    async fn take_entry(&mut self, entry: Entry) -> Result<(), ImportError> {
        let bytes = entry.event.cost_bytes();
        match &mut self.within {
            Within::Nothing => Err(ImportError::NoTopic),
            Within::Topic(part) => {
                let before = part.end();
                if entry.id <= before {
                    return Err(ImportError::Disorder(entry.id));
                }
                part.entries.push(Entry { prev: Some(before.into()), ..entry });
                self.entries += 1;
                self.bytes += bytes;
                if self.entries >= ENTRIES_MAX || self.bytes >= BYTES_MAX {
                    self.go_on_with_topic();
                    self.flush().await?;
                    self.look_how_far_it_is().await?;
                }
                Ok(())
            }
            Within::Known { next, head } => {
                if entry.id == *head {
                    let next = Part { after: *head, ..next.clone() };
                    self.imported.topics_left -= 1;
                    self.imported.topics_kept += 1;
                    self.counted = Some((next.user.clone(), Restored::Kept));
                    self.within = Within::Topic(next);
                }
                Ok(())
            }
            Within::Message(importing) => {
                if entry.id != EventId::sequence(importing.next) {
                    return Err(ImportError::Disorder(entry.id));
                }
                importing.next += 1;
                importing.events.push(Entry { prev: Some(Position::before(entry.id)), ..entry });
                importing.bytes += bytes;
                if importing.events.len() >= ENTRIES_MAX || importing.bytes >= BYTES_MAX {
                    append(&self.into, importing).await?;
                }
                Ok(())
            }
        }
    }

    /// Puts what there is of the present topic among the parts, and goes on behind it.
    fn go_on_with_topic(&mut self) {
        if let Within::Topic(part) = &mut self.within {
            let rest = Part {
                user: part.user.clone(),
                origin: part.origin,
                after: part.end(),
                is_first: false,
                entries: Vec::new(),
            };
            self.parts.push(mem::replace(part, rest));
        }
    }

    /// Where a topic was not taken over that has more than one part: it may have been before.
    async fn look_how_far_it_is(&mut self) -> Result<(), ImportError> {
        let Within::Topic(next) = &self.within else { return Ok(()) };
        if !matches!(&self.counted, Some((user, Restored::Another)) if *user == next.user) {
            return Ok(());
        }
        let bounds = self.into.journal.bounds(&Topic::User(next.user.clone())).await?;
        if let Some(head) = bounds.head.id() {
            self.within = Within::Known { next: next.clone(), head };
        }
        Ok(())
    }

    /// The present topic or message is whole.
    async fn leave(&mut self) -> Result<(), ImportError> {
        match mem::replace(&mut self.within, Within::Nothing) {
            Within::Nothing | Within::Known { .. } => {}
            Within::Topic(part) => self.parts.push(part),
            Within::Message(mut importing) => {
                append(&self.into, &mut importing).await?;
                if importing.is_left {
                    self.imported.messages_left += 1;
                } else {
                    self.imported.messages += 1;
                }
            }
        }
        if self.parts.len() >= PARTS_MAX {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ImportError> {
        let mut parts = mem::take(&mut self.parts);
        (self.entries, self.bytes) = (0, 0);
        if let Some((left, Restored::Another)) = &self.counted {
            parts.retain(|part| part.user != *left);
        }
        if parts.is_empty() {
            return Ok(());
        }
        let users: Vec<UserId> = parts.iter().map(|part| part.user.clone()).collect();
        let restored = self.into.of_events.restore(parts).await?;
        for (user, outcome) in users.into_iter().zip(restored) {
            self.count(user, outcome);
        }
        Ok(())
    }

    /// A topic counts once, however many parts it has.
    fn count(&mut self, user: UserId, outcome: Restored) {
        let before =
            self.counted.take().filter(|(counted, _)| *counted == user).map(|(_, outcome)| outcome);
        if let Some(before) = before {
            *self.counter(before) -= 1;
        }
        let is_left = before == Some(Restored::Another) || outcome == Restored::Another;
        let outcome = if is_left { Restored::Another } else { outcome };
        *self.counter(outcome) += 1;
        self.counted = Some((user, outcome));
    }

    const fn counter(&mut self, outcome: Restored) -> &mut u64 {
        match outcome {
            Restored::Kept => &mut self.imported.topics_kept,
            Restored::Renumbered => &mut self.imported.topics_renumbered,
            Restored::Another => &mut self.imported.topics_left,
        }
    }
}

/// Appends what there is of a message.
async fn append(into: &Archives, importing: &mut MessageImport) -> Result<(), ImportError> {
    let events = mem::take(&mut importing.events);
    importing.bytes = 0;
    if !importing.is_open {
        importing.is_open = true;
        importing.is_left = !open(into, &importing.id, &importing.message).await?;
    }
    if importing.is_left || events.is_empty() {
        return Ok(());
    }
    let batch = events.into_iter().map(|Entry { id, event, .. }| MessageAppend {
        event,
        sequence_no: Some(id.major()),
        idempotency_key: None,
    });
    let answers = into.messages.append(&importing.id, None, batch.collect()).await?;
    match answers.into_iter().find_map(Result::err) {
        None => {}
        // Another message of that id has other events, or fewer.
        Some(
            AppendRefusal::Conflict { .. }
            | AppendRefusal::Gap { .. }
            | AppendRefusal::Complete
            | AppendRefusal::Unknown,
        ) => {
            importing.is_left = true;
        }
        Some(refusal @ (AppendRefusal::Fenced { .. } | AppendRefusal::TooLarge)) => {
            return Err(BackendError::damaged(
                "append to a message",
                Topic::Message(importing.id.clone()),
                refusal.to_string(),
            )
            .into());
        }
    }
    Ok(())
}

/// `false` if it is another user's here.
async fn open(into: &Archives, id: &MessageId, message: &Message) -> Result<bool, ImportError> {
    let Ok(opened) = into.messages.open(id, &message.owner, false).await? else { return Ok(false) };
    let mut epoch = opened.observed.message.epoch;
    while opened.created && epoch < message.epoch.min(EPOCH_MAX) {
        let Ok(taken_over) = into.messages.open(id, &message.owner, true).await? else { break };
        epoch = taken_over.observed.message.epoch;
    }
    if opened.created && message.stop_requested {
        into.messages.request_stop(id).await?;
    }
    Ok(true)
}
