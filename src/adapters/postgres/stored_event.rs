//! An event as the tables hold it.
//!
//! Invariant: what [`EventColumns`] made, [`StoredEvent`] reads as the same event. A row that
//! another program wrote has no attributes, and is an event with a payload.

use serde::{Deserialize, Serialize};

use super::numbers::from_i64;
use crate::{
    adapters::backend_kit::stored_event::Malformed,
    domain::{
        category::Category,
        event::{Content, Event, EventName, EventType, Last},
        json::Json,
        timestamp::Timestamp,
    },
};

/// What the columns of an event hold of its type, what it carries, and whether it is the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventColumns {
    pub(super) event_type: String,
    pub(super) payload: String,
    pub(super) attributes: Option<String>,
}

/// What else there is to know of what a row carries.
#[derive(Default, PartialEq, Eq, Deserialize, Serialize)]
struct Attributes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Kind>,
    /// The name for the format `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

/// How the column `payload` is meant, where it is none.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// It holds a text, as a JSON string.
    Data,
    /// The event carries nothing.
    Nothing,
}

impl EventColumns {
    pub(super) fn of(event: &Event) -> Self {
        let last = event.last.name().map(str::to_owned);
        let (payload, content, event_name) = match &event.content {
            Content::Payload(payload) => (payload.as_str().to_owned(), None, None),
            Content::Data { text, event } => {
                let name = event.as_ref().map(EventName::to_string);
                (serde_json::Value::from(&**text).to_string(), Some(Kind::Data), name)
            }
            Content::Nothing => ("{}".to_owned(), Some(Kind::Nothing), None),
        };
        let attributes = Attributes { content, event: event_name, last };
        // Texts and names always serialise.
        let attributes = (attributes != Attributes::default())
            .then(|| serde_json::to_string(&attributes).unwrap_or_default());
        Self { event_type: event.event_type.as_str().to_owned(), payload, attributes }
    }
}

pub(super) struct StoredEvent<'a> {
    pub(super) ts_ms: i64,
    pub(super) event_type: &'a str,
    pub(super) category: Option<&'a str>,
    pub(super) scope: Option<&'a str>,
    pub(super) payload: &'a str,
    pub(super) attributes: Option<&'a str>,
}

impl StoredEvent<'_> {
    /// The event, where it is one: another program may have written it.
    pub(super) fn read(&self) -> Result<Event, Malformed> {
        let attributes: Option<Attributes> =
            self.attributes.map(serde_json::from_str).transpose()?;
        let Attributes { content, event, last } = attributes.unwrap_or_default();
        Ok(Event {
            event_type: EventType::parse(self.event_type)?,
            ts: Timestamp::from_ms(from_i64(self.ts_ms)),
            category: self.category.and_then(|name| Category::parse(name).ok()),
            // What was written before a scope was always there, or by another program.
            scope: self
                .scope
                .filter(|scope| *scope != "null")
                .map(Json::parse)
                .transpose()?
                .unwrap_or_else(Json::empty_object),
            content: match content {
                None => Content::Payload(Json::parse(self.payload)?),
                Some(Kind::Data) => Content::Data {
                    text: serde_json::from_str(self.payload)?,
                    event: event.and_then(|name| EventName::parse(&name).ok()),
                },
                Some(Kind::Nothing) => Content::Nothing,
            },
            last: last.map_or(Last::AsItsType, |name| Last::named(&name)),
        })
    }
}
