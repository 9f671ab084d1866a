//! How one client wants its stream written.

use std::sync::Arc;

use crate::domain::{event::EventName, topic::Channel};

/// How a stream is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamStyle {
    /// Of events.
    pub format: Format,
    /// Of keepalives.
    pub keepalive: KeepaliveStyle,
    /// How the stream of a message ends, where that is not as its format has it.
    pub endings: Option<Arc<Endings>>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// No `event:` line; `data:` is the whole event: of a user's events the envelope, of a
    /// message's the payload with the type in it.
    #[default]
    Whole,
    /// `event:` is the type, `data:` the payload or the text.
    Named,
    /// `data:` is the payload or the text alone; `event:` only where the publisher gave a name.
    Data,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; Self::COUNT] = [Self::Whole, Self::Named, Self::Data];
    /// How many formats there are.
    pub const COUNT: usize = 3;

    /// The format's name, as clients ask for it.
    pub const fn as_str(self, channel: Channel) -> &'static str {
        match (self, channel) {
            (Self::Whole, Channel::Users) => "envelope",
            (Self::Whole, Channel::Messages) => "payload",
            (Self::Named, _) => "named",
            (Self::Data, _) => "data",
        }
    }

    /// Whether the server's own events have an `event:` line, so that no handler that a page has by
    /// default takes them for a publisher's.
    pub(super) const fn names_control(self) -> bool {
        match self {
            Self::Named | Self::Data => true,
            Self::Whole => false,
        }
    }
}

/// How a stream shows that its connection lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepaliveStyle {
    /// A comment, which clients don't see.
    #[default]
    Comment,
    /// An event of type `stream.keepalive`, so that a page can notice that its connection is dead.
    Event,
}

/// How the stream of a message ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endings {
    /// What follows the terminal event, as `data:`, if anything.
    pub closing: Option<Box<str>>,
    /// What a client gets whose producer has been silent for too long; as its format has it, where
    /// this is not given.
    pub stale: Option<StaleFrame>,
}

impl Endings {
    /// What follows the terminal event where only the format decides.
    pub fn closing_of(format: Format) -> Option<&'static str> {
        (format == Format::Data).then_some(DONE)
    }
}

/// What follows a message's terminal event in the format `data`, as the streams of several AI
/// providers end.
const DONE: &str = "[DONE]";

/// An event that says that the producer is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleFrame {
    /// Its `event:`, if it has one.
    pub event: Option<EventName>,
    /// Its `data:`.
    pub data: Box<str>,
}
