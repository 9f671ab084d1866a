//! Why a stream is over.

use crate::domain::session::Ending;

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The server ended it.
    Ended(Ending),
    /// The client went away.
    ClientGone,
    /// The client took nothing for the write timeout, or too little to keep up with what is sent to
    /// everybody.
    Stalled,
}

impl EndReason {
    /// The reason's name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended(ending) => ending.as_str(),
            Self::ClientGone => "client_gone",
            Self::Stalled => "stalled",
        }
    }
}
