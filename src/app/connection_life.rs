//! One line in the log for each connection's life, and its place in the numbers.
//!
//! Invariant: a stream that began is counted as open until it is dropped, however that comes about, and then once as over.

use tokio::time::Instant;

use super::{streaming::Over, subscriptions::Subscription};

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
}

impl Subscription {
    /// The id of the request that it began with, for the log.
    pub fn set_request_id(&mut self, request_id: &str) {
        self.life.request_id = Some(request_id.into());
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
