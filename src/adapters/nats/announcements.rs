//! What every process is to hear, in a small stream of its own.
//!
//! Invariant: what does not fit is refused to whoever announces it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::json;

use super::{
    failure::Failure,
    journal::bounded,
    store::{Store, Stored, Write},
};
use crate::{
    adapters::backend_kit::{
        feed::{ANNOUNCEMENTS_AT_ONCE, Announcement, AnnouncementLog, AnnouncementPage},
        stored_event,
    },
    domain::{category::Registry, position::Position, timestamp::Timestamp, topic::UserId},
    ports::backend_error::{BackendError, BackendErrorKind},
};

/// The header with an announcement's kind.
const KIND: &str = "Rejoin-Kind";
const EVENT: &str = "event";
const CLOSE: &str = "close";
/// Most bytes that are read at once.
const BYTES_AT_ONCE: usize = 4 * 1024 * 1024;

/// The announcements in a stream.
pub(super) struct NatsAnnouncements {
    pub(super) store: Arc<Store>,
    pub(super) subject: String,
    pub(super) registry: Arc<Registry>,
}

impl NatsAnnouncements {
    fn announcement(&self, stored: &Stored) -> Option<Announcement> {
        if stored.headers.get_last(KIND)?.as_str() == CLOSE {
            let user = UserId::parse(std::str::from_utf8(&stored.payload).ok()?).ok()?;
            return Some(Announcement::CloseConnections(user));
        }
        let event = stored_event::decode(&stored.payload, Timestamp::default(), &self.registry);
        let event = event
            .inspect_err(
                |reason| tracing::warn!(%reason, "a broadcast is no event, and is passed over"),
            )
            .ok()?;
        Some(Announcement::Broadcast(Arc::new(event)))
    }

    async fn read_after(&self, after: Position) -> Result<AnnouncementPage, Failure> {
        let state = self.store.info().await?.state;
        let incarnation = &self.store.incarnation;
        let from = incarnation.sequence(after).saturating_add(1);
        let end = incarnation.position(state.last_seq);
        // Before the first one that is there, or of another incarnation.
        let some_are_gone = after != Position::Start
            && end >= after
            && (from < state.first_seq || after < incarnation.position(0));
        let mut found = Vec::new();
        let mut from = from.max(state.first_seq).max(1);
        if from <= state.last_seq {
            let question = json!({ "seq": from, "next_by_subj": self.subject, "batch": ANNOUNCEMENTS_AT_ONCE, "max_bytes": BYTES_AT_ONCE });
            found = self.store.several(&question).await?;
        }
        // A replica may lack the last ones: the leader has them.
        let mut bytes: usize = found.iter().map(|stored| stored.payload.len()).sum();
        while found.len() < ANNOUNCEMENTS_AT_ONCE && bytes < BYTES_AT_ONCE / 2 {
            from = found.last().map_or(from, |last| last.sequence + 1);
            if from > state.last_seq {
                break;
            }
            let Some(next) = self.store.first_from(&self.subject, from).await? else { break };
            bytes += next.payload.len();
            found.push(next);
        }
        let announcements = found
            .iter()
            .map(|stored| (incarnation.position(stored.sequence), self.announcement(stored)));
        Ok(AnnouncementPage { announcements: announcements.collect(), end, some_are_gone })
    }
}

#[async_trait]
impl AnnouncementLog for NatsAnnouncements {
    async fn announce(&self, announcement: &Announcement) -> Result<(), BackendError> {
        const CONTEXT: &str = "announce to every process";
        let (kind, content) = match announcement {
            Announcement::Broadcast(event) => (EVENT, stored_event::encode_broadcast(event)),
            Announcement::CloseConnections(user) => (CLOSE, user.as_str().to_owned()),
        };
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(KIND, kind);
        let write = Write { subject: self.subject.clone(), headers, payload: content.into() };
        let written = async {
            match self.store.write(write).await {
                Err(failure) if failure.is_full() => Ok(false),
                answer => answer.map(|_| true),
            }
        };
        if bounded(CONTEXT, written).await? {
            Ok(())
        } else {
            Err(BackendError::new(BackendErrorKind::BroadcastsFull, CONTEXT))
        }
    }

    async fn end(&self) -> Result<Position, BackendError> {
        let info = bounded("find the end of the announcements", self.store.info()).await?;
        Ok(self.store.incarnation.position(info.state.last_seq))
    }

    async fn read(&self, after: Position, _: Duration) -> Result<AnnouncementPage, BackendError> {
        bounded("read announcements", self.read_after(after)).await
    }
}
