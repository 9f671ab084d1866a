//! An event as the tables hold it.

use std::{fmt, sync::Arc};

use super::numbers::from_i64;
use crate::domain::{
    category::Category,
    event::{Event, EventType},
    json::Json,
    timestamp::Timestamp,
};

pub(super) struct StoredEvent<'a> {
    pub(super) ts_ms: i64,
    pub(super) event_type: &'a str,
    pub(super) category: Option<&'a str>,
    pub(super) scope: Option<&'a str>,
    pub(super) payload: &'a str,
}

impl StoredEvent<'_> {
    /// The event; nothing, and a line in the log, where it is none: somebody else wrote it.
    pub(super) fn read(&self, place: &dyn fmt::Display) -> Option<Arc<Event>> {
        let read = self.parse();
        if read.is_none() {
            tracing::warn!(%place, "an event in the journal is malformed, and is skipped");
        }
        read.map(Arc::new)
    }

    fn parse(&self) -> Option<Event> {
        Some(Event {
            event_type: EventType::parse(self.event_type).ok()?,
            ts: Timestamp::from_ms(from_i64(self.ts_ms)),
            category: self.category.map(Category::parse).transpose().ok()?,
            scope: self.scope.map(Json::parse).transpose().ok()?,
            payload: Json::parse(self.payload).ok()?,
        })
    }
}
