//! An export as text: NDJSON, one line for each record.
//!
//! ```text
//! {"export_format":1,"exported_at":"2026-11-27T10:00:00.000Z"}
//! {"user":"u1","origin":"1718900000000-0","after":"1718900000000-0"}
//! {"id":"1718900000007-1","event":{"type":"x","ts":"..","user_id":"u1","topic":"user:u1","scope":{},"payload":1}}
//! {"message":"01890a5d-ac96-774b-bcce-b302099a8057","owner":"u1","epoch":1,"stop_requested":false}
//! {"id":"0","event":{"type":"chunk", ..}}
//! {"end":{"topics":1,"entries":1,"messages":1,"message_events":1,"unreadable":0}}
//! ```
//!
//! Invariant: what [`LineWriter`] wrote, [`LineReader`] reads as the same records, the publisher's
//! JSON byte by byte. A file that ends before its `end` is not whole.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::backend_kit::stored_event::{self, Malformed};
use crate::{
    app::archive::{Record, Tally},
    domain::{
        category::Registry,
        event::Entry,
        message::Message,
        position::EventId,
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
};

/// The version of the lines.
const FORMAT: u32 = 1;

/// Why a line is no record.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It is not JSON, or not what stands in an export.
    #[error("it is no line of an export: {0}")]
    Json(#[from] serde_json::Error),
    /// It is none of the lines that there are.
    #[error("it is no line of an export that this version knows")]
    Unknown,
    /// A later version wrote it.
    #[error(
        "the export has format {0}, and this version of Rejoin knows {FORMAT}: use the version that wrote it"
    )]
    Newer(u32),
    /// The first line is another one.
    #[error("the file does not begin as an export does")]
    NotBegun,
    /// A value breaks the rules.
    #[error("{field}: {why}")]
    Value {
        /// Its name.
        field: &'static str,
        /// Which rule.
        why: String,
    },
    /// An event breaks the rules.
    #[error("its event: {0}")]
    Event(#[from] Malformed),
}

/// Any line. What a kind of line does not have is left out.
#[derive(Default, Deserialize, Serialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    export_format: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exported_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_requested: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<EndLine>,
}

#[derive(Default, Deserialize, Serialize)]
struct EndLine {
    topics: u64,
    entries: u64,
    messages: u64,
    message_events: u64,
    #[serde(default)]
    unreadable: u64,
}

/// Writes records as lines.
#[derive(Debug, Default)]
pub struct LineWriter {
    /// Whose entries come now.
    topic: Option<Topic>,
}

impl LineWriter {
    /// A record's line, with its end.
    ///
    /// # Errors
    /// The record is an entry without a topic before it, or an event is no JSON, which none is.
    pub fn line(&mut self, record: &Record) -> Result<String, LineError> {
        let line = match record {
            Record::Begin { exported_at } => Line {
                export_format: Some(FORMAT),
                exported_at: Some(exported_at.to_string()),
                ..Line::default()
            },
            Record::Topic { user, origin, after } => {
                self.topic = Some(Topic::User(user.clone()));
                Line {
                    user: Some(user.to_string()),
                    origin: Some(origin.to_string()),
                    after: Some(after.to_string()),
                    ..Line::default()
                }
            }
            Record::Message { id, message } => {
                self.topic = Some(Topic::Message(id.clone()));
                Line {
                    message: Some(id.to_string()),
                    owner: Some(message.owner.to_string()),
                    epoch: Some(message.epoch),
                    stop_requested: Some(message.stop_requested),
                    ..Line::default()
                }
            }
            Record::Entry(entry) => {
                let topic = self.topic.as_ref().ok_or(LineError::Unknown)?;
                let event = RawValue::from_string(stored_event::encode(topic, &entry.event))?;
                Line { id: Some(entry.id.to_string()), event: Some(event), ..Line::default() }
            }
            Record::Unreadable { topic, why } => Line {
                unreadable: Some(topic.to_string()),
                why: Some(why.clone()),
                ..Line::default()
            },
            Record::End(tally) => {
                let Tally { topics, entries, messages, message_events, unreadable, .. } = *tally;
                Line {
                    end: Some(EndLine { topics, entries, messages, message_events, unreadable }),
                    ..Line::default()
                }
            }
        };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        Ok(text)
    }
}

/// Reads lines as records.
pub struct LineReader {
    registry: Arc<Registry>,
    has_begun: bool,
}

impl LineReader {
    /// Reads from the first line on. The registry gives events a category that have none.
    pub const fn new(registry: Arc<Registry>) -> Self {
        Self { registry, has_begun: false }
    }

