//! The values of labels.

/// What bounds the number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// `server.max_connections`.
    Connections,
    /// The system's limit of open files.
    Files,
}

impl ConnectionLimit {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Files => "files",
        }
    }
}

/// What a backend is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// To append.
    Append,
    /// To read what stands behind a position.
    Read,
    /// Anything else.
    Other,
}

/// What became of one event that was to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was appended.
    Appended,
    /// It had been appended before.
    Duplicate,
    /// It was sent to every open connection.
    Broadcast,
    /// Pushing is switched off.
    Discarded,
    /// The message did not take it.
    Refused,
    /// The backend failed.
    Failed,
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Appended => "appended",
            Self::Duplicate => "duplicate",
            Self::Broadcast => "broadcast",
            Self::Discarded => "discarded",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}
