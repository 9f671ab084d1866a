//! An entry as it stands in a stream, and in a notification.

use serde::Deserialize;

use crate::{
    adapters::backend_kit::{
        stored_event::{self, Malformed},
        stored_page::StoredEntry,
    },
    domain::{
        category::Registry,
        event::{Entry, Event},
        position::{EventId, Position},
        timestamp::Timestamp,
        topic::Topic,
    },
};

/// One entry of a stream as it was read: its id, and its fields `event` and `prev` where it has
/// them.
pub(super) type Raw = (String, Option<Vec<u8>>, Option<String>);

/// The id under which a topic's reader knows an entry of the stream: messages count from 0, streams
/// from 1.
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

/// What stands in a part of a stream.
pub(super) fn stored(
    topic: &Topic,
    raw: Vec<Raw>,
    registry: &Registry,
) -> impl Iterator<Item = StoredEntry> {
    raw.into_iter().filter_map(move |(stream_id, envelope, stored_prev)| {
        let id = id_of(topic, &stream_id)?;
        let prev = match topic {
            Topic::Message(_) => Some(Position::before(id)),
            Topic::User(_) => stored_prev.and_then(|prev| prev.parse().ok()).map(Position::After),
        };
        let ts = Timestamp::from_ms(id.major());
        let event = envelope
            .ok_or(Malformed::Missing)
            .and_then(|text| stored_event::decode(&text, ts, registry));
        Some(StoredEntry { id, prev, event })
    })
}

/// What an announcement of an append says beside its envelope.
#[derive(Deserialize)]
struct Announced<'a> {
    id: &'a str,
    prev: Option<&'a str>,
    #[serde(default)]
    db: i64,
}

/// The entry that a message of a topic's channel holds whole. `None` where it only hints at one:
/// another program's, which does not say what it follows; or another database's, since a server's
/// databases share its channels.
pub(super) fn announced(
    topic: &Topic,
    text: &[u8],
    database: i64,
    registry: &Registry,
) -> Option<Entry> {
    let Announced { id, prev, db } = serde_json::from_slice(text).ok()?;
    if db != database {
        return None;
    }
    let id: EventId = id.parse().ok()?;
    let prev = match topic {
        Topic::User(_) => Position::After(prev?.parse().ok()?),
        Topic::Message(_) => Position::before(id),
    };
    let event: Event = stored_event::decode(text, Timestamp::from_ms(id.major()), registry).ok()?;
    Some(Entry { id, prev: Some(prev), event: event.into() })
}

/// The entry of a user's topic that a hint names.
pub(super) fn hinted(topic: &Topic, text: &[u8]) -> Option<EventId> {
    #[derive(Deserialize)]
    struct Hint<'a> {
        id: &'a str,
    }
    let Topic::User(_) = topic else { return None };
    serde_json::from_slice::<Hint<'_>>(text).ok()?.id.parse().ok()
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

    #[test]
    fn promise_8_what_another_database_announces_is_only_a_hint() {
        let of_first = br#"{"id":"2-0","prev":"1-0","type":"x"}"#;
        let of_second = br#"{"id":"2-0","prev":"1-0","db":1,"type":"x"}"#;
        for (text, database, whole) in [
            (&of_first[..], 0, true),
            (of_first, 1, false),
            (of_second, 1, true),
            (of_second, 0, false),
        ] {
            assert_eq!(announced(&topic(), text, database, &Registry::default()).is_some(), whole);
        }
    }

    #[test]
    fn only_what_tells_its_place_is_taken_for_an_entry() {
        let whole = announced(
            &topic(),
            br#"{"id":"2-0","prev":"1-0","type":"x"}"#,
            0,
            &Registry::default(),
        )
        .unwrap();
        assert_eq!((whole.id, whole.prev), (EventId::timed(2, 0), at("1-0")));
        for hint in [
            r#"{"id":"2-0","type":"x"}"#,
            r#"{"prev":"1-0","type":"x"}"#,
            "{}",
            "x",
            "",
            r#"{"id":"2-0","prev":"1-0"}"#,
            r#"{"id":2}"#,
        ] {
            assert!(
                announced(&topic(), hint.as_bytes(), 0, &Registry::default()).is_none(),
                "{hint}"
            );
        }
    }
}
