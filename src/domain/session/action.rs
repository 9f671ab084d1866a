//! What a session asks of its driver, and why it ends.

use crate::domain::position::Position;

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the backend, and hand over the answer.
    Ask(Ask),
    /// Hand over live entries behind this position ([`super::Session::handle_live`]); when there
    /// are none, wait for one, or until [`super::Session::poll_timeout`].
    Follow(Position),
    /// Wait until [`super::Session::poll_timeout`].
    Pause,
    /// Close the connection.
    Close(Ending),
}

/// What a session asks of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The topic's bounds: [`super::Session::handle_bounds`] or
    /// [`super::Session::handle_read_failed`].
    Locate,
    /// What the journal has after this position: [`super::Session::handle_page`] or
    /// [`super::Session::handle_read_failed`].
    Read(Position),
    /// What it has of the message: [`super::Session::handle_producer`].
    Producer,
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The snapshot reached its cap.
    SnapshotCapped,
    /// The credentials expired.
    TokenExpired,
    /// The process shuts down.
    Draining,
    /// An operator ended it.
    Closed,
    /// The message's terminal event was sent.
    MessageOver,
    /// The message's producer has been silent for too long.
    ProducerStale,
    /// The message was deleted.
    MessageGone,
}

impl Ending {
    /// The reason's name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SnapshotCapped => "snapshot_capped",
            Self::TokenExpired => "token_expired",
            Self::Draining => "draining",
            Self::Closed => "closed",
            Self::MessageOver => "message_over",
            Self::ProducerStale => "producer_stale",
            Self::MessageGone => "message_gone",
        }
    }
}
