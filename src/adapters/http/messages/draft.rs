//! A producer's JSON becomes an [`Opening`] or a [`Draft`], or it is said which field is wrong.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    adapters::http::{inputs, problem::Problem, publication},
    app::producing::Draft,
    domain::{
        event::{EventName, EventType, Last, Terminal},
        idempotency_key::IdempotencyKey,
        message_data::check_payload,
        topic::UserId,
    },
};

/// What a message is opened with.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) owner: UserId,
    pub(super) takeover: bool,
}

/// What opens a message.
// The fields as they came: each is parsed by itself, so that an error can name it.
#[derive(Deserialize, ToSchema)]
#[schema(as = MessageOpening)]
#[serde(deny_unknown_fields)]
pub(super) struct OpeningFields<'a> {
    /// Who may read it.
    #[serde(borrow)]
    #[schema(value_type = inputs::UserIdText)]
    user_id: Option<&'a RawValue>,
    /// Whether a new producer takes the message over: it gets a higher epoch.
    #[serde(borrow)]
    #[schema(value_type = Option<bool>)]
    takeover: Option<&'a RawValue>,
}

/// An event to append to a message.
#[derive(Deserialize, ToSchema)]
#[schema(as = MessageDraft)]
#[serde(deny_unknown_fields)]
pub(super) struct DraftFields<'a> {
    /// What it is. `end` and `error` end the message, unless `last` is false.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128, pattern = r"^(?!backlog\.|stream\.)[A-Za-z0-9._:-]+$")]
    r#type: Option<&'a RawValue>,
    /// Its content: any JSON, carried as it was written. A `type` of its own must be the event's.
    #[serde(default, deserialize_with = "publication::present")]
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
    /// Whether it ends the message: true by default for the types `end` and `error`, false for all
    /// others.
    #[serde(borrow)]
    #[schema(value_type = Option<bool>)]
    last: Option<&'a RawValue>,
    /// How the message ended, if this ends it: `failed` by default for the type `error`, `complete`
    /// for all others.
    #[serde(borrow)]
    #[schema(value_type = Option<EndStatus>)]
    status: Option<&'a RawValue>,
    /// Its number, if the producer counts; else the server does.
    #[serde(borrow)]
    #[schema(value_type = Option<u64>)]
    sequence_no: Option<&'a RawValue>,
}

/// Reads what opens a message.
pub(super) fn opening(body: &[u8]) -> Result<Opening, Problem> {
    let fields: OpeningFields<'_> = publication::fields(body)?;
    let raw = fields
        .user_id
        .ok_or_else(|| Problem::invalid_field("user_id", "missing: whose message is it?"))?;
    let owner = publication::user_id(
        "user_id",
        &publication::value::<String>("user_id", raw, "a string")?,
    )?;
    let takeover = fields
        .takeover
        .map_or(Ok(false), |raw| publication::value("takeover", raw, "true or false"))?;
    Ok(Opening { owner, takeover })
}

/// Reads one event.
pub(super) fn draft(
    body: &[u8],
    idempotency_key: Option<IdempotencyKey>,
) -> Result<Draft, Problem> {
    let fields: DraftFields<'_> = publication::fields(body)?;
    let event_type = publication::event_type(fields.r#type, EventType::parse)?;
    let content =
        publication::content(fields.payload, fields.data, fields.event, EventName::parse)?;
    if let Some(payload) = content.payload() {
        check_payload(&event_type, payload)
            .map_err(|reason| Problem::invalid_field("payload", reason))?;
    }
    let last = last(&event_type, fields.last, fields.status)?;
    let sequence_no = fields
        .sequence_no
        .map(|raw| publication::value::<Option<u64>>("sequence_no", raw, "a whole number from 0"))
        .transpose()?;
    Ok(Draft { event_type, content, last, sequence_no: sequence_no.flatten(), idempotency_key })
}

fn last(
    event_type: &EventType,
    last: Option<&RawValue>,
    status: Option<&RawValue>,
) -> Result<Last, Problem> {
    let last = last.map(|raw| publication::value("last", raw, "true or false")).transpose()?;
    let Some(status) = status else { return Ok(Last::of(event_type, last, None)) };
    let status: EndStatus = publication::value("status", status, EndStatus::EXPECTED)?;
    let last = Last::of(event_type, last, Some(status.into()));
    if last.terminal(event_type).is_none() {
        return Err(Problem::invalid_field("status", "only the last event has one"));
    }
    Ok(last)
}

/// How a message ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EndStatus {
    /// The answer is whole.
    #[default]
    Complete,
    /// It is not.
    Failed,
}

impl EndStatus {
    const EXPECTED: &'static str = "`complete` or `failed`";
}

impl From<EndStatus> for Terminal {
    fn from(status: EndStatus) -> Self {
        match status {
            EndStatus::Complete => Self::End,
            EndStatus::Failed => Self::Error,
        }
    }
}

/// What ends a message.
#[derive(Deserialize, ToSchema)]
#[schema(as = MessageEnd)]
#[serde(deny_unknown_fields)]
pub(super) struct EndFields<'a> {
    /// How it ended; `complete` where it is not said.
    #[serde(borrow)]
    #[schema(value_type = Option<EndStatus>)]
    status: Option<&'a RawValue>,
}

