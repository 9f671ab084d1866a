//! What went wrong with a call, and whether it is worth another try.
//!
//! Invariant: an error becomes [`BackendErrorKind::Unavailable`] only where it is known that
//! nothing was done: the server could not be reached, or it answered with a refusal, which rolls
//! back.

use super::schema::PrepareError;
use crate::{
    domain::topic::Topic,
    ports::backend_error::{BackendError, BackendErrorKind},
};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No connection could be had.
    #[error("{why}")]
    Unreachable {
        /// In words that say what to do.
        why: String,
        /// The driver's own error.
        source: sqlx::Error,
    },
    /// The server takes no writes, and what it has may lag behind what was acknowledged.
    #[error(
        "the server at {server} {}, and what it has may be old: Rejoin uses the primary only, and tries again until the address leads to it",
        if *is_standby { "is a standby" } else { "is set to take no writes (transaction_read_only is on)" }
    )]
    NotWritable {
        /// Its address.
        server: String,
        /// Or a primary that is set to take none.
        is_standby: bool,
    },
    /// The server can't serve as a backend, or its schema can't be made.
    #[error(transparent)]
    Unprepared(#[from] PrepareError),
    /// A statement failed, or its connection was lost.
    #[error(transparent)]
    Statement(#[from] sqlx::Error),
    /// There was no answer in time.
    #[error("no answer in time")]
    Late,
    /// Appends find no room.
    #[error(
        "the server had no room for what was appended a moment ago: see its log, and make room on its disk"
    )]
    Full,
    /// What is kept of broadcasts takes all the room that it may.
    #[error(
        "the events for everybody of the last minute take as many bytes as they may: try again when they are older"
    )]
    TooManyBroadcasts,
    /// The server's answer makes no sense.
    #[error("unexpected answer: {0}")]
    Unexpected(&'static str),
}

/// What a failed call says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The connection is gone, and so may be the server. What was asked may have been done.
    Lost,
    /// The server takes no writes any more: it was replaced, perhaps. Nothing was done.
    ReadOnly,
    /// The schema is not there, or not whole: it was wiped.
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
            Self::Statement(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed,
            )
            | Self::Late => Cause::Lost,
            // The row that every incarnation of the journal has.
            Self::Statement(sqlx::Error::RowNotFound) => Cause::Wiped,
            Self::Unreachable { .. }
            | Self::NotWritable { .. }
            | Self::Unprepared(_)
            | Self::Statement(_)
            | Self::Full
            | Self::TooManyBroadcasts
            | Self::Unexpected(_) => Cause::Refused,
        }
    }

    /// Whether the server has no room for a write at the moment.
    pub(super) fn is_for_want_of_room(&self) -> bool {
        let Self::Statement(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| code.starts_with("53"))
    }

    /// The error as callers see it.
    pub(super) fn into_backend_error(self, context: &'static str) -> BackendError {
        let kind = match &self {
            Self::Late => BackendErrorKind::Timeout,
            Self::TooManyBroadcasts => BackendErrorKind::BroadcastsFull,
            // Also where the server said that this is the end: what waited for a standby is
            // committed all the same.
            _ if self.cause() == Cause::Lost => BackendErrorKind::Disconnected,
            Self::Full => BackendErrorKind::Full,
            Self::Statement(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| code == DISK_FULL) =>
            {
                BackendErrorKind::Full
            }
            _ if self.is_about_rows() || self.is_about_statement() => BackendErrorKind::Rejected,
            _ => BackendErrorKind::Unavailable,
        };
        BackendError { source: Some(Box::new(self)), ..BackendError::new(kind, context) }
    }
}

/// "could not extend file", or the like.
const DISK_FULL: &str = "53100";

fn cause_of(code: &str) -> Cause {
    match code {
        // The server shuts down, or ended this session.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Cause::Lost,
        _ if code.starts_with("08") => Cause::Lost,
        // "cannot execute .. in a read-only transaction", or "during recovery".
        "25006" => Cause::ReadOnly,
        // No such table, function or schema; no journal row (a function looks for it strictly).
        "42P01" | "42883" | "3F000" | "P0002"
        // A table was dropped and made anew under a statement that was prepared before.
        | "0A000" | "XX000" => Cause::Wiped,
        "40001" | "40P01" => Cause::Collision,
        _ => Cause::Refused,
    }
}

/// Classes of errors that say something of the server, the session or the role, and nothing of
/// rows.
const NOT_ABOUT_ROWS: [&str; 11] =
    ["08", "25", "26", "28", "3D", "40", "42", "53", "55", "57", "58"];

impl Failure {
    /// Whether it is what some rows hold that the server, or we, can't work with: a constraint or
    /// trigger that refuses them, a number out of range, a damaged page, a value that makes no
    /// sense. Other rows may be well.
    pub(super) fn is_about_rows(&self) -> bool {
        match self {
            Self::Statement(sqlx::Error::Database(error)) => {
                let class_is_known = error
                    .code()
                    .is_some_and(|code| NOT_ABOUT_ROWS.iter().any(|class| code.starts_with(class)));
                self.cause() == Cause::Refused && !class_is_known
            }
            Self::Statement(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
            | Self::Unexpected(_) => true,
            _ => false,
        }
    }

    /// Whether the server does not understand a statement: a fault of this program, or of a schema
    /// that was altered. A retry meets it again. What names no table or function of ours
    /// is another matter: the schema was wiped, and is made anew.
    fn is_about_statement(&self) -> bool {
        const CODES: [&str; 5] = ["42601", "42703", "42804", "42846", "42P18"];
        let Self::Statement(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| CODES.contains(&&*code))
    }
}

/// An error of a call that concerned one topic alone: where it is about rows, that topic is
/// damaged.
pub(super) fn of_topic(error: BackendError, topic: &Topic) -> BackendError {
    let failure = error.source.as_ref().and_then(|source| source.downcast_ref::<Failure>());
    if !failure.is_some_and(Failure::is_about_rows) {
        return error;
    }
    BackendError { kind: BackendErrorKind::Damaged, topic: Some(Box::new(topic.clone())), ..error }
}