    /// A line's record; `None` where the line is empty, or of a topic that could not be exported.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn record(&mut self, line: &str) -> Result<Option<Record>, LineError> {
        if line.trim().is_empty() {
            return Ok(None);
        }
        let line: Line = serde_json::from_str(line)?;
        if let Some(format) = line.export_format {
            self.has_begun = true;
            return if format == FORMAT {
                begin(&line).map(Some)
            } else {
                Err(LineError::Newer(format))
            };
        }
        if !self.has_begun {
            return Err(LineError::NotBegun);
        }
        if line.unreadable.is_some() {
            return Ok(None);
        }
        self.record_of(line).map(Some)
    }

    fn record_of(&self, line: Line) -> Result<Record, LineError> {
        match line {
            Line { user: Some(user), origin: Some(origin), after: Some(after), .. } => {
                Ok(Record::Topic {
                    user: UserId::parse(&user).map_err(|why| value("user", &why))?,
                    origin: id("origin", &origin)?,
                    after: id("after", &after)?,
                })
            }
            Line { message: Some(message), owner: Some(owner), epoch, stop_requested, .. } => {
                let owner = UserId::parse(&owner).map_err(|why| value("owner", &why))?;
                let message_id =
                    MessageId::parse(&message).map_err(|why| value("message", &why))?;
                let mut message = Message::open(None, &owner, false, Timestamp::default())
                    .map_err(|why| value("owner", &why))?
                    .observed
                    .message;
                message.epoch = epoch.unwrap_or(1);
                message.stop_requested = stop_requested.unwrap_or(false);
                Ok(Record::Message { id: message_id, message })
            }
            Line { id: Some(text), event: Some(event), .. } => {
                let id = id("id", &text)?;
                let event = stored_event::decode(
                    event.get().as_bytes(),
                    Timestamp::from_ms(id.major()),
                    &self.registry,
                )?;
                Ok(Record::Entry(Entry { id, prev: None, event: Arc::new(event) }))
            }
            Line { end: Some(end), .. } => {
                let EndLine { topics, entries, messages, message_events, unreadable } = end;
                Ok(Record::End(Tally {
                    topics,
                    entries,
                    messages,
                    message_events,
                    unreadable,
                    ..Tally::default()
                }))
            }
            _ => Err(LineError::Unknown),
        }
    }
}

fn begin(line: &Line) -> Result<Record, LineError> {
    let exported_at = line.exported_at.as_deref().and_then(Timestamp::parse);
    exported_at
        .map(|exported_at| Record::Begin { exported_at })
        .ok_or_else(|| value("exported_at", &"it is no time"))
}

fn value(field: &'static str, why: &dyn ToString) -> LineError {
    LineError::Value { field, why: why.to_string() }
}

fn id(field: &'static str, text: &str) -> Result<EventId, LineError> {
    text.parse().map_err(|why| value(field, &why))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::event;

    fn registry() -> Arc<Registry> {
        Arc::new(Registry::build([]).unwrap())
    }

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn message(epoch: u64) -> Message {
        let opened = Message::open(None, &user("u\u{e9}"), false, Timestamp::default()).unwrap();
        Message { epoch, stop_requested: true, ..opened.observed.message }
    }

    #[test]
    fn records_read_as_they_were_written() {
        let entry = |id, payload| Record::Entry(Entry { id, prev: None, event: event(payload) });
        let records = [
            Record::Begin { exported_at: Timestamp::from_ms(1_718_900_000_007) },
            Record::Topic {
                user: user("a\"b{}"),
                origin: EventId::timed(5, 0),
                after: EventId::timed(7, 3),
            },
            entry(EventId::timed(8, 1), r#"{"b":1.10,"a":"\u0000\/"}"#),
            entry(EventId::timed(9, 1), "null"),
            Record::Message { id: uuid::Uuid::from_u128(7).into(), message: message(3) },
            entry(EventId::sequence(0), "\"x\""),
            Record::End(Tally {
                topics: 1,
                entries: 2,
                messages: 1,
                message_events: 1,
                ..Tally::default()
            }),
        ];
        let (mut writer, mut reader) = (LineWriter::default(), LineReader::new(registry()));
        for record in records {
            let line = writer.line(&record).unwrap();
            assert!(line.ends_with('\n') && !line.trim_end().contains('\n'), "{line}");
            assert_eq!(reader.record(&line).unwrap(), Some(record), "{line}");
        }
    }

    #[test]
    fn what_is_no_export_is_told() {
        let mut reader = LineReader::new(registry());
        assert!(matches!(reader.record("{}"), Err(LineError::NotBegun)));
        let newer = LineReader::new(registry())
            .record(r#"{"export_format":2,"exported_at":"2024-06-20T16:13:20Z"}"#);
        assert!(newer.unwrap_err().to_string().contains("format 2"));
        reader.record(r#"{"export_format":1,"exported_at":"2024-06-20T16:13:20Z"}"#).unwrap();
        assert!(matches!(reader.record(""), Ok(None)));
        for line in [
            "x",
            "[]",
            "{}",
            r#"{"user":"","origin":"1-0","after":"1-0"}"#,
            r#"{"user":"u","origin":"1-0"}"#,
            r#"{"message":"a b","owner":"u"}"#,
            r#"{"id":"1-1","event":{}}"#,
            r#"{"id":"-","event":{"type":"x"}}"#,
        ] {
            assert!(reader.record(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_told_without_a_panic(line: String) {
            let mut reader = LineReader { registry: registry(), has_begun: true };
            let _ = reader.record(&line);
        }
    }
}
