//! Which rows there are: their keys and values.
//!
//! Invariants: keys are made here and nowhere else; each kind begins with a letter of its own; a
//! user id or an idempotency key stands last in a key, so that none can reach into another's rows;
//! numbers stand with the highest byte first, so that keys have their order.
//!
//! | key | value |
//! | --- | --- |
//! | `c` | origin, the latest time, the next number |
//! | `t` user | a topic: number, entries, floor, head |
//! | `e` topic number, id | an entry: `prev`, the event |
//! | `k` topic number, idempotency key | the id that the first got, when |
//! | `x` time, topic number, idempotency key | nothing: the key is to be forgotten |
//! | `a` time, topic number | the user: the oldest entry has that time, or a later one |
//! | `m` message id | a message: number, and what the domain keeps of it |
//! | `v` message number, sequence number | an event |
//! | `i` message number, idempotency key | the number that the first got, when |
//! | `s` time, message id | nothing: its producer gave its last sign of life then, or later |

use bytes::Bytes;
use uuid::Uuid;

use super::failure::Damage;
use crate::domain::{
    idempotency_key::IdempotencyKey,
    message::{End, Message, Terminal},
    position::EventId,
    timestamp::Timestamp,
    topic::{MessageId, UserId},
};

/// The row of what all have in common.
pub(super) const COMMON: &[u8] = b"c";

/// A key of so many parts.
fn key(kind: u8, parts: &[&[u8]]) -> Bytes {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(kind);
    for part in parts {
        key.extend_from_slice(part);
    }
    key.into()
}

fn id_bytes(id: EventId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.major().to_be_bytes());
    bytes[8..].copy_from_slice(&id.minor().unwrap_or(0).to_be_bytes());
    bytes
}

pub(super) fn topic(user: &UserId) -> Bytes {
    key(b't', &[user.as_str().as_bytes()])
}

/// Behind a user's topic, for lists that go on there.
pub(super) fn behind_topic(user: &str) -> Bytes {
    key(b't', &[user.as_bytes(), &[0]])
}

/// The user in a topic's key.
pub(super) fn user_of_topic(key: &[u8]) -> Result<UserId, Damage> {
    let user = key
        .get(1..)
        .and_then(|user| std::str::from_utf8(user).ok())
        .and_then(|user| UserId::parse(user).ok());
    user.ok_or_else(|| Damage::new("the key of a topic can't be read"))
}

pub(super) fn entry(topic: u64, id: EventId) -> Bytes {
    key(b'e', &[&topic.to_be_bytes(), &id_bytes(id)])
}

/// Behind all entries of a topic.
pub(super) fn behind_entries(topic: u64) -> Bytes {
    key(b'e', &[&(topic + 1).to_be_bytes()])
}

/// The id in an entry's key.
pub(super) fn id_of_entry(key: &[u8]) -> Result<EventId, Damage> {
    let number = |at: usize| {
        key.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
    };
    let id = (key.len() == 25).then(|| Some(EventId::timed(number(9)?, number(17)?))).flatten();
    id.ok_or_else(|| Damage::new("the key of an entry can't be read"))
}

pub(super) fn seen_key(topic: u64, idempotency_key: &IdempotencyKey) -> Bytes {
    key(b'k', &[&topic.to_be_bytes(), idempotency_key.as_str().as_bytes()])
}

/// When a key is to be forgotten, by when it was seen and its row's key.
pub(super) fn forgotten(seen_at: Timestamp, seen_key: &[u8]) -> Bytes {
    key(b'x', &[&seen_at.as_ms().to_be_bytes(), &seen_key[1..]])
}

/// The key's row, by the row that says when it is to be forgotten.
pub(super) fn seen_key_of_forgotten(forgotten: &[u8]) -> Bytes {
    key(b'k', &[forgotten.get(9..).unwrap_or_default()])
}

pub(super) fn age(time: Timestamp, topic: u64) -> Bytes {
    key(b'a', &[&time.as_ms().to_be_bytes(), &topic.to_be_bytes()])
}

/// How many bytes a UUID has.
const UUID_BYTES: usize = 16;

