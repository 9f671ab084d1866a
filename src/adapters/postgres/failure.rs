//! What went wrong with a call, and whether it is worth another try.
//!
//! Invariant: an error is told as [`BackendErrorKind::Unavailable`] only where it is known that nothing was done: the
//! server could not be reached, or it answered with a refusal, which rolls back.

use super::schema::PrepareError;
use crate::ports::backend_error::{BackendError, BackendErrorKind};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No connection could be had.
    #[error("no connection")]
    Unreachable(#[source] sqlx::Error),
    /// The server can't serve as a backend, or its schema can't be made.
    #[error(transparent)]
    Unprepared(#[from] PrepareError),
    /// A statement failed, or its connection was lost.
    #[error("the statement failed")]
    Statement(#[from] sqlx::Error),
    /// There was no answer in time.
    #[error("no answer in time")]
    Late,
    /// The server's answer makes no sense.
    #[error("unexpected answer: {0}")]
    Unexpected(&'static str),
}

/// What a failed call tells about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The connection is gone, and so may be the server. What was asked may have been done.
    Lost,
    /// The schema is not there, or not whole: somebody has wiped it.
    Wiped,
    /// It collided with another transaction, and was rolled back.
    Collision,
    /// The server refused it.
    Refused,
}

impl Failure {
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Statement(sqlx::Error::Database(error)) => match error.code().as_deref() {
                Some(code) => cause_of(code),
                None => Cause::Refused,
            },
            Self::Statement(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed) => {
                Cause::Lost
            }
            Self::Late => Cause::Lost,
            // The row that every incarnation of the journal has.
            Self::Statement(sqlx::Error::RowNotFound) => Cause::Wiped,
            Self::Unreachable(_) | Self::Unprepared(_) | Self::Statement(_) | Self::Unexpected(_) => Cause::Refused,
        }
    }

    /// Whether the server takes no writes at the moment: it is set to that, or has no room.
    pub(super) fn is_for_want_of_writes(&self) -> bool {
        let Self::Statement(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| code == "25006" || code.starts_with("53"))
    }

    /// The error as callers see it.
    pub(super) fn told(self, context: &'static str) -> BackendError {
        let kind = match &self {
            Self::Late => BackendErrorKind::Timeout,
            // An answer, if only that this is the end: what was asked is rolled back.
            Self::Statement(sqlx::Error::Database(_)) => BackendErrorKind::Unavailable,
            _ if self.cause() == Cause::Lost => BackendErrorKind::Disconnected,
            _ => BackendErrorKind::Unavailable,
        };
        BackendError { source: Some(Box::new(self)), ..BackendError::new(kind, context) }
    }
}

fn cause_of(code: &str) -> Cause {
    match code {
        // The server shuts down, or ended this session.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Cause::Lost,
        _ if code.starts_with("08") => Cause::Lost,
        // No such table, function or schema; no journal row (a function looks for it strictly).
        "42P01" | "42883" | "3F000" | "P0002"
        // A table was dropped and made anew under a statement that was prepared before.
        | "0A000" | "XX000" => Cause::Wiped,
        "40001" | "40P01" => Cause::Collision,
        _ => Cause::Refused,
    }
}

/// Whether the server itself refused a statement, for what it held.
pub(super) fn is_refusal(error: &BackendError) -> bool {
    let failure = error.source.as_ref().and_then(|source| source.downcast_ref::<Failure>());
    matches!(failure, Some(Failure::Statement(sqlx::Error::Database(_))) if failure.is_some_and(|failure| failure.cause() == Cause::Refused))
}
