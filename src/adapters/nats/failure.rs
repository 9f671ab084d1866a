//! How a call to NATS fails, and what that means for who made it.

use serde::Deserialize;

use crate::ports::backend_error::{BackendError, BackendErrorKind};

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no connection. Nothing was sent.
    #[error("there is no connection to NATS{}", .0.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Away(Option<String>),
    /// The connection broke while the answer was awaited.
    #[error("the connection to NATS broke")]
    Broken,
    /// No answer came in time.
    #[error("NATS does not answer")]
    Silent,
    /// No one takes what was sent: there is no such stream, or its replicas have no leader.
    #[error(
        "no NATS server answers requests for this: JetStream is off, the stream is gone, or its replicas have no leader"
    )]
    NoResponders,
    /// The account may not do this.
    #[error("NATS does not allow it: {0}")]
    Denied(String),
    /// It is larger than the server takes.
    #[error("it is larger than the server's max_payload")]
    TooLarge,
    /// JetStream said no.
    #[error("JetStream: {} ({})", .0.description, .0.err_code)]
    Refused(ApiError),
    /// The answer can't be understood.
    #[error("NATS answered what can't be understood: {0}")]
    MalformedReply(String),
}

/// An error of JetStream, as it stands in its answers.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ApiError {
    /// As in HTTP.
    #[serde(default)]
    pub(super) code: u16,
    /// Which error it is.
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

/// The errors that are looked for, by their numbers in the server's `errors.json`.
mod code {
    pub(super) const ACCOUNT_IS_FULL: u64 = 10_002;
    /// The server's or the account's storage is used up.
    pub(super) const INSUFFICIENT_RESOURCES: u64 = 10_023;
    pub(super) const MESSAGE_NOT_FOUND: u64 = 10_037;
    pub(super) const MESSAGE_TOO_LARGE: u64 = 10_054;
    pub(super) const STREAM_NAME_EXISTS: u64 = 10_058;
    pub(super) const STREAM_NOT_FOUND: u64 = 10_059;
    pub(super) const WRONG_LAST_SEQUENCE: u64 = 10_071;
    /// Something else is being written to the subject at this moment.
    pub(super) const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10_164;
    /// The first one with this id is being written at this moment.
    pub(super) const DUPLICATE_IN_PROGRESS: u64 = 10_158;
    pub(super) const STORE_FAILED: u64 = 10_077;
    pub(super) const BATCH_CONTAINS_DUPLICATE: u64 = 10_201;
    pub(super) const TOO_MANY_BATCHES: [u64; 2] = [10_210, 10_211];
    /// A part of a batch did not arrive, where the leader has changed: nothing of it is kept.
    pub(super) const INCOMPLETE_BATCH: u64 = 10_176;
}

impl ApiError {
    fn is(&self, codes: &[u64]) -> bool {
        codes.contains(&self.err_code)
    }
}

impl Failure {
    fn refused_as(&self, codes: &[u64]) -> bool {
        matches!(self, Self::Refused(error) if error.is(codes))
    }

    /// There is no such message.
    pub(super) fn is_no_message(&self) -> bool {
        self.refused_as(&[code::MESSAGE_NOT_FOUND])
    }

    /// There is no such stream, as far as anybody knows.
    pub(super) fn is_no_stream(&self) -> bool {
        matches!(self, Self::NoResponders) || self.is_known_to_have_no_stream()
    }

    /// JetStream says that there is no such stream.
    pub(super) fn is_known_to_have_no_stream(&self) -> bool {
        self.refused_as(&[code::STREAM_NOT_FOUND])
    }

    /// Another stream has that name, or another process was faster.
    pub(super) fn is_taken_name(&self) -> bool {
        self.refused_as(&[code::STREAM_NAME_EXISTS])
    }

    /// Another process has written to the subject. To try again on what is there now is harmless.
    pub(super) fn is_conflict(&self) -> bool {
        self.refused_as(&[code::WRONG_LAST_SEQUENCE, code::WRONG_LAST_SEQUENCE_CONSTANT])
    }

    /// The same may well succeed a moment later.
    pub(super) fn is_momentary(&self) -> bool {
        self.refused_as(&[code::DUPLICATE_IN_PROGRESS, code::INCOMPLETE_BATCH])
            || self.refused_as(&code::TOO_MANY_BATCHES)
    }

    /// An event of a batch has been appended before, so that none was appended.
    pub(super) fn is_duplicate_in_batch(&self) -> bool {
        self.refused_as(&[code::BATCH_CONTAINS_DUPLICATE])
    }

    /// The stream takes no more.
    pub(super) fn is_full(&self) -> bool {
        self.refused_as(&[code::STORE_FAILED])
    }

    fn kind(&self) -> BackendErrorKind {
        match self {
            Self::Away(_) | Self::NoResponders => BackendErrorKind::Unavailable,
            Self::Broken => BackendErrorKind::Disconnected,
            Self::Silent => BackendErrorKind::Timeout,
            Self::TooLarge => BackendErrorKind::TooLarge,
            Self::Refused(error) if error.is(&[code::MESSAGE_TOO_LARGE]) => {
                BackendErrorKind::TooLarge
            }
            Self::Refused(error)
                if self.is_full()
                    || error.is(&[code::ACCOUNT_IS_FULL, code::INSUFFICIENT_RESOURCES]) =>
            {
                BackendErrorKind::Full
            }
            // Without a quorum, over the account's limits, too many at once: nothing was done.
            Self::Refused(error)
                if error.code >= 429
                    || error.is(&[code::STREAM_NOT_FOUND])
                    || self.is_conflict()
                    || self.is_momentary() =>
            {
                BackendErrorKind::Unavailable
            }
            Self::Denied(_) | Self::Refused(_) | Self::MalformedReply(_) => {
                BackendErrorKind::Rejected
            }
        }
    }

    /// The failure of a call, as its caller gets it.
    pub(super) fn of_call(self, context: &'static str) -> BackendError {
        BackendError {
            source: Some(self.to_string().into()),
            ..BackendError::new(self.kind(), context)
        }
    }
}
