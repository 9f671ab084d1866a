//! A publisher's JSON becomes a [`Publication`], or it is said which field is wrong.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{error::Category as JsonErrorCategory, value::RawValue};
use utoipa::ToSchema;

use super::{body_encoding, inputs::UserIdText, problem::Problem, problem_code::Code};
use crate::{
    app::publishing::{Publication, Recipients},
    domain::{
        category::{Category, Registry},
        event::{Content, EventName, EventType, InvalidEventName, InvalidEventType},
        idempotency_key::IdempotencyKey,
        json::{self, Json},
        topic::UserId,
    },
};

/// An event to publish, with exactly one of `user_id`, `user_ids` and `"broadcast": true`.
// The fields as they came: each is parsed by itself, so that an error can name it.
#[derive(Deserialize, ToSchema)]
#[schema(as = Publication)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields<'a> {
    /// Who gets it.
    #[serde(borrow)]
    #[schema(value_type = Option<UserIdText>)]
    user_id: Option<&'a RawValue>,
    /// Who get it, each as an event of their own; at most `events.recipients_max`.
    #[serde(borrow)]
    #[schema(value_type = Option<Vec<UserIdText>>, min_items = 1)]
    user_ids: Option<&'a RawValue>,
    /// Whether every open connection gets it. Nothing is kept of it.
    #[serde(borrow)]
    #[schema(value_type = Option<bool>)]
    broadcast: Option<&'a RawValue>,
    /// What happened. Types that begin with `backlog.` or `stream.` are the server's own, and
    /// `error` and `open` would call the handlers of a browser's own events.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128, pattern = r"^(?!backlog\.|stream\.|(?:error|open)$)[A-Za-z0-9._:-]+$")]
    r#type: Option<&'a RawValue>,
    /// Its content: any JSON, carried as it was written; `{}` without one.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Value)]
    payload: Option<Box<RawValue>>,
    /// Its content as a text, in place of `payload`: carried as it is. CR, LF and CRLF all end a
    /// line of it.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    data: Option<&'a RawValue>,
    /// The name that the format `data` writes for it; only with `data`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    event: Option<&'a RawValue>,
    /// What it is about; `{}` without one.
    #[schema(value_type = Option<Object>)]
    scope: Option<Box<RawValue>>,
    /// Its category, one of those in `[categories]`; without one the type decides.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    category: Option<&'a RawValue>,
}

/// A payload of `null` is one: what is missing is something else.
pub(super) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Reads one event.
pub(super) fn parse(
    body: &[u8],
    idempotency_key: Option<IdempotencyKey>,
    recipients_max: usize,
    registry: &Registry,
) -> Result<Publication, Problem> {
    let fields: Fields<'_> = fields(body)?;
    let recipients = recipients(&fields, recipients_max)?;
    publication(fields, recipients, idempotency_key, registry)
}

/// Reads one event for the user that the request's path names.
pub(super) fn parse_for(
    user: UserId,
    body: &[u8],
    idempotency_key: Option<IdempotencyKey>,
    registry: &Registry,
) -> Result<Publication, Problem> {
    let fields: Fields<'_> = fields(body)?;
    let named = [
        ("user_id", fields.user_id),
        ("user_ids", fields.user_ids),
        ("broadcast", fields.broadcast),
    ];
    if let Some((field, _)) = named.into_iter().find(|(_, value)| value.is_some()) {
        return Err(Problem::invalid_field(field, "the path names the recipient: leave this out"));
    }
    publication(fields, Recipients::User(user), idempotency_key, registry)
}

