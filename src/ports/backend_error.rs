//! How a backend fails, whichever it is.

use std::error::Error;

use crate::domain::topic::Topic;

/// A backend could not do what was asked. Match on `kind`; `source` is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {kind}")]
pub struct BackendError {
    /// What a caller can act on.
    pub kind: BackendErrorKind,
    /// What was being done, in a few words.
    pub context: &'static str,
    /// The topic that is damaged, where one is.
    pub topic: Option<Box<Topic>>,
    /// The driver's own error.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// It can't be reached, or turned the request away. Nothing was done.
    #[error("the backend is unavailable")]
    Unavailable,
    /// It has no room for what is to be written. Nothing was done, and what it holds can be read.
    /// It takes writes again when its operator has made room.
    #[error("the backend has no room left")]
    Full,
    /// The connection to it broke before it answered. What was asked may have been done: repeat it
    /// only with the same idempotency key.
    #[error("the connection to the backend broke before it answered")]
    Disconnected,
    /// It did not answer in time. What was asked may have been done: repeat it only with the same
    /// idempotency key.
    #[error("the backend did not answer in time")]
    Timeout,
    /// It keeps as many broadcasts as it may. Nothing was done, and everything else goes on; there
    /// is room again within a minute or so.
    #[error("the backend keeps as many broadcasts as it may")]
    BroadcastsFull,
    /// What the backend holds of one topic can't be used: it is damaged, or another program's.
    /// Nothing was done. A retry fails alike until it is repaired or removed; other topics are
    /// not affected.
    #[error("the backend's data of this topic is damaged, or not Rejoin's")]
    Damaged,
    /// An event is larger than the backend takes. Nothing was done, and a retry fails alike;
    /// smaller events are not affected.
    #[error("the event is larger than the backend takes")]
    TooLarge,
    /// It turned the request down for good, or answered what this version does not understand.
    /// Nothing was done, and a retry fails alike: it is a fault of this program, or of what it was
    /// told about the backend.
    #[error("the backend and this program don't understand each other")]
    Rejected,
}

impl BackendErrorKind {
    /// The kind's name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Full => "full",
            Self::Disconnected => "disconnected",
            Self::Timeout => "timeout",
            Self::BroadcastsFull => "broadcasts_full",
            Self::Damaged => "damaged",
            Self::TooLarge => "too_large",
            Self::Rejected => "rejected",
        }
    }
}

impl BackendError {
    /// An error without a driver's error behind it.
    pub const fn new(kind: BackendErrorKind, context: &'static str) -> Self {
        Self { kind, context, topic: None, source: None }
    }

    /// The error and its cause, for people.
    pub fn with_cause(&self) -> String {
        self.source().map_or_else(|| self.to_string(), |source| format!("{self}: {source}"))
    }

    /// What is held of `topic` can't be used; `source` says what is wrong with it.
    pub fn damaged(
        context: &'static str,
        topic: Topic,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind: BackendErrorKind::Damaged,
            context,
            topic: Some(Box::new(topic)),
            source: Some(source.into()),
        }
    }
}
