//! An event as the tables hold it.

use super::numbers::from_i64;
use crate::{
    adapters::backend_kit::stored_event::Malformed,
    domain::{
        category::Category,
        event::{Event, EventType},
        json::Json,
        timestamp::Timestamp,
    },
};

pub(super) struct StoredEvent<'a> {
    pub(super) ts_ms: i64,
    pub(super) event_type: &'a str,
    pub(super) category: Option<&'a str>,
    pub(super) scope: Option<&'a str>,
    pub(super) payload: &'a str,
}

impl StoredEvent<'_> {
    /// The event, where it is one: another program may have written it.
    pub(super) fn read(&self) -> Result<Event, Malformed> {
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
            payload: Json::parse(self.payload)?,
        })
    }
}
