//! The address of one journal: `user:<user_id>` or `message:<message_id>`.
//!
//! Invariant: an id that exists as a value has passed its rules, so nothing inward of the edge
//! checks it again. Ids are carried as values, never glued into another text and parsed back: no id
//! can name another user's topic.

use std::{fmt, sync::Arc};

pub use super::message_id::{InvalidMessageId, MESSAGE_ID_BYTES_MAX, MessageId};

/// Who an event is for: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

/// Longest user id, in bytes of UTF-8.
pub const USER_ID_BYTES_MAX: usize = 256;

/// Why a text is not a user id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUserId {
    /// No character at all.
    #[error("a user id must not be empty")]
    Empty,
    /// Longer than [`USER_ID_BYTES_MAX`].
    #[error("a user id has at most {USER_ID_BYTES_MAX} bytes")]
    TooLong,
    /// A line break, NUL or other control character.
    #[error("a user id must not contain control characters")]
    ControlCharacter,
}

impl UserId {
    /// Checks the rules and takes the text as it is: ids are compared byte by byte, never folded or
    /// normalised.
    ///
    /// # Errors
    /// Which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidUserId> {
        if text.is_empty() {
            return Err(InvalidUserId::Empty);
        }
        if text.len() > USER_ID_BYTES_MAX {
            return Err(InvalidUserId::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidUserId::ControlCharacter);
        }
        Ok(Self(text.into()))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a topic is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Users' events.
    Users,
    /// Messages' events.
    Messages,
}

/// The address of one journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// One user's events.
    User(UserId),
    /// One message's events.
    Message(MessageId),
}

impl Topic {
    /// Which channel the topic is of.
    pub const fn channel(&self) -> Channel {
        match self {
            Self::User(_) => Channel::Users,
            Self::Message(_) => Channel::Messages,
        }
    }

    /// Whose events these are; nothing for a message.
    pub const fn user(&self) -> Option<&UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Message(_) => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Message(id) => write!(f, "message:{id}"),
        }
    }
}

impl serde::Serialize for Topic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_user_id_keeps_every_harmless_byte() {
        for text in ["u1", " ", "a b", "user:u2", "*", "../x", "日本", "{u}", "👩‍👩‍👧", "u1\u{200b}"]
        {
            assert_eq!(UserId::parse(text).map(|id| id.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn hostile_user_ids_are_refused() {
        assert_eq!(UserId::parse(""), Err(InvalidUserId::Empty));
        assert_eq!(UserId::parse(&"x".repeat(257)), Err(InvalidUserId::TooLong));
        assert_eq!(UserId::parse(&"é".repeat(129)), Err(InvalidUserId::TooLong));
        for text in ["a\nb", "a\r", "\0", "a\tb", "\u{7f}", "\u{85}"] {
            assert_eq!(UserId::parse(text), Err(InvalidUserId::ControlCharacter), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn promise_8_different_ids_are_different_topics(a in "\\PC{1,40}", b in "\\PC{1,40}") {
            if let (Ok(left), Ok(right)) = (UserId::parse(&a), UserId::parse(&b)) {
                prop_assert_eq!(Topic::User(left) == Topic::User(right), a == b);
            }
        }
    }
}