/// Reads how a message ends; from no body, that it is complete.
pub(super) fn end(body: &[u8]) -> Result<Terminal, Problem> {
    if body.is_empty() {
        return Ok(EndStatus::default().into());
    }
    let fields: EndFields<'_> = publication::fields(body)?;
    let status = fields
        .status
        .map(|raw| publication::value::<EndStatus>("status", raw, EndStatus::EXPECTED))
        .transpose()?;
    Ok(status.unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Content;
    use proptest::prelude::*;

    #[test]
    fn a_whole_draft_is_read() {
        let draft =
            draft(br#"{"type":"chunk","payload":{"text":"a"},"sequence_no":7}"#, None).unwrap();
        assert_eq!(
            (draft.event_type.as_str(), draft.content.payload().unwrap().as_str()),
            ("chunk", r#"{"text":"a"}"#)
        );
        assert_eq!((draft.sequence_no, draft.last), (Some(7), Last::AsItsType));
        assert_eq!(super::draft(br#"{"type":"end"}"#, None).unwrap().content, Content::Nothing);
        assert_eq!(
            super::draft(br#"{"type":"t","sequence_no":null}"#, None).unwrap().sequence_no,
            None
        );
    }

    #[test]
    fn an_event_of_any_type_can_be_the_last() {
        let last = |body: &str| draft(body.as_bytes(), None).unwrap().last;
        for (body, expected) in [
            (r#"{"type":"t"}"#, Last::AsItsType),
            (r#"{"type":"t","last":false}"#, Last::AsItsType),
            (r#"{"type":"t","last":true}"#, Last::Yes(Terminal::End)),
            (r#"{"type":"t","last":true,"status":"failed"}"#, Last::Yes(Terminal::Error)),
            (r#"{"type":"error","last":false}"#, Last::No),
            (r#"{"type":"end","status":"failed"}"#, Last::Yes(Terminal::Error)),
            (r#"{"type":"end","status":"complete"}"#, Last::AsItsType),
        ] {
            assert_eq!(last(body), expected, "{body}");
        }
    }

    #[test]
    fn an_end_is_read() {
        for (body, terminal) in [
            ("", Terminal::End),
            ("{}", Terminal::End),
            (r#"{"status":"complete"}"#, Terminal::End),
            (r#"{"status":"failed"}"#, Terminal::Error),
        ] {
            assert_eq!(end(body.as_bytes()).unwrap(), terminal);
        }
        for body in [r#"{"status":"stale"}"#, r#"{"status":1}"#] {
            assert_eq!(end(body.as_bytes()).unwrap_err().field, Some("status"), "{body}");
        }
        assert!(end(br#"{"state":"failed"}"#).is_err());
    }

    #[test]
    fn an_opening_is_read() {
        let opening = opening(br#"{"user_id":"u1"}"#).unwrap();
        assert_eq!((opening.owner.as_str(), opening.takeover), ("u1", false));
        assert!(super::opening(br#"{"user_id":"u1","takeover":true}"#).unwrap().takeover);
    }

    #[test]
    fn promise_11_a_wrong_field_is_named() {
        let cases = [
            ("{", 400, None),
            ("[]", 422, None),
            (r#"["t",{},0]"#, 422, None),
            ("{}", 422, Some("type")),
            (r#"{"type":"a b"}"#, 422, Some("type")),
            (r#"{"type":"stream.x"}"#, 422, Some("type")),
            (r#"{"type":"t","payload":{"type":"other"}}"#, 422, Some("payload")),
            (r#"{"type":"t","payload":1,"data":"x"}"#, 422, Some("data")),
            (r#"{"type":"t","data":["x"]}"#, 422, Some("data")),
            (r#"{"type":"t","data":"x","event":"a\rb"}"#, 422, Some("event")),
            (r#"{"type":"t","event":"a"}"#, 422, Some("event")),
            (r#"{"type":"t","last":"yes"}"#, 422, Some("last")),
            (r#"{"type":"t","status":"failed"}"#, 422, Some("status")),
            (r#"{"type":"end","last":false,"status":"failed"}"#, 422, Some("status")),
            (r#"{"type":"t","last":true,"status":"stale"}"#, 422, Some("status")),
            (r#"{"type":"t","sequence_no":-1}"#, 422, Some("sequence_no")),
            (r#"{"type":"t","sequence_no":1.5}"#, 422, Some("sequence_no")),
            (r#"{"type":"t","sequence_no":"1"}"#, 422, Some("sequence_no")),
            (r#"{"type":"t","sequence_no":18446744073709551616}"#, 422, Some("sequence_no")),
            (r#"{"type":"t","user_id":"u"}"#, 422, None),
        ];
        for (body, status, field) in cases {
            let problem = draft(body.as_bytes(), None).unwrap_err();
            assert_eq!(
                (problem.status().as_u16(), problem.field),
                (status, field),
                "{body}: {}",
                problem.message
            );
        }
        for (body, field) in [
            ("{}", "user_id"),
            (r#"{"user_id":""}"#, "user_id"),
            (r#"{"user_id":"u","takeover":1}"#, "takeover"),
        ] {
            assert_eq!(opening(body.as_bytes()).unwrap_err().field, Some(field), "{body}");
        }
        assert!(opening(br#"["u",false]"#).unwrap_err().message.contains("a JSON array"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = (draft(&bytes, None), opening(&bytes), end(&bytes));
        }
    }
}
