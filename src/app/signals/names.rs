//! The names of all metrics, and what they mean.
//!
//! Invariant: every metric that a process exports is in [`METRICS`]. Names follow the conventions
//! of Prometheus.

pub(super) const CONNECTIONS: &str = "rejoin_connections";
pub(super) const CLIENT_CONNECTIONS: &str = "rejoin_client_connections";
pub(super) const CONNECTION_LIMITS_REACHED: &str = "rejoin_connection_limits_reached_total";
pub(super) const WAITING_READERS: &str = "rejoin_waiting_readers";
pub(super) const STREAMS_ENDED: &str = "rejoin_streams_ended_total";
pub(super) const DELIVERIES: &str = "rejoin_deliveries_total";
pub(super) const PUBLISHES: &str = "rejoin_publishes_total";
pub(super) const MESSAGE_APPENDS: &str = "rejoin_message_appends_total";
pub(super) const REPLAYS: &str = "rejoin_replays_total";
pub(super) const REPLAYED_ENTRIES: &str = "rejoin_replayed_entries_total";
pub(super) const TRUNCATIONS: &str = "rejoin_truncations_total";
pub(super) const REFUSALS: &str = "rejoin_refusals_total";
pub(super) const BACKEND_ERRORS: &str = "rejoin_backend_errors_total";
pub(super) const BACKEND_UP: &str = "rejoin_backend_up";
pub(super) const BACKEND_CALL_SECONDS: &str = "rejoin_backend_call_seconds";
pub(super) const MALFORMED_ENTRIES: &str = "rejoin_malformed_entries_total";
pub(super) const STRAY_HINTS: &str = "rejoin_stray_hints_total";
pub(super) const MISSED_BROADCASTS: &str = "rejoin_missed_broadcasts_total";
pub(super) const PUBLISH_TO_WRITE_SECONDS: &str = "rejoin_publish_to_write_seconds";
pub(super) const RING_MISSES: &str = "rejoin_ring_misses_total";
pub(super) const RING_BYTES: &str = "rejoin_ring_bytes";
pub(super) const TOPICS_FOLLOWED: &str = "rejoin_topics_followed";
pub(super) const LEASES: &str = "rejoin_leases";
pub(super) const TASK_FAILURES: &str = "rejoin_task_failures_total";
pub(super) const BUILD_INFO: &str = "rejoin_build_info";

/// What a metric does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts observations by size.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it measures.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

/// Every metric.
pub static METRICS: &[Metric] = &[
    metric(CONNECTIONS, Kind::Gauge, &["channel"], "Streams that are open in this process."),
    metric(
        CLIENT_CONNECTIONS,
        Kind::Gauge,
        &[],
        "Connections of clients that are open, with a stream or without.",
    ),
    metric(
        CONNECTION_LIMITS_REACHED,
        Kind::Counter,
        &["limit"],
        "Connections that came when there were as many as allowed, and failures to accept one for want of file descriptors.",
    ),
    metric(WAITING_READERS, Kind::Gauge, &[], "Readers that wait for their message to be opened."),
    metric(
        STREAMS_ENDED,
        Kind::Counter,
        &["channel", "reason"],
        "Streams that are over, by why they ended.",
    ),
    metric(DELIVERIES, Kind::Counter, &["channel"], "Events handed to connections."),
    metric(
        PUBLISHES,
        Kind::Counter,
        &["outcome"],
        "User events that publishers sent, once for each recipient, by what became of them.",
    ),
    metric(
        MESSAGE_APPENDS,
        Kind::Counter,
        &["outcome"],
        "Message events that producers sent, by what became of them.",
    ),
    metric(
        REPLAYS,
        Kind::Counter,
        &["channel"],
        "Clients that came back with a cursor behind the head.",
    ),
    metric(
        REPLAYED_ENTRIES,
        Kind::Counter,
        &["channel"],
        "Events read from the journal for one client: it rejoined, or fell behind its ring.",
    ),
    metric(
        TRUNCATIONS,
        Kind::Counter,
        &["channel"],
        "Notices sent to clients that events after their cursor are gone.",
    ),
    metric(
        REFUSALS,
        Kind::Counter,
        &["code"],
        "Subscribe requests that were turned down, by the code of the answer.",
    ),
    metric(
        BACKEND_ERRORS,
        Kind::Counter,
        &["backend", "kind"],
        "Calls to a backend that failed, by what it is used for and how.",
    ),
    metric(
        BACKEND_UP,
        Kind::Gauge,
        &["backend"],
        "Whether the last call to a backend was answered: 1 or 0.",
    ),
    metric(
        BACKEND_CALL_SECONDS,
        Kind::Histogram,
        &["backend", "call"],
        "Time that calls to a backend took, by what it is used for and what was asked: append, read or other; also of those that failed.",
    ),
    metric(
        MALFORMED_ENTRIES,
        Kind::Counter,
        &["channel"],
        "Times that an entry of another program was passed over, since it is no event.",
    ),
    metric(
        STRAY_HINTS,
        Kind::Counter,
        &[],
        "Notifications of other programs that named an event which is not in the journal.",
    ),
    metric(
        MISSED_BROADCASTS,
        Kind::Counter,
        &[],
        "Times that this process was cut off from its backend for longer than broadcasts are kept.",
    ),
    metric(
        PUBLISH_TO_WRITE_SECONDS,
        Kind::Histogram,
        &["channel"],
        "Time from the acceptance of a live event to its writing to a connection; one observation a write, of its oldest event.",
    ),
    metric(
        RING_MISSES,
        Kind::Counter,
        &["channel"],
        "Times that a connection stood behind its topic's ring, and had to read the journal.",
    ),
    metric(
        RING_BYTES,
        Kind::Gauge,
        &[],
        "Bytes of recent events kept ready for connections, about.",
    ),
    metric(TOPICS_FOLLOWED, Kind::Gauge, &[], "Topics with at least one follower in this process."),
    metric(LEASES, Kind::Gauge, &[], "Connection slots that this process holds."),
    metric(
        TASK_FAILURES,
        Kind::Counter,
        &["task"],
        "Background tasks that ended or panicked before the process stopped; it drains and exits after the first.",
    ),
    metric(BUILD_INFO, Kind::Gauge, &["version"], "Always 1; the version is in the label."),
];

/// Describes all metrics to the recorder in force.
pub(super) fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}