/// A message's id: the 16 bytes of a UUID; any other text behind a zero, or behind two where it
/// would be as long as a UUID with one.
fn message_id(id: &MessageId) -> Vec<u8> {
    let text = || {
        let text = id.as_str().as_bytes();
        let zeros: &[u8] = if text.len() + 1 == UUID_BYTES { &[0, 0] } else { &[0] };
        [zeros, text].concat()
    };
    id.uuid().map_or_else(text, |uuid| uuid.as_bytes().to_vec())
}

fn message_of_id(bytes: &[u8]) -> Result<MessageId, Damage> {
    let id = if let Ok(uuid) = <[u8; UUID_BYTES]>::try_from(bytes) {
        Some(Uuid::from_bytes(uuid).into())
    } else {
        let text = bytes.iter().position(|byte| *byte != 0).map(|start| &bytes[start..]);
        let text = text.and_then(|text| std::str::from_utf8(text).ok());
        text.and_then(|text| MessageId::parse(text).ok())
    };
    id.ok_or_else(|| Damage::new("the key of a message can't be read"))
}

pub(super) fn message(id: &MessageId) -> Bytes {
    key(b'm', &[&message_id(id)])
}

/// Behind a message, for lists that go on there.
pub(super) fn behind_message(id: &MessageId) -> Bytes {
    key(b'm', &[&message_id(id), &[0]])
}

/// The message in its key.
pub(super) fn id_of_message(key: &[u8]) -> Result<MessageId, Damage> {
    message_of_id(key.get(1..).unwrap_or_default())
}

pub(super) fn message_event(message: u64, sequence_no: u64) -> Bytes {
    key(b'v', &[&message.to_be_bytes(), &sequence_no.to_be_bytes()])
}

/// Behind all events of a message.
pub(super) fn behind_message_events(message: u64) -> Bytes {
    key(b'v', &[&(message + 1).to_be_bytes()])
}

/// The number in the key of a message's event.
pub(super) fn number_of_event(key: &[u8]) -> Result<u64, Damage> {
    let number = key.get(9..17).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    number.ok_or_else(|| Damage::new("the key of a message's event can't be read"))
}

pub(super) fn message_key(message: u64, idempotency_key: &IdempotencyKey) -> Bytes {
    key(b'i', &[&message.to_be_bytes(), idempotency_key.as_str().as_bytes()])
}

/// From where on a message's idempotency keys stand, and behind them.
pub(super) fn message_keys(message: u64) -> (Bytes, Bytes) {
    (key(b'i', &[&message.to_be_bytes()]), key(b'i', &[&(message + 1).to_be_bytes()]))
}

pub(super) fn silence(seen_at: Timestamp, id: &MessageId) -> Bytes {
    key(b's', &[&seen_at.as_ms().to_be_bytes(), &message_id(id)])
}

/// The message in such a key.
pub(super) fn message_of_silence(key: &[u8]) -> Result<MessageId, Damage> {
    message_of_id(key.get(9..).unwrap_or_default())
}

/// The time or number that stands behind the letter of a key.
pub(super) fn first_number(key: &[u8]) -> Result<u64, Damage> {
    let number = key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    number.ok_or_else(|| Damage::new("a key can't be read"))
}

/// The first key of a kind with a time, and the first behind those before that time.
pub(super) fn until(kind: u8, time: Timestamp) -> (Bytes, Bytes) {
    (key(kind, &[]), key(kind, &[&time.as_ms().to_be_bytes()]))
}

/// All keys of a kind.
pub(super) fn all(kind: u8) -> (Bytes, Bytes) {
    (key(kind, &[]), key(kind + 1, &[]))
}

/// Numbers and texts as values have them.
#[derive(Default)]
struct Value(Vec<u8>);

impl Value {
    fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn id(mut self, id: EventId) -> Self {
        self.0.extend_from_slice(&id_bytes(id));
        self
    }
}

/// Reads what [`Value`] wrote.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Result<u64, Damage> {
        let (number, rest) =
            self.0.split_first_chunk().ok_or_else(|| Damage::new("a row is too short"))?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*number))
    }

    fn id(&mut self) -> Result<EventId, Damage> {
        Ok(EventId::timed(self.number()?, self.number()?))
    }
}

