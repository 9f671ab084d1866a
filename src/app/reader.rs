//! For whom a stream runs, and what it holds of the limits of the user whose events it shows.
//!
//! Invariant: a client holds a slot, and pays for what it replays; an operator who looks on, and a
//! service that reads, take nothing of the user's.

use super::limits::Lease;
use crate::domain::{position::Position, replay_budget::Exhausted, topic::UserId};

/// Who gets a stream.
pub(super) enum Reader {
    /// A client of the user's, in one of their slots.
    Client(Lease),
    /// An operator who looks at this user.
    Operator(UserId),
    /// A service that reads a message of this user's.
    Service(UserId),
}

impl Reader {
    /// Whose events they are.
    pub(super) const fn user(&self) -> &UserId {
        match self {
            Self::Client(lease) => lease.user(),
            Self::Operator(user) | Self::Service(user) => user,
        }
    }

    /// Takes a replay after `cursor` from the user's budget, if that is who reads.
    ///
    /// # Errors
    /// The budget is spent.
    pub(super) async fn pay_for_replay(&self, cursor: Position) -> Result<(), Exhausted> {
        match self {
            Self::Client(lease) => lease.limits().replay(lease.user(), cursor).await,
            Self::Operator(_) | Self::Service(_) => Ok(()),
        }
    }

    /// Lets the client go on from `cursor`, where its snapshot was capped, without paying for
    /// another replay.
    pub(super) async fn allow_continuation(&self, cursor: Position) {
        if let Self::Client(lease) = self {
            lease.limits().allow_continuation(lease.user(), cursor).await;
        }
    }

    /// Whether the stream is to end, since the user's connections are closed: that of an operator
    /// or a service is none of them.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Client(lease) => lease.is_closed(),
            Self::Operator(_) | Self::Service(_) => false,
        }
    }

    /// The kind's name in the log.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Operator(_) => "operator",
            Self::Service(_) => "service",
        }
    }
}
