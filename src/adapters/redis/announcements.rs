//! What every process is to hear, in a small stream of its own; its channel only says that there is
//! something new.
//!
//! Invariant: what does not fit is refused to whoever announces it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    connection::Connection,
    failure::malformed_reply,
    keys::Keys,
    scripts::{ANNOUNCE, READ_ANNOUNCEMENTS},
};
use crate::{
    adapters::backend_kit::{
        feed::{
            ANNOUNCEMENTS_AT_ONCE, ANNOUNCEMENTS_BYTES_MAX, ANNOUNCEMENTS_KEPT, Announcement,
            AnnouncementLog, AnnouncementPage,
        },
        stored_event,
    },
    domain::{
        category::Registry,
        position::{EventId, Position},
        timestamp::{Timestamp, millis},
        topic::UserId,
    },
    ports::backend_error::{BackendError, BackendErrorKind},
};

/// The kinds of announcements.
const EVENT: &str = "event";
const CLOSE: &str = "close";

/// What `read_announcements.lua` answers.
type Answer = (String, bool, Vec<String>);

/// The announcements in Redis.
pub(super) struct RedisAnnouncements {
    pub(super) appends: Arc<Connection>,
    pub(super) reads: Arc<Connection>,
    pub(super) keys: Arc<Keys>,
    pub(super) registry: Arc<Registry>,
}

impl RedisAnnouncements {
    /// Reads behind a position; only where they end if there is none.
    async fn answer(&self, after: &str) -> Result<Answer, BackendError> {
        let arguments =
            [after, &millis(ANNOUNCEMENTS_KEPT).to_string(), &ANNOUNCEMENTS_AT_ONCE.to_string()];
        self.reads
            .run(
                "read announcements",
                &READ_ANNOUNCEMENTS,
                &[self.keys.announcements()],
                &arguments,
            )
            .await
    }

    fn announcement(&self, kind: &str, content: &str) -> Option<Announcement> {
        if kind == CLOSE {
            return UserId::parse(content).ok().map(Announcement::CloseConnections);
        }
        let event = stored_event::decode(content.as_bytes(), Timestamp::default(), &self.registry);
        let event = event
            .inspect_err(
                |reason| tracing::warn!(%reason, "a broadcast is no event, and is passed over"),
            )
            .ok()?;
        Some(Announcement::Broadcast(Arc::new(event)))
    }
}

fn position(id: &str) -> Result<Position, BackendError> {
    id.parse().map(Position::After).map_err(|_| malformed_reply())
}

#[async_trait]
impl AnnouncementLog for RedisAnnouncements {
    async fn announce(&self, announcement: &Announcement) -> Result<(), BackendError> {
        const CONTEXT: &str = "announce to every process";
        let (kind, content) = match announcement {
            Announcement::Broadcast(event) => (EVENT, stored_event::encode_broadcast(event)),
            Announcement::CloseConnections(user) => (CLOSE, user.as_str().to_owned()),
        };
        let name = self.keys.announcements();
        let arguments = [
            &*name,
            &millis(ANNOUNCEMENTS_KEPT).to_string(),
            &ANNOUNCEMENTS_BYTES_MAX.to_string(),
            kind,
            &content,
        ];
        let id: Option<String> = self.appends.run(CONTEXT, &ANNOUNCE, &[&name], &arguments).await?;
        id.map(drop).ok_or_else(|| BackendError::new(BackendErrorKind::BroadcastsFull, CONTEXT))
    }

    async fn end(&self) -> Result<Position, BackendError> {
        position(&self.answer("").await?.0)
    }

    async fn read(&self, after: Position, _: Duration) -> Result<AnnouncementPage, BackendError> {
        let after = after.id().unwrap_or(EventId::timed(0, 0)).to_string();
        let (end, some_are_gone, found) = self.answer(&after).await?;
        let read = |[id, kind, content]: &[String; 3]| {
            Ok((position(id)?, self.announcement(kind, content)))
        };
        let announcements =
            found.as_chunks().0.iter().map(read).collect::<Result<_, BackendError>>()?;
        Ok(AnnouncementPage { announcements, end: position(&end)?, some_are_gone })
    }
}
