//! How the store fails, and what callers get of it.

use std::io;

use super::files::is_full;
use crate::{
    domain::topic::Topic,
    ports::backend_error::{BackendError, BackendErrorKind},
};

/// What the store holds is not what it must hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Damage(String);

impl Damage {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// How the store fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nothing was written.
    #[error("the disk is full")]
    Full,
    /// Nothing was written: what was written before is not in its place yet.
    #[error("the disk is too slow for what is written")]
    Behind,
    /// What was being written may be there after a restart, or not.
    #[error("the disk failed: {0}")]
    Unsafe(#[source] io::Error),
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
    #[error("the table failed: {0}")]
    Table(#[source] Box<redb::Error>),
    /// Another version wrote it.
    #[error(
        "it has format {found}, and this version of Rejoin knows {known}: use the version that wrote it"
    )]
    OtherFormat { found: u64, known: u64 },
    /// A row can't be read.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

impl Failure {
    /// A write of the log that failed.
    pub(super) fn of_write(error: io::Error) -> Self {
        if is_full(&error) { Self::Full } else { Self::Unsafe(error) }
    }

    /// Whether the table met a failure and has to be opened again.
    pub(super) fn is_of_table(&self) -> bool {
        matches!(self, Self::Table(_))
    }

    /// Whether something is there that was not written so: a retry fails alike.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Table(error) => match &**error {
                redb::Error::Corrupted(_) => true,
                redb::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
                _ => false,
            },
            _ => false,
        }
    }

    /// As callers get it.
    pub(super) fn into_backend_error(
        self,
        context: &'static str,
        topic: Option<&Topic>,
    ) -> BackendError {
        let kind = match (&self, topic) {
            (Self::Damaged(_), Some(topic)) => {
                return BackendError::damaged(context, topic.clone(), self);
            }
            (Self::Full, _) => BackendErrorKind::Full,
            (Self::Unsafe(_), _) => BackendErrorKind::Disconnected,
            _ => BackendErrorKind::Unavailable,
        };
        BackendError { source: Some(Box::new(self)), ..BackendError::new(kind, context) }
    }
}

macro_rules! from_redb {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                Self::Table(Box::new(error.into()))
            }
        }
    )*};
}

from_redb!(CommitError CompactionError DatabaseError SetDurabilityError StorageError TableError TransactionError);
