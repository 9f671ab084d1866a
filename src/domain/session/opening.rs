//! How a session begins, in either channel.

use std::time::{Duration, Instant};

use super::{
    Session, Tally,
    producer_watch::ProducerWatch,
    timers::{Timer, Timers},
};
use crate::domain::{
    category::CategoryFilter,
    cursor::Cursor,
    frame::StreamStyle,
    position::Position,
    replay::Replay,
    topic::{MessageId, Topic},
};

/// What every stream of a process has in common.
#[derive(Clone, Debug)]
pub struct StreamPolicy {
    /// Silence on the wire after which a keepalive goes out.
    pub keepalive: Duration,
    /// The delay after which clients are asked to reconnect.
    pub retry_ms: u64,
    /// Most entries of a snapshot that one connection gets.
    pub replay_max_per_request: u32,
    /// The silence after which a message's producer is given up.
    pub producer_idle: Duration,
}

impl Session {
    /// A client that (re)joins `topic` with `cursor`. `expires_at` is the end of its credentials.
    pub fn open(
        topic: Topic,
        style: StreamStyle,
        cursor: Cursor,
        filter: CategoryFilter,
        policy: &StreamPolicy,
        now: Instant,
        expires_at: Option<Instant>,
    ) -> Self {
        let last_sent = match cursor {
            Cursor::After(id) => Position::After(id),
            Cursor::Absent | Cursor::Oldest | Cursor::Unreadable => Position::Start,
        };
        let replay = Replay::open(cursor, filter, policy.replay_max_per_request);
        Self::begin(topic, style, replay, last_sent, policy, now, expires_at)
    }

    /// A client that (re)joins a message with `cursor`, whose producer gave its last sign of life
    /// `silent_for` ago.
    pub fn open_message(
        message: MessageId,
        style: StreamStyle,
        cursor: Cursor,
        policy: &StreamPolicy,
        silent_for: Duration,
        now: Instant,
        expires_at: Option<Instant>,
    ) -> Self {
        let replay = Replay::open_message(cursor);
        let last_sent = replay.position();
        let producer = ProducerWatch::new(policy.producer_idle);
        let mut session =
            Self::begin(Topic::Message(message), style, replay, last_sent, policy, now, expires_at);
        session.timers.set(Timer::AskProducer, producer.ask_at(silent_for, now));
        session.producer = Some(Box::new(producer));
        session
    }

    fn begin(
        topic: Topic,
        style: StreamStyle,
        replay: Replay,
        last_sent: Position,
        policy: &StreamPolicy,
        now: Instant,
        expires_at: Option<Instant>,
    ) -> Self {
        let mut timers = Timers::default();
        if let Some(expires_at) = expires_at {
            timers.set(Timer::TokenExpiry, expires_at);
        }
        Self {
            topic,
            style,
            replay,
            retry_ms: policy.retry_ms,
            keepalive: policy.keepalive,
            last_sent,
            producer: None,
            written_at: now,
            timers,
            drain_retry_ms: 0,
            read_failures: 0,
            ending: None,
            tally: Tally { entries_read: 0, truncations: 0 },
        }
    }
}
