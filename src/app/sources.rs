//! Where the topics of each channel are read: a channel may have a backend of its own.
//!
//! Invariant: which backend a topic is read from depends on its channel alone.

use std::{sync::Arc, time::Duration};

use futures_util::stream::{self, BoxStream, StreamExt};

use super::availability::Availability;
use crate::{
    domain::topic::Topic,
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        feed::{Feed, Signal},
        topic_log::TopicLog,
    },
};

/// Where the topics of one channel are read, and heard.
#[derive(Clone)]
pub struct Source {
    /// What has been appended.
    pub log: Arc<dyn TopicLog>,
    /// What is being appended.
    pub feed: Arc<dyn Feed>,
    /// Whether the backend answers.
    pub availability: Arc<Availability>,
}

impl Source {
    /// Whether the backend answers within a time; log and metrics learn of it.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(&self, within: Duration) -> Result<(), BackendError> {
        let probed = tokio::time::timeout(within, self.log.probe()).await;
        match probed {
            Ok(probed) => probed,
            Err(_) => self.availability.observe(Err(BackendError::new(
                BackendErrorKind::Timeout,
                "ask whether the backend answers",
            ))),
        }
    }
}

/// The sources of both channels. Cheap to clone.
#[derive(Clone)]
pub struct Sources {
    /// Users' events.
    pub users: Source,
    /// Messages.
    pub messages: Source,
}

impl Sources {
    /// The source of a topic.
    pub const fn of(&self, topic: &Topic) -> &Source {
        match topic {
            Topic::User(_) => &self.users,
            Topic::Message(_) => &self.messages,
        }
    }

    /// What the feeds hear: one stream, whether both channels have one feed or two.
    pub(super) fn signals(&self) -> BoxStream<'static, Signal> {
        // Where both have one feed, its signals are taken by the first.
        stream::select(self.users.feed.signals(), self.messages.feed.signals()).boxed()
    }
}
