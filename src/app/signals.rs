//! Metrics of this process. All names of metrics are here, and nowhere else.
//!
//! Invariants: a label has few values, and never a user's or a message's id; what happens often was
//! registered before, so that counting is one atomic addition; a gauge of open things is taken back
//! by a drop, however they end.

mod labels;
mod names;
mod seen_topics;

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, NoopRecorder, Recorder};

use self::seen_topics::SeenTopics;
pub use self::{
    labels::{Call, ConnectionLimit, Outcome},
    names::{Kind, METRICS, Metric},
};
use crate::{
    domain::{timestamp::Timestamp, topic::Topic},
    ports::{backend_error::BackendError, clock::Clock},
};

/// The metrics of one server.
pub struct Signals {
    recorder: Arc<dyn Recorder + Send + Sync>,
    clock: Arc<dyn Clock>,
    users: ChannelSignals,
    messages: ChannelSignals,
    waiting_readers: Gauge,
    client_connections: Gauge,
    leases: Gauge,
    topics_followed: Gauge,
    ring_bytes: Gauge,
    malformed_topics: SeenTopics,
    damaged_topics: SeenTopics,
    stray_hint_logged: AtomicBool,
}

/// The metrics of one channel's streams.
pub struct ChannelSignals {
    name: &'static str,
    connections: Gauge,
    deliveries: Counter,
    replays: Counter,
    replayed_entries: Counter,
    truncations: Counter,
    ring_misses: Counter,
    publish_to_write_seconds: Histogram,
}

/// How long a backend's calls take.
pub struct BackendCalls {
    append: Histogram,
    read: Histogram,
    other: Histogram,
}

impl BackendCalls {
    /// A call has ended.
    pub fn took(&self, call: Call, time: Duration) {
        let histogram = match call {
            Call::Append => &self.append,
            Call::Read => &self.read,
            Call::Other => &self.other,
        };
        histogram.record(time);
    }
}

/// One of those that a gauge counts. Dropping it takes it out of the count.
pub struct Counted(Gauge);

