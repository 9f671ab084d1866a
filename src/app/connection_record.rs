//! What the log and the metrics show of each connection: its beginning, its end, and what it got in
//! between.
//!
//! Invariant: a stream that began is counted as open until it ends, and then once as over.

use tokio::time::Instant;
use tracing::Level;

use super::{end_reason::EndReason, reader::Reader, signals::Signals};
use crate::domain::{
    category::CategoryFilter, cursor::Cursor, frame::Format, session::Tally, timestamp::Timestamp,
    topic::Topic,
};

/// Whose connection it is, and to what.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) signals: &'a Signals,
    pub(super) topic: &'a Topic,
    pub(super) reader: &'a Reader,
}

/// The record of one connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionRecord {
    /// When the stream began. `None` for a request that was refused: it is not recorded.
    began: Option<Instant>,
    deliveries: u64,
    /// `None` where the stream was cut off.
    end_reason: Option<EndReason>,
    /// The id of the request that it began with.
    request_id: Option<Box<str>>,
    /// What the client asked for, until the log shows it.
    asked: Option<Box<Asked>>,
}

#[derive(Debug)]
struct Asked {
    cursor: Cursor,
    categories: CategoryFilter,
}

impl ConnectionRecord {
    /// The record of a client that asked for this.
    pub(super) fn of(cursor: Cursor, categories: &CategoryFilter) -> Self {
        let is_logged = tracing::enabled!(Level::INFO);
        let asked = is_logged.then(|| Box::new(Asked { cursor, categories: categories.clone() }));
        Self { asked, ..Self::default() }
    }

    /// The stream begins.
    pub(super) fn begin(&mut self, subject: Subject<'_>) {
        subject.signals.channel(subject.topic).opened();
        self.began = Some(Instant::now());
    }

    /// Logs that the stream was opened, by the request with this id.
    pub(super) fn log_opening(
        &mut self,
        subject: Subject<'_>,
        format: Format,
        request_id: Option<&str>,
    ) {
        self.request_id = request_id.map(Into::into);
        let Some(asked) = self.asked.take() else { return };
        tracing::info!(
            channel = subject.signals.channel(subject.topic).name(),
            user = %subject.reader.user(),
            reader = subject.reader.as_str(),
            topic = %subject.topic,
            cursor = %asked.cursor,
            format = format.as_str(subject.topic.channel()),
            categories = %asked.categories,
            request_id,
            "stream opened"
        );
    }

    /// Counts what was read from the journal for the client.
    pub(super) fn count_read(&mut self, subject: Subject<'_>, tally: Tally) {
        let channel = subject.signals.channel(subject.topic);
        channel.read_for_client(tally.entries_read);
        channel.truncated(tally.truncations);
        self.deliveries += u64::from(tally.entries_read);
    }

    /// Counts live events that were written, the first of which was accepted at `oldest_ts`.
    pub(super) fn count_live(&mut self, subject: Subject<'_>, events: usize, oldest_ts: Timestamp) {
        self.deliveries += events as u64;
        subject.signals.delivered_live(subject.topic, events, oldest_ts);
    }

    /// Why the stream is over.
    pub(super) const fn set_end_reason(&mut self, reason: EndReason) {
        self.end_reason = Some(reason);
    }

    /// The connection is gone.
    pub(super) fn end(&self, subject: Subject<'_>) {
        let Some(began) = self.began else { return };
        let reason = self.end_reason.map_or("cut_off", EndReason::as_str);
        let channel = subject.signals.channel(subject.topic);
        channel.closed();
        subject.signals.stream_ended(subject.topic, reason);
        tracing::info!(
            channel = channel.name(),
            user = %subject.reader.user(),
            reader = subject.reader.as_str(),
            topic = %subject.topic,
            reason,
            seconds = began.elapsed().as_secs_f64(),
            deliveries = self.deliveries,
            request_id = self.request_id.as_deref(),
            "stream over"
        );
    }
}
