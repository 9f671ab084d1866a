//! Why a subscribe request is turned down.

use super::limits::TooManyConnections;
use crate::{
    domain::{access::Forbidden, category::CategoryNotAllowed, replay_budget::Exhausted},
    ports::backend_error::BackendError,
};

/// Why a subscribe request is turned down.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The credentials name no user.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There is no such message, or it is another user's: a client may not learn which.
    #[error("there is no such message")]
    NoSuchMessage,
    /// A category that the token doesn't grant.
    #[error(transparent)]
    CategoryNotAllowed(#[from] CategoryNotAllowed),
    /// All connection slots are taken.
    #[error("this user has {} connections open, which is the most allowed: close one, or try again later", .0.connections_max)]
    TooManyConnections(TooManyConnections),
    /// The replay budget is spent.
    #[error(
        "this user has asked for too many replays in a short time: keep a connection open instead of reconnecting, and try again later"
    )]
    ReplayBudgetExhausted(Exhausted),
    /// The journal or the feed can't be reached.
    #[error("the event backend can't be reached at the moment: try again later")]
    Backend(#[from] BackendError),
}