impl Counted {
    fn one_more(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Signals {
    /// Signals that a recorder keeps. `clock` says when a frame was written.
    pub fn new(recorder: &Arc<dyn Recorder + Send + Sync>, clock: Arc<dyn Clock>) -> Arc<Self> {
        metrics::with_local_recorder(&**recorder, || {
            names::describe();
            metrics::gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            Arc::new(Self {
                users: ChannelSignals::register("user"),
                messages: ChannelSignals::register("message"),
                waiting_readers: metrics::gauge!(names::WAITING_READERS),
                client_connections: metrics::gauge!(names::CLIENT_CONNECTIONS),
                leases: metrics::gauge!(names::LEASES),
                topics_followed: metrics::gauge!(names::TOPICS_FOLLOWED),
                ring_bytes: metrics::gauge!(names::RING_BYTES),
                malformed_topics: SeenTopics::default(),
                damaged_topics: SeenTopics::default(),
                stray_hint_logged: AtomicBool::new(false),
                recorder: Arc::clone(recorder),
                clock,
            })
        })
    }

    /// Signals that go nowhere.
    pub fn unheard(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::new(&(Arc::new(NoopRecorder) as _), clock)
    }

    #[cfg(test)]
    pub(super) fn unheard_in_tests() -> Arc<Self> {
        Self::unheard(Arc::new(crate::testing::ManualClock::default()))
    }

    /// The signals of a topic's channel.
    pub const fn channel(&self, topic: &Topic) -> &ChannelSignals {
        match topic {
            Topic::User(_) => &self.users,
            Topic::Message(_) => &self.messages,
        }
    }

    /// A reader waits for its message to be opened, until what this returns is dropped.
    pub fn reader_waits(&self) -> Counted {
        Counted::one_more(&self.waiting_readers)
    }

    /// A client has connected, until what this returns is dropped.
    pub fn connection_opened(&self) -> Counted {
        Counted::one_more(&self.client_connections)
    }

    /// A connection could not be served, or had to wait.
    pub fn limit_reached(&self, limit: ConnectionLimit) {
        self.counter(names::CONNECTION_LIMITS_REACHED, "limit", limit.as_str()).increment(1);
    }

    /// Events were published, or not.
    pub fn published(&self, outcome: Outcome, events: usize) {
        self.counter(names::PUBLISHES, "outcome", outcome.as_str()).increment(events as u64);
    }

    /// Events were appended to messages, or not.
    pub fn message_appended(&self, outcome: Outcome, events: usize) {
        self.counter(names::MESSAGE_APPENDS, "outcome", outcome.as_str()).increment(events as u64);
    }

    /// A subscribe request was turned down.
    pub fn refused(&self, code: &'static str) {
        self.counter(names::REFUSALS, "code", code).increment(1);
    }

    /// A background task has ended or panicked before the process stopped.
    pub fn task_failed(&self, task: &'static str) {
        metrics::with_local_recorder(&*self.recorder, || {
            metrics::counter!(names::TASK_FAILURES, "task" => task).increment(1);
        });
    }

    /// A backend failed to do something.
    pub fn backend_failed(&self, backend: &'static str, error: &BackendError) {
        let count = || metrics::counter!(names::BACKEND_ERRORS, "backend" => backend, "kind" => error.kind.as_str());
        metrics::with_local_recorder(&*self.recorder, count).increment(1);
    }

    /// The calls of a backend.
    pub fn backend_calls(&self, backend: &'static str) -> BackendCalls {
        metrics::with_local_recorder(&*self.recorder, || {
            let of = |call: &'static str| metrics::histogram!(names::BACKEND_CALL_SECONDS, "backend" => backend, "call" => call);
            BackendCalls { append: of("append"), read: of("read"), other: of("other") }
        })
    }

    /// A backend answers, or doesn't.
    pub fn backend_is(&self, backend: &'static str, up: bool) {
        let gauge = || metrics::gauge!(names::BACKEND_UP, "backend" => backend);
        metrics::with_local_recorder(&*self.recorder, gauge).set(f64::from(u8::from(up)));
    }

    /// An entry that is no event was passed over. The log has one line for each topic.
    pub fn passed_over_malformed(&self, topic: &Topic, what: &dyn Display) {
        self.counter(names::MALFORMED_ENTRIES, "channel", self.channel(topic).name).increment(1);
        if self.malformed_topics.note(topic) {
            tracing::warn!("{what}");
        }
    }

    /// What a backend holds of a topic can't be used. The log has one line for each topic.
    pub fn topic_is_damaged(&self, error: &BackendError) {
        let Some(topic) = &error.topic else { return };
        if self.damaged_topics.note(topic) {
            let cause = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::error!(%topic, %error, cause, "a topic is damaged: its requests fail until its data is repaired or removed");
        }
    }

    /// A notification named an event that is not in the journal. The log has one line.
    pub fn heard_stray_hint(&self, what: &dyn Display) {
        metrics::with_local_recorder(&*self.recorder, || metrics::counter!(names::STRAY_HINTS))
            .increment(1);
        if !self.stray_hint_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!("{what}");
        }
    }

    /// Broadcasts may not have reached this process.
    pub fn missed_broadcasts(&self, what: &dyn Display) {
        metrics::with_local_recorder(&*self.recorder, || {
            metrics::counter!(names::MISSED_BROADCASTS)
        })
        .increment(1);
        tracing::warn!("{what}");
    }

    /// A stream is over.
    pub fn stream_ended(&self, topic: &Topic, reason: &'static str) {
        let channel = self.channel(topic).name;
        let count =
            || metrics::counter!(names::STREAMS_ENDED, "channel" => channel, "reason" => reason);
        metrics::with_local_recorder(&*self.recorder, count).increment(1);
    }

    /// What is held at the moment of a scrape.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
    pub fn holds(&self, leases: usize, topics_followed: usize, ring_bytes: usize) {
        self.leases.set(leases as f64);
        self.topics_followed.set(topics_followed as f64);
        self.ring_bytes.set(ring_bytes as f64);
    }

    /// Live events were handed to the kernel, of which the first was accepted at `oldest_ts`.
    pub fn delivered_live(&self, topic: &Topic, events: usize, oldest_ts: Timestamp) {
        let channel = self.channel(topic);
        channel.deliveries.increment(events as u64);
        let late_ms = self.clock.now().as_ms().saturating_sub(oldest_ts.as_ms());
        channel.publish_to_write_seconds.record(Duration::from_millis(late_ms));
    }

    /// What happens seldom enough to be looked up.
    fn counter(&self, name: &'static str, label: &'static str, value: &'static str) -> Counter {
        metrics::with_local_recorder(&*self.recorder, || metrics::counter!(name, label => value))
    }
}

impl ChannelSignals {
    fn register(name: &'static str) -> Self {
        Self {
            name,
            connections: metrics::gauge!(names::CONNECTIONS, "channel" => name),
            deliveries: metrics::counter!(names::DELIVERIES, "channel" => name),
            replays: metrics::counter!(names::REPLAYS, "channel" => name),
            replayed_entries: metrics::counter!(names::REPLAYED_ENTRIES, "channel" => name),
            truncations: metrics::counter!(names::TRUNCATIONS, "channel" => name),
            ring_misses: metrics::counter!(names::RING_MISSES, "channel" => name),
            publish_to_write_seconds: metrics::histogram!(names::PUBLISH_TO_WRITE_SECONDS, "channel" => name),
        }
    }

    /// The channel's name in labels and logs.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// A stream began.
    pub fn opened(&self) {
        self.connections.increment(1.0);
    }

    /// A stream is over.
    pub fn closed(&self) {
        self.connections.decrement(1.0);
    }

    /// A client that was behind asked for what it missed.
    pub fn replayed(&self) {
        self.replays.increment(1);
    }

    /// Entries were read from the journal for one client.
    pub fn read_for_client(&self, entries: u32) {
        self.replayed_entries.increment(u64::from(entries));
        self.deliveries.increment(u64::from(entries));
    }

    /// Clients were notified that entries are gone.
    pub fn truncated(&self, notices: u32) {
        self.truncations.increment(u64::from(notices));
    }

    /// A connection stood behind its ring, and has to read the journal.
    pub fn missed_ring(&self) {
        self.ring_misses.increment(1);
    }
}
