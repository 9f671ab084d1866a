//! An entry as it stands in a stream, and as it is told.

use std::fmt;

use serde::Deserialize;

use crate::{
    adapters::stored_event::{self, Malformed},
    domain::{
        category::Registry,
        event::{Entry, Event},
        position::{EventId, Position},
        timestamp::Timestamp,
        topic::Topic,
    },
};

/// One entry of a stream as it was read: its id, and its fields `event` and `prev` where it has them.
pub(super) type Raw = (String, Option<Vec<u8>>, Option<String>);

/// An entry that is no event.
#[derive(Debug)]
pub struct MalformedEntry<'a> {
    /// The topic in whose stream it stands.
    pub topic: &'a Topic,
    /// Its id there.
    pub id: &'a str,
    /// Why it is none.
    pub reason: &'a Malformed,
}

impl fmt::Display for MalformedEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of {} is no event: {}", self.id, self.topic, self.reason)
    }
}

/// The id under which a topic's reader knows an entry of the stream: messages count from 0, streams from 1.
pub(super) fn id_of(topic: &Topic, stream_id: &str) -> Option<EventId> {
    let id: EventId = stream_id.parse().ok()?;
    match topic {
        Topic::User(_) => Some(id),
        Topic::Message(_) => id.major().checked_sub(1).map(EventId::sequence),
    }
}

/// The id in the stream of a message's event.
pub(super) fn stream_id_of(sequence_no: u64) -> String {
    format!("{}-0", sequence_no.saturating_add(1))
}

/// The position before a message's event.
pub(super) fn before(sequence_no: u64) -> Position {
    sequence_no.checked_sub(1).map_or(Position::Start, |before| EventId::sequence(before).into())
}

/// The entries of a part of a stream, in order. What is no event is passed over and told: what follows it follows what was
/// before it.
pub(super) fn entries(topic: &Topic, raw: Vec<Raw>, registry: &Registry, mut on_malformed: impl FnMut(MalformedEntry<'_>)) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
    // What the next entry follows, where the entry before it was passed over.
    let mut instead: Option<Option<Position>> = None;
    for (stream_id, envelope, stored_prev) in raw {
        let Some(id) = id_of(topic, &stream_id) else { continue };
        let told_prev = match topic {
            Topic::Message(_) => Some(before(id.major())),
            Topic::User(_) => stored_prev.and_then(|prev| prev.parse().ok()).map(Position::After),
        };
        // The stream itself tells what other programs don't.
        let known_prev = told_prev.or_else(|| entries.last().map(|last| last.id.into()));
        let prev = instead.take().unwrap_or(known_prev);
        let ts = Timestamp::from_ms(id.major());
        match envelope.ok_or(Malformed::Missing).and_then(|text| stored_event::decode(&text, ts, registry)) {
            Ok(event) => entries.push(Entry { id, prev, event: event.into() }),
            Err(reason) => {
                on_malformed(MalformedEntry { topic, id: &stream_id, reason: &reason });
                instead = Some(prev);
            }
        }
    }
    entries
}

/// What an announcement of an append says beside its envelope.
#[derive(Deserialize)]
struct Announced<'a> {
    id: &'a str,
    prev: Option<&'a str>,
    #[serde(default)]
    db: i64,
}

/// The entry that a message of a topic's channel tells whole. `None` where it only hints at one: another program's, which
/// does not say what it follows; or another database's, since a server's databases share its channels.
pub(super) fn announced(topic: &Topic, text: &[u8], database: i64, registry: &Registry) -> Option<Entry> {
    let Announced { id, prev, db } = serde_json::from_slice(text).ok()?;
    if db != database {
        return None;
    }
    let id: EventId = id.parse().ok()?;
    let prev = match topic {
        Topic::User(_) => Position::After(prev?.parse().ok()?),
        Topic::Message(_) => before(id.major()),
    };
    let event: Event = stored_event::decode(text, Timestamp::from_ms(id.major()), registry).ok()?;
    Some(Entry { id, prev: Some(prev), event: event.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topic::UserId;

    fn topic() -> Topic {
        Topic::User(UserId::parse("u").unwrap())
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is compared with what may not be known")]
    fn at(id: &str) -> Option<Position> {
        Some(Position::After(id.parse().unwrap()))
    }

    fn prevs(raw: &[(&str, Option<&str>, Option<&str>)]) -> (Vec<Option<Position>>, usize) {
        let owned = |text: &str| text.to_owned();
        let raw = raw.iter().map(|(id, event, prev)| (owned(id), event.map(|event| event.as_bytes().to_vec()), prev.map(owned)));
        let mut malformed = 0;
        let entries = entries(&topic(), raw.collect(), &Registry::default(), |_| malformed += 1);
        (entries.into_iter().map(|entry| entry.prev).collect(), malformed)
    }

    const GOOD: Option<&str> = Some(r#"{"type":"x"}"#);

    #[test]
    fn an_entry_of_another_program_follows_what_stands_before_it() {
        let read = prevs(&[("1-0", GOOD, None), ("2-0", GOOD, None), ("3-0", GOOD, Some("2-0"))]);
        assert_eq!(read, (vec![None, at("1-0"), at("2-0")], 0));
    }

    #[test]
    fn what_follows_a_malformed_entry_follows_what_was_before_it() {
        let read = prevs(&[("1-0", GOOD, Some("0-5")), ("2-0", Some("{"), None), ("3-0", None, Some("2-0")), ("4-0", GOOD, Some("3-0"))]);
        assert_eq!(read, (vec![at("0-5"), at("1-0")], 2));
        let read = prevs(&[("2-0", Some("{"), None), ("3-0", GOOD, Some("2-0")), ("4-0", GOOD, Some("3-0"))]);
        assert_eq!(read, (vec![None, at("3-0")], 1), "where nobody knows what was before, nothing is claimed");
    }

    #[test]
    fn a_removed_entry_leaves_its_trace() {
        let read = prevs(&[("1-0", GOOD, Some("0-5")), ("3-0", GOOD, Some("2-0"))]);
        assert_eq!(read.0, [at("0-5"), at("2-0")]);
    }

    #[test]
    fn promise_8_what_another_database_announces_is_only_a_hint() {
        let of_first = br#"{"id":"2-0","prev":"1-0","type":"x"}"#;
        let of_second = br#"{"id":"2-0","prev":"1-0","db":1,"type":"x"}"#;
        for (text, database, whole) in [(&of_first[..], 0, true), (of_first, 1, false), (of_second, 1, true), (of_second, 0, false)] {
            assert_eq!(announced(&topic(), text, database, &Registry::default()).is_some(), whole);
        }
    }

    #[test]
    fn only_what_tells_its_place_is_taken_for_an_entry() {
        let whole = announced(&topic(), br#"{"id":"2-0","prev":"1-0","type":"x"}"#, 0, &Registry::default()).unwrap();
        assert_eq!((whole.id, whole.prev), (EventId::timed(2, 0), at("1-0")));
        for hint in
            [r#"{"id":"2-0","type":"x"}"#, r#"{"prev":"1-0","type":"x"}"#, "{}", "x", "", r#"{"id":"2-0","prev":"1-0"}"#, r#"{"id":2}"#]
        {
            assert!(announced(&topic(), hint.as_bytes(), 0, &Registry::default()).is_none(), "{hint}");
        }
    }
}
