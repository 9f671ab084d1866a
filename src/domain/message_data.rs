//! What a reader sees of a message's event: the payload, with its type.
//!
//! Invariant: the result is one JSON object on one line that has the event's type as its `type`,
//! and every other byte of the payload as its producer wrote it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{
    event::{Content, Event, EventName, EventType},
    json::{Json, json_text},
};

/// A payload's own `type`, if it is an object that has one.
#[derive(Deserialize)]
struct OwnType<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    r#type: Option<&'a RawValue>,
}

/// A `type` of `null` is one: what is missing is something else.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A payload says that it is of another type than its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has a `type` of its own, which must be the event's `type`, or be left out")]
pub struct OtherType;

/// Whether the payload can be written with the event's type in it.
///
/// # Errors
/// [`OtherType`].
pub fn check_payload(event_type: &EventType, payload: &Json) -> Result<(), OtherType> {
    if !payload.is_object() {
        return Ok(());
    }
    // What fails to be read here is well-formed, so it has several types.
    let own = serde_json::from_str::<OwnType<'_>>(payload.as_str()).map_err(|_| OtherType)?;
    match own.r#type {
        Some(raw)
            if serde_json::from_str::<String>(raw.get())
                .is_ok_and(|own| own == event_type.as_str()) =>
        {
            Ok(())
        }
        Some(_) => Err(OtherType),
        None => Ok(()),
    }
}

/// The event as its readers see it: an object payload gets `type` as its first member, unless it
/// has one; any other value becomes the member `payload` beside it, and a text the member `data`.
pub fn message_data(event: &Event) -> String {
    let event_type = event.event_type.as_str();
    match &event.content {
        Content::Payload(payload) => with_type(event_type, payload.as_str()),
        Content::Data { text, event } => {
            let event = event.as_ref().map(EventName::as_str);
            json_text(&TypedText { r#type: event_type, data: text, event })
        }
        Content::Nothing => format!(r#"{{"type":"{event_type}"}}"#),
    }
}

#[derive(Serialize)]
struct TypedText<'a> {
    r#type: &'a str,
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
}

fn with_type(event_type: &str, payload: &str) -> String {
    let Some(members) = payload.strip_prefix('{') else {
        return format!(r#"{{"type":"{event_type}","payload":{payload}}}"#);
    };
    match serde_json::from_str::<OwnType<'_>>(payload) {
        Ok(OwnType { r#type: None }) if members.trim_start().starts_with('}') => {
            format!(r#"{{"type":"{event_type}"}}"#)
        }
        Ok(OwnType { r#type: None }) => format!(r#"{{"type":"{event_type}",{members}"#),
        _ => payload.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event_of_type as event;
    use proptest::prelude::*;

    #[test]
    fn the_type_stands_in_the_payload() {
        let cases = [
            ("{}", r#"{"type":"chunk"}"#),
            ("{ }", r#"{"type":"chunk"}"#),
            (r#"{"text":"a"}"#, r#"{"type":"chunk","text":"a"}"#),
            (r#"{ "n": 1.0 }"#, r#"{"type":"chunk", "n": 1.0 }"#),
            (r#"{"text":"a","type":"chunk"}"#, r#"{"text":"a","type":"chunk"}"#),
            (r#"{"a":{"type":"x"}}"#, r#"{"type":"chunk","a":{"type":"x"}}"#),
            (r#""hello""#, r#"{"type":"chunk","payload":"hello"}"#),
            ("null", r#"{"type":"chunk","payload":null}"#),
            ("[1]", r#"{"type":"chunk","payload":[1]}"#),
        ];
        for (payload, data) in cases {
            let event = event("chunk", payload);
            assert_eq!(
                check_payload(&event.event_type, event.content.payload().unwrap()),
                Ok(()),
                "{payload}"
            );
            assert_eq!(message_data(&event), data);
        }
    }

    #[test]
    fn a_payload_of_another_type_is_refused() {
        for payload in [
            r#"{"type":"end"}"#,
            r#"{"type":1}"#,
            r#"{"type":null}"#,
            r#"{"t\u0079pe":"end"}"#,
            r#"{"type":"chunk","type":"x"}"#,
        ] {
            let event = event("chunk", payload);
            assert_eq!(
                check_payload(&event.event_type, event.content.payload().unwrap()),
                Err(OtherType),
                "{payload}"
            );
            assert_eq!(
                message_data(&event),
                payload,
                "if it is there all the same, it is left as it is"
            );
        }
    }

    proptest! {
        #[test]
        fn what_readers_see_is_an_object_of_that_type(keys in proptest::collection::vec(("[a-z\"\\\\]{0,6}", any::<i32>()), 0..5)) {
            let members: serde_json::Map<String, serde_json::Value> = keys.into_iter().map(|(key, n)| (key, n.into())).collect();
            let event = event("chunk", &serde_json::to_string(&members).unwrap());
            prop_assume!(check_payload(&event.event_type, event.content.payload().unwrap()).is_ok());
            let mut seen: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&message_data(&event)).unwrap();
            prop_assert_eq!(seen.remove("type"), Some("chunk".into()));
            prop_assert_eq!(seen, members);
        }
    }
}
