//! What an event carries: a JSON value, or a text.
//!
//! Invariant: what a publisher gave is carried as it came, and no name of an event can break a line
//! or be taken for one of the server's own.

use std::fmt;

use super::json::Json;

/// What an event carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Any JSON value.
    Payload(Json),
    /// A text, for clients that take it as it is.
    Data {
        /// The text, with its line breaks.
        text: Box<str>,
        /// The name that the format `data` writes for it, if any.
        event: Option<EventName>,
    },
    /// Neither: the type says all. Where a payload is shown, it is `{}`.
    Nothing,
}

impl Content {
    /// What it costs in memory beside its own size, about, in bytes.
    pub fn cost_bytes(&self) -> usize {
        match self {
            Self::Payload(payload) => payload.as_str().len(),
            Self::Data { text, event } => {
                text.len() + event.as_ref().map_or(0, |event| event.as_str().len())
            }
            Self::Nothing => 0,
        }
    }

    /// What it takes as JSON, at most, in bytes.
    pub fn json_bytes_max(&self) -> usize {
        let of_text = |text: &str| {
            let of_byte = |byte| match byte {
                ..b' ' => 6,
                b'"' | b'\\' => 2,
                _ => 1,
            };
            text.bytes().map(of_byte).sum::<usize>()
        };
        match self {
            Self::Payload(payload) => payload.as_str().len(),
            Self::Data { text, event } => {
                of_text(text) + event.as_ref().map_or(0, |event| of_text(event.as_str()))
            }
            Self::Nothing => 0,
        }
    }

    /// The payload, if it is one.
    pub const fn payload(&self) -> Option<&Json> {
        match self {
            Self::Payload(payload) => Some(payload),
            Self::Data { .. } | Self::Nothing => None,
        }
    }
}

/// The name of an event for the format `data`: 1 to 128 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(Box<str>);

/// Longest event name, in bytes of UTF-8.
pub const EVENT_NAME_BYTES_MAX: usize = 128;

/// Why a text is not the name of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventName {
    /// Empty, too long, or with a line break or another control character.
    #[error(
        "the name of an event has 1 to {EVENT_NAME_BYTES_MAX} bytes without control characters"
    )]
    Malformed,
    /// `backlog.` and `stream.` name the server's own events.
    #[error("names that begin with `backlog.` or `stream.` are the server's own")]
    Reserved,
    /// A browser's `EventSource` has events of these names itself.
    #[error(
        "`error` and `open` would call the handlers of a browser's own events: choose another name"
    )]
    Browsers,
}

impl EventName {
    /// Checks the rules.
    ///
    /// # Errors
    /// Which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidEventName> {
        let is_malformed = text.is_empty()
            || text.len() > EVENT_NAME_BYTES_MAX
            || text.chars().any(char::is_control);
        if is_malformed {
            return Err(InvalidEventName::Malformed);
        }
        if text.starts_with("backlog.") || text.starts_with("stream.") {
            return Err(InvalidEventName::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// Checks the rules for the name of a user's event. A message's may be `error`, as some
    /// providers' are.
    ///
    /// # Errors
    /// Which rule the text breaks.
    pub fn parse_for_user(text: &str) -> Result<Self, InvalidEventName> {
        if matches!(text, "error" | "open") {
            Err(InvalidEventName::Browsers)
        } else {
            Self::parse(text)
        }
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rules() {
        for text in ["datastar-patch-elements", "messages/partial", "a b", "é", &"x".repeat(128)] {
            assert_eq!(EventName::parse(text).map(|name| name.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "a\nb", "a\r", "\0", "\u{85}", &"x".repeat(129)] {
            assert_eq!(EventName::parse(text), Err(InvalidEventName::Malformed), "{text:?}");
        }
        for text in ["backlog.truncated", "stream.refused"] {
            assert_eq!(EventName::parse(text), Err(InvalidEventName::Reserved));
        }
        for text in ["error", "open"] {
            assert_eq!(EventName::parse_for_user(text), Err(InvalidEventName::Browsers));
            assert!(EventName::parse(text).is_ok());
        }
    }
}