fn publication(
    fields: Fields<'_>,
    recipients: Recipients,
    idempotency_key: Option<IdempotencyKey>,
    registry: &Registry,
) -> Result<Publication, Problem> {
    Ok(Publication {
        recipients,
        event_type: event_type(fields.r#type, EventType::parse_for_user)?,
        category: category(fields.category, registry)?,
        scope: scope(fields.scope)?,
        content: content(fields.payload, fields.data, fields.event, EventName::parse_for_user)?,
        idempotency_key,
    })
}

/// Takes a body apart, or a line.
pub(super) fn fields<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Problem> {
    let text = body_encoding::without_bom(text);
    if json::is_array(text) {
        return Err(Problem::unprocessable(
            "a JSON array, where one JSON object should be: send several events as NDJSON, an object a line, with `Content-Type: application/x-ndjson`",
        ));
    }
    serde_json::from_slice(text).map_err(|error| match error.classify() {
        JsonErrorCategory::Data => {
            Problem::unprocessable(format!("the body is not of the right form: {error}"))
        }
        _ => body_encoding::explain(text).unwrap_or_else(|| {
            Problem::new(Code::InvalidJson, format!("the body is not valid JSON: {error}"))
        }),
    })
}

fn recipients(fields: &Fields<'_>, recipients_max: usize) -> Result<Recipients, Problem> {
    let broadcast = match fields.broadcast {
        Some(raw) => value("broadcast", raw, "true or false")?,
        None => false,
    };
    match (fields.user_id, fields.user_ids, broadcast) {
        (Some(raw), None, false) => {
            Ok(Recipients::User(user_id("user_id", &value::<String>("user_id", raw, "a string")?)?))
        }
        (None, Some(raw), false) => {
            let names: Vec<String> = value("user_ids", raw, "a list of strings")?;
            if names.is_empty() || names.len() > recipients_max {
                return Err(Problem::invalid_field(
                    "user_ids",
                    format!("an event has 1 to {recipients_max} recipients, not {}", names.len()),
                ));
            }
            let users: Result<Vec<UserId>, Problem> =
                names.iter().map(|name| user_id("user_ids", name)).collect();
            users.map(Recipients::Users)
        }
        (None, None, true) => Ok(Recipients::Everybody),
        (None, None, false) => Err(Problem::invalid_field(
            "user_id",
            "missing: give `user_id`, `user_ids` or `\"broadcast\": true`",
        )),
        _ => Err(Problem::invalid_field(
            "user_id",
            "give only one of `user_id`, `user_ids` and `\"broadcast\": true`",
        )),
    }
}

pub(super) fn user_id(field: &'static str, text: &str) -> Result<UserId, Problem> {
    UserId::parse(text).map_err(|reason| Problem::invalid_field(field, reason))
}

/// Reads a type by the rules of `parse`.
pub(super) fn event_type(
    raw: Option<&RawValue>,
    parse: impl Fn(&str) -> Result<EventType, InvalidEventType>,
) -> Result<EventType, Problem> {
    let raw = raw.ok_or_else(|| Problem::invalid_field("type", "missing"))?;
    parse(&value::<String>("type", raw, "a string")?)
        .map_err(|reason| Problem::invalid_field("type", reason))
}

fn category(raw: Option<&RawValue>, registry: &Registry) -> Result<Option<Category>, Problem> {
    let Some(name) =
        raw.map(|raw| value::<Option<String>>("category", raw, "a string")).transpose()?.flatten()
    else {
        return Ok(None);
    };
    let known = registry.find(&name).cloned();
    known.map(Some).ok_or_else(|| {
        let valid: Vec<&str> = registry.names().map(Category::as_str).collect();
        Problem::invalid_field(
            "category",
            format!("unknown; the valid ones are: {}", valid.join(", ")),
        )
    })
}

fn scope(raw: Option<Box<RawValue>>) -> Result<Json, Problem> {
    let Some(raw) = raw else { return Ok(Json::empty_object()) };
    let scope = Json::from_raw(raw).map_err(|reason| Problem::invalid_field("scope", reason))?;
    if scope.is_object() {
        Ok(scope)
    } else {
        Err(Problem::invalid_field("scope", must_be("an object")))
    }
}

/// Reads what an event carries; its name by the rules of `parse`.
pub(super) fn content(
    payload: Option<Box<RawValue>>,
    data: Option<&RawValue>,
    event: Option<&RawValue>,
    parse: impl Fn(&str) -> Result<EventName, InvalidEventName>,
) -> Result<Content, Problem> {
    let Some(data) = data else {
        if event.is_some() {
            return Err(Problem::invalid_field("event", "it names a text: give `data` with it"));
        }
        let json = payload.map(Json::from_raw).transpose();
        let json = json.map_err(|reason| Problem::invalid_field("payload", reason))?;
        return Ok(json.map_or(Content::Nothing, Content::Payload));
    };
    if payload.is_some() {
        return Err(Problem::invalid_field("data", "give only one of `payload` and `data`"));
    }
    let text = value("data", data, "a string")?;
    let name = event.map(|raw| value::<String>("event", raw, "a string")).transpose()?;
    let event = name
        .map(|name| parse(&name).map_err(|reason| Problem::invalid_field("event", reason)))
        .transpose()?;
    Ok(Content::Data { text, event })
}

pub(super) fn value<T: DeserializeOwned>(
    field: &'static str,
    raw: &RawValue,
    expected: &'static str,
) -> Result<T, Problem> {
    serde_json::from_str(raw.get()).map_err(|_| Problem::invalid_field(field, must_be(expected)))
}

fn must_be(expected: &str) -> impl Display {
    format!("must be {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn registry() -> Registry {
        let patterns = ["ai.*".to_owned()];
        Registry::build([("ai", &patterns[..])]).unwrap()
    }

    fn read(body: &str) -> Result<Publication, Problem> {
        parse(body.as_bytes(), None, 3, &registry())
    }

    #[test]
    fn a_whole_event_is_read() {
        let publication =
            read(r#"{"user_id":"u1","type":"ai.done","payload":{"n":1.0},"scope":{"kind":"source"},"category":"ai"}"#).unwrap();
        assert!(matches!(&publication.recipients, Recipients::User(user) if user.as_str() == "u1"));
        assert_eq!(publication.content.payload().unwrap().as_str(), r#"{"n":1.0}"#);
        assert_eq!(publication.scope.as_str(), r#"{"kind":"source"}"#);
    }

    #[test]
    fn promise_11_what_an_array_and_a_compressed_body_should_be_is_told() {
        let array = read(r#"[{"user_id":"u","type":"t"}]"#).unwrap_err();
        assert!(array.message.contains("application/x-ndjson"), "{}", array.message);
        let compressed = parse(b"\x1f\x8b\x08\0rubbish", None, 3, &registry()).unwrap_err();
        assert_eq!(compressed.code, Code::UnsupportedEncoding);
        assert!(
            read("\u{feff}{\"user_id\":\"u\",\"type\":\"t\"}").is_ok(),
            "the mark of UTF-8 is passed over"
        );
    }

    #[test]
    fn the_payload_is_any_value_and_null_is_one() {
        for payload in ["null", "1", "\"x\"", "[]", "{}"] {
            let publication =
                read(&format!(r#"{{"user_id":"u","type":"t","payload":{payload}}}"#)).unwrap();
            assert_eq!(publication.content.payload().unwrap().as_str(), payload);
        }
        assert_eq!(read(r#"{"user_id":"u","type":"t"}"#).unwrap().content, Content::Nothing);
    }

    #[test]
    fn a_text_is_carried_as_it_is_with_its_name() {
        let content =
            |fields| read(&format!(r#"{{"user_id":"u","type":"t",{fields}}}"#)).unwrap().content;
        let data = |text: &str, event: Option<&str>| Content::Data {
            text: text.into(),
            event: event.map(|name| EventName::parse(name).unwrap()),
        };
        assert_eq!(content(r#""data":"a\r\nb\u0000""#), data("a\r\nb\0", None));
        assert_eq!(content(r#""data":"""#), data("", None));
        assert_eq!(content(r#""data":"x","event":"patch é""#), data("x", Some("patch é")));
    }

    #[test]
    fn promise_11_a_wrong_field_is_named() {
        let deep = format!(
            r#"{{"user_id":"u","type":"t","payload":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        let cases = [
            ("{", 400, None),
            ("", 400, None),
            ("\"x\"", 422, None),
            ("[]", 422, None),
            (r#"["u",null,null,"t",{"x":1},null,null]"#, 422, None),
            (r#" [{"user_id":"u","type":"t"}]"#, 422, None),
            ("{}", 422, Some("user_id")),
            (r#"{"user_id":"u","type":"t","extra":1}"#, 422, None),
            (r#"{"user_id":"u","user_id":"v","type":"t"}"#, 422, None),
            (r#"{"user_id":1,"type":"t"}"#, 422, Some("user_id")),
            (r#"{"user_id":"a\nb","type":"t"}"#, 422, Some("user_id")),
            (r#"{"user_id":"u","user_ids":["v"],"type":"t"}"#, 422, Some("user_id")),
            (r#"{"user_id":"u","broadcast":true,"type":"t"}"#, 422, Some("user_id")),
            (r#"{"user_ids":[],"type":"t"}"#, 422, Some("user_ids")),
            (r#"{"user_ids":["a","b","c","d"],"type":"t"}"#, 422, Some("user_ids")),
            (r#"{"user_ids":["a",""],"type":"t"}"#, 422, Some("user_ids")),
            (r#"{"user_ids":"a","type":"t"}"#, 422, Some("user_ids")),
            (r#"{"broadcast":"yes","type":"t"}"#, 422, Some("broadcast")),
            (r#"{"broadcast":false,"type":"t"}"#, 422, Some("user_id")),
            (r#"{"user_id":"u"}"#, 422, Some("type")),
            (r#"{"user_id":"u","type":""}"#, 422, Some("type")),
            (r#"{"user_id":"u","type":"backlog.truncated"}"#, 422, Some("type")),
            (r#"{"user_id":"u","type":"stream.position"}"#, 422, Some("type")),
            (r#"{"user_id":"u","type":"error"}"#, 422, Some("type")),
            (r#"{"broadcast":true,"type":"open"}"#, 422, Some("type")),
            (r#"{"user_id":"u","type":"t","payload":{},"data":"x"}"#, 422, Some("data")),
            (r#"{"user_id":"u","type":"t","payload":null,"data":"x"}"#, 422, Some("data")),
            (r#"{"user_id":"u","type":"t","data":1}"#, 422, Some("data")),
            (r#"{"user_id":"u","type":"t","data":"\ud800"}"#, 422, Some("data")),
            (r#"{"user_id":"u","type":"t","event":"x"}"#, 422, Some("event")),
            (r#"{"user_id":"u","type":"t","payload":{},"event":"x"}"#, 422, Some("event")),
            (r#"{"user_id":"u","type":"t","data":"x","event":"a\nb"}"#, 422, Some("event")),
            (r#"{"user_id":"u","type":"t","data":"x","event":""}"#, 422, Some("event")),
            (r#"{"user_id":"u","type":"t","data":"x","event":7}"#, 422, Some("event")),
            (r#"{"user_id":"u","type":"t","data":"x","event":"error"}"#, 422, Some("event")),
            (
                r#"{"user_id":"u","type":"t","data":"x","event":"stream.refused"}"#,
                422,
                Some("event"),
            ),
            (r#"{"user_id":"u","type":"t","scope":[]}"#, 422, Some("scope")),
            (r#"{"user_id":"u","type":"t","category":"nonsense"}"#, 422, Some("category")),
            (r#"{"user_id":"u","type":"t","category":7}"#, 422, Some("category")),
            (&deep, 422, Some("payload")),
        ];
        for (body, status, field) in cases {
            let problem = read(body).unwrap_err();
            let shown = &body[..body.len().min(80)];
            assert_eq!(
                (problem.status().as_u16(), problem.field),
                (status, field),
                "{shown}: {}",
                problem.message
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes, None, 3, &registry());
        }

        #[test]
        fn any_json_is_read_or_refused_without_a_panic(
            text in r#"\{("(user_id|user_ids|type|payload|data|event|scope|category|broadcast)":("x"|1|null|true|\[\]|\["a"\]|\{\}),?){0,6}\}"#,
        ) {
            let _ = read(&text);
        }
    }
}
