//! An event as backends keep it that keep texts: its envelope in JSON, without the id.
//!
//! Invariant: what [`encode`] wrote, [`decode`] reads as the same event, byte by byte where the
//! publisher's JSON is concerned. Other programs write envelopes too; what they leave out is made
//! up for, and what is no event is reported.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::domain::{
    category::{Category, Registry},
    envelope::{stored_broadcast_envelope_json, stored_envelope_json},
    event::{Content, Event, EventName, EventType, InvalidEventType, Last},
    json::{self, InvalidJson, Json},
    timestamp::Timestamp,
    topic::Topic,
};

/// Why a text is no event.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It has no text at all where one should be.
    #[error("it has no field `event`")]
    Missing,
    /// It is not a JSON object with a `type`.
    #[error("not an envelope: {0}")]
    Envelope(#[from] serde_json::Error),
    /// It is an array.
    #[error("not an envelope: an array")]
    Array,
    /// Its type breaks the rules.
    #[error(transparent)]
    Type(#[from] InvalidEventType),
    /// Its payload or scope can't be carried.
    #[error(transparent)]
    Json(#[from] InvalidJson),
}

/// Fields that other programs add are passed over.
#[derive(Deserialize)]
struct StoredEnvelope<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    ts: Option<&'a RawValue>,
    #[serde(default)]
    scope: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    payload: Option<Box<RawValue>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    last: Option<&'a RawValue>,
    #[serde(borrow, default)]
    category: Option<&'a RawValue>,
}

/// A payload of `null` is one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// The event as it is kept in a topic.
pub fn encode(topic: &Topic, event: &Event) -> String {
    stored_envelope_json(topic, event)
}

/// A broadcast, as it is passed to other processes.
pub fn encode_broadcast(event: &Event) -> String {
    stored_broadcast_envelope_json(event)
}

/// The event of a kept text. Where its time is missing, or not in RFC 3339, it is `ts`; where
/// its category is missing, the registry gives it one.
///
/// # Errors
/// [`Malformed`].
pub fn decode(text: &[u8], ts: Timestamp, registry: &Registry) -> Result<Event, Malformed> {
    if json::is_array(text) {
        return Err(Malformed::Array);
    }
    let envelope: StoredEnvelope<'_> = serde_json::from_slice(text)?;
    let event_type = EventType::parse(&envelope.r#type)?;
    let category =
        envelope.category.and_then(parsed::<String>).and_then(|name| Category::parse(&name).ok());
    let last = envelope.last.and_then(parsed::<String>);
    Ok(Event {
        ts: envelope
            .ts
            .and_then(parsed::<String>)
            .and_then(|ts| Timestamp::parse(&ts))
            .unwrap_or(ts),
        category: category.or_else(|| registry.category_of(&event_type).cloned()),
        scope: envelope.scope.map(Json::from_raw).transpose()?.unwrap_or_else(Json::empty_object),
        content: content(envelope.payload, envelope.data, envelope.event)?,
        last: last.map_or(Last::AsItsType, |name| Last::named(&name)),
        event_type,
    })
}

/// A payload counts, else a text.
fn content(
    payload: Option<Box<RawValue>>,
    data: Option<&RawValue>,
    event: Option<&RawValue>,
) -> Result<Content, InvalidJson> {
    if let Some(payload) = payload {
        return Json::from_raw(payload).map(Content::Payload);
    }
    let Some(text) = data.and_then(parsed::<Box<str>>) else { return Ok(Content::Nothing) };
    let name = event.and_then(parsed::<String>);
    Ok(Content::Data { text, event: name.and_then(|name| EventName::parse(&name).ok()) })
}

fn parsed<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{event::Terminal, topic::UserId};

    const TS: Timestamp = Timestamp::from_ms(1_718_900_000_007);

    fn registry() -> Registry {
        let patterns = ["ai.*".to_owned()];
        Registry::build([("ai", &patterns[..])]).unwrap()
    }

    fn read(text: &str) -> Result<Event, Malformed> {
        decode(text.as_bytes(), TS, &registry())
    }

    #[test]
    fn an_event_reads_as_it_was_written() {
        let topic = Topic::User(UserId::parse("a\"b{}").unwrap());
        for (payload, scope, category) in [
            ("null", None, None),
            (r#"{"b":1.10,"a":"\u0000\/"}"#, Some(r#"{ "x":1e400 }"#), Some("other")),
        ] {
            let event = Event {
                category: category.map(|name| Category::parse(name).unwrap()),
                scope: scope.map_or_else(Json::empty_object, |scope| Json::parse(scope).unwrap()),
                ..(*crate::testing::event(payload)).clone()
            };
            assert_eq!(read(&encode(&topic, &event)).unwrap(), event);
        }
    }

    #[test]
    fn what_an_event_carries_and_whether_it_is_the_last_reads_as_it_was_written() {
        let topic = Topic::User(UserId::parse("u").unwrap());
        let text = |text: &str, name: Option<&str>| Content::Data {
            text: text.into(),
            event: name.map(|name| EventName::parse(name).unwrap()),
        };
        for content in [
            Content::Nothing,
            Content::Payload(Json::empty_object()),
            text("", None),
            text("a\r\nb\0\u{2028}\"", Some("patch é")),
        ] {
            for last in [Last::AsItsType, Last::No, Last::Yes(Terminal::Error)] {
                let event = Event {
                    content: content.clone(),
                    last,
                    ..(*crate::testing::event("1")).clone()
                };
                assert_eq!(read(&encode(&topic, &event)).unwrap(), event);
            }
        }
        let odd = read(r#"{"type":"x","data":7,"event":"a\nb","last":true}"#).unwrap();
        assert_eq!((odd.content, odd.last), (Content::Nothing, Last::AsItsType));
        let both = read(r#"{"type":"x","data":"x","payload":1,"event":"y"}"#).unwrap();
        assert_eq!(both.content, Content::Payload(Json::parse("1").unwrap()));
    }

    #[test]
    fn what_another_program_leaves_out_is_made_up_for() {
        let event = read(r#"{"type":"ai.done","scope":{"id":"s1"},"extra":[1]}"#).unwrap();
        assert_eq!((event.ts, event.category.as_ref().map(Category::as_str)), (TS, Some("ai")));
        assert_eq!((&event.content, event.scope.as_str()), (&Content::Nothing, r#"{"id":"s1"}"#));
        let event =
            read(r#"{"type":"x","ts":1718900000.5,"scope":null,"category":null,"payload":null}"#)
                .unwrap();
        assert_eq!(
            (event.ts, event.category, event.scope.as_str(), event.content),
            (TS, None, "{}", Content::Payload(Json::parse("null").unwrap()))
        );
        assert_eq!(read(r#"{"type":"x"}"#).unwrap().scope.as_str(), "{}");
        assert_eq!(
            read(r#"{"type":"x","ts":"2024-06-20T16:13:21+00:00"}"#).unwrap().ts.as_ms(),
            1_718_900_001_000
        );
    }

    #[test]
    fn what_is_no_event_is_told() {
        let deep = format!(r#"{{"type":"x","payload":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        let array = r#"["x",null,null,{},null]"#;
        for text in [
            array,
            "",
            "x",
            "[]",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"a b"}"#,
            r#"{"type":"stream.refused"}"#,
            r#"{"type":"x"} y"#,
            &deep,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_told_without_a_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes, TS, &registry());
        }
    }
}
