//! What kind of thing happened.

use std::{fmt, sync::Arc};

/// What kind of thing happened: 1 to 128 bytes of `[A-Za-z0-9._:-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

/// Longest event type, in bytes.
pub const EVENT_TYPE_BYTES_MAX: usize = 128;

/// Why a text is not an event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventType {
    /// Empty, too long, or with a character outside the set.
    #[error(
        "a type has 1 to {EVENT_TYPE_BYTES_MAX} characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'"
    )]
    Malformed,
    /// `backlog.` and `stream.` name the server's own events.
    #[error("types that begin with `backlog.` or `stream.` are the server's own")]
    Reserved,
    /// A browser's `EventSource` has events of these names itself.
    #[error(
        "`error` and `open` would call the handlers of a browser's own events: choose another type"
    )]
    Browsers,
}

impl EventType {
    /// Checks the rules for a publisher's type.
    ///
    /// # Errors
    /// Which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidEventType> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        if text.is_empty() || text.len() > EVENT_TYPE_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(InvalidEventType::Malformed);
        }
        if text.starts_with("backlog.") || text.starts_with("stream.") {
            return Err(InvalidEventType::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// Checks the rules for the type of a user's event that is to be published. What other programs
    /// have put into a journal only has to follow those of [`Self::parse`], and a message may end
    /// with `error`.
    ///
    /// # Errors
    /// Which rule the text breaks.
    pub fn parse_for_user(text: &str) -> Result<Self, InvalidEventType> {
        if matches!(text, "error" | "open") {
            Err(InvalidEventType::Browsers)
        } else {
            Self::parse(text)
        }
    }

    /// A type that follows the rules, by a text of the server's own.
    pub(super) fn of_server(text: &'static str) -> Self {
        Self(text.into())
    }

    /// The type's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn types_follow_their_rules() {
        for text in ["source.ingest.queued", "a", "A-b_c:9", &"x".repeat(128)] {
            assert_eq!(EventType::parse(text).map(|t| t.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "a b", "a\nb", "é", "a/b", &"x".repeat(129)] {
            assert_eq!(EventType::parse(text), Err(InvalidEventType::Malformed), "{text:?}");
        }
        for text in ["backlog.truncated", "backlog.", "stream.refused"] {
            assert_eq!(EventType::parse(text), Err(InvalidEventType::Reserved));
        }
        assert!(EventType::parse("backlogged").is_ok());
        for text in ["error", "open"] {
            assert_eq!(EventType::parse_for_user(text), Err(InvalidEventType::Browsers));
            assert!(EventType::parse(text).is_ok());
        }
        assert_eq!(EventType::parse_for_user("stream.refused"), Err(InvalidEventType::Reserved));
        for text in ["errors", "Error", "error.io", "opened"] {
            assert!(EventType::parse_for_user(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_type_can_never_break_a_line(text in any::<String>()) {
            if let Ok(event_type) = EventType::parse(&text) {
                prop_assert!(event_type.as_str().bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }
}