/// What all topics and messages have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Common {
    /// The journal's origin.
    pub(super) origin: EventId,
    /// The latest time at which anything was written.
    pub(super) latest: Timestamp,
    /// What the next topic or message is numbered.
    pub(super) next_number: u64,
}

impl Common {
    pub(super) fn encode(self) -> Vec<u8> {
        Value::default().id(self.origin).number(self.latest.as_ms()).number(self.next_number).0
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader(value);
        Ok(Self {
            origin: reader.id()?,
            latest: Timestamp::from_ms(reader.number()?),
            next_number: reader.number()?,
        })
    }
}

/// A user's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicRow {
    pub(super) number: u64,
    pub(super) entries: u64,
    /// The position before the oldest entry.
    pub(super) floor: EventId,
    pub(super) head: EventId,
}

impl TopicRow {
    pub(super) fn encode(self) -> Vec<u8> {
        Value::default().number(self.number).number(self.entries).id(self.floor).id(self.head).0
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader(value);
        Ok(Self {
            number: reader.number()?,
            entries: reader.number()?,
            floor: reader.id()?,
            head: reader.id()?,
        })
    }
}

/// An entry's value: the position before it, and the event's text.
pub(super) fn entry_value(prev: EventId, event: &str) -> Vec<u8> {
    let mut value = Value::default().id(prev);
    value.0.extend_from_slice(event.as_bytes());
    value.0
}

pub(super) fn entry_of(value: &[u8]) -> Result<(EventId, &[u8]), Damage> {
    let mut reader = Reader(value);
    Ok((reader.id()?, reader.0))
}

/// What a key got, and when.
pub(super) fn seen_value(id: EventId, seen_at: Timestamp) -> Vec<u8> {
    Value::default().id(id).number(seen_at.as_ms()).0
}

pub(super) fn seen_of(value: &[u8]) -> Result<(EventId, Timestamp), Damage> {
    let mut reader = Reader(value);
    Ok((reader.id()?, Timestamp::from_ms(reader.number()?)))
}

/// A message, with the number under which its events stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageRow {
    pub(super) number: u64,
    pub(super) message: Message,
}

impl MessageRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Message {
            owner,
            epoch,
            next_sequence_no,
            stop_requested,
            end,
            created_at,
            producer_seen_at,
        } = &self.message;
        let (terminal, ended_ms) = match end {
            None => (0, 0),
            Some(End { terminal: Terminal::End, at }) => (1, at.as_ms()),
            Some(End { terminal: Terminal::Error, at }) => (2, at.as_ms()),
        };
        let numbers = [
            self.number,
            *epoch,
            *next_sequence_no,
            u64::from(*stop_requested),
            terminal,
            ended_ms,
            created_at.as_ms(),
            producer_seen_at.as_ms(),
        ];
        let mut value = numbers.into_iter().fold(Value::default(), Value::number);
        value.0.extend_from_slice(owner.as_str().as_bytes());
        value.0
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader(value);
        let mut numbers = [0; 8];
        for number in &mut numbers {
            *number = reader.number()?;
        }
        let [
            number,
            epoch,
            next_sequence_no,
            stop_requested,
            terminal,
            ended_ms,
            created_ms,
            seen_ms,
        ] = numbers;
        let at = Timestamp::from_ms(ended_ms);
        let end = match terminal {
            0 => None,
            1 => Some(End { terminal: Terminal::End, at }),
            2 => Some(End { terminal: Terminal::Error, at }),
            _ => return Err(Damage::new("a message ended in a way that is not known")),
        };
        let owner = std::str::from_utf8(reader.0).ok().and_then(|text| UserId::parse(text).ok());
        let message = Message {
            owner: owner.ok_or_else(|| Damage::new("a message's owner can't be read"))?,
            epoch,
            next_sequence_no,
            stop_requested: stop_requested != 0,
            end,
            created_at: Timestamp::from_ms(created_ms),
            producer_seen_at: Timestamp::from_ms(seen_ms),
        };
        Ok(Self { number, message })
    }
}
