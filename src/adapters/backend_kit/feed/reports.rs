//! What a backend's feed reports.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{
    signal_queue::{SignalQueue, SignalStream},
    watch_set::WatchSet,
};
use crate::{
    domain::{event::Entry, topic::Topic},
    ports::feed::Signal,
};

/// Where a feed reports what it hears. Cheap to clone.
///
/// Invariant: nothing is reported of a topic that is not watched, though its server may still be
/// sending.
#[derive(Clone)]
pub struct FeedReports {
    pub(super) watched: Arc<WatchSet>,
    pub(super) queue: SignalQueue,
    pub(super) announced: Arc<Notify>,
}

impl FeedReports {
    pub(super) fn new() -> (Self, SignalStream) {
        let (queue, signals) = SignalQueue::new();
        (Self { watched: Arc::default(), queue, announced: Arc::default() }, signals)
    }

    /// Whether a topic is watched here.
    pub fn is_watched(&self, topic: &Topic) -> bool {
        self.watched.contains(topic)
    }

    /// A topic has grown: by this entry, or by what the journal has.
    pub fn grown(&self, topic: Topic, entry: Option<Entry>) {
        if self.is_watched(&topic) {
            self.queue.tell(match entry {
                Some(entry) => Signal::Appended(topic, entry),
                None => Signal::Grown(topic),
            });
        }
    }

    /// There may be new announcements.
    pub fn announced(&self) {
        self.announced.notify_one();
    }
}
