//! Two lines in the log for each connection's life, at its beginning and at its end, and its place in the numbers.
//!
//! Invariant: a stream that began is counted as open until it is dropped, however that comes about, and then once as over.

use tokio::time::Instant;
use tracing::Level;

use super::{streaming::Over, subscriptions::Subscription};
use crate::domain::{category::CategoryFilter, cursor::Cursor};

/// What is told of a connection at its end.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// When the stream began; a request that was refused has no life.
    began: Option<Instant>,
    /// How many events it got.
    pub(super) deliveries: u64,
    /// Why it is over; nothing where it was cut off.
    pub(super) over: Option<Over>,
    /// The id of the request that it began with.
    request_id: Option<Box<str>>,
    /// Until the beginning is in the log, if it will be.
    asked: Option<Box<Asked>>,
}

/// What a client asked for, as the log shows it.
#[derive(Debug)]
struct Asked {
    cursor: Cursor,
    categories: CategoryFilter,
}

impl Subscription {
    /// Notes what the client asked for, where the log will show it.
    pub(super) fn note_request(&mut self, cursor: Cursor, categories: &CategoryFilter) {
        if tracing::enabled!(Level::INFO) {
            self.life.asked = Some(Box::new(Asked { cursor, categories: categories.clone() }));
        }
    }

    /// Logs that the stream has been opened, by the request with this id.
    pub fn log_opening(&mut self, request_id: Option<&str>) {
        self.life.request_id = request_id.map(Into::into);
        let Some(asked) = self.life.asked.take() else { return };
        let topic = self.session.topic();
        tracing::info!(
            channel = self.signals.channel(topic).name(),
            user = %self.reader.user(),
            reader = self.reader.as_str(),
            %topic,
            cursor = %asked.cursor,
            format = self.session.format().as_str(),
            categories = %asked.categories,
            request_id,
            "stream opened"
        );
    }

    /// The stream begins.
    pub(super) fn begin_life(&mut self) {
        self.signals.channel(self.session.topic()).opened();
        self.life.began = Some(Instant::now());
        self.count_page();
    }

    /// Counts what the session did with what it read.
    pub(super) fn count_page(&mut self) {
        let tally = self.session.take_tally();
        let channel = self.signals.channel(self.session.topic());
        channel.read_for_client(tally.entries_read);
        channel.truncated(tally.truncations);
        self.life.deliveries += u64::from(tally.entries_read);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(began) = self.life.began else { return };
        let topic = self.session.topic();
        let reason = self.life.over.map_or("cut_off", Over::as_str);
        let channel = self.signals.channel(topic);
        channel.closed();
        self.signals.stream_ended(topic, reason);
        tracing::info!(
            channel = channel.name(),
            user = %self.reader.user(),
            reader = self.reader.as_str(),
            %topic,
            reason,
            seconds = began.elapsed().as_secs_f64(),
            deliveries = self.life.deliveries,
            request_id = self.life.request_id.as_deref(),
            "stream over"
        );
    }
}
