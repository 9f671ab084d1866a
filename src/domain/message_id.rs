//! Which answer an event belongs to.
//!
//! Invariant: a [`MessageId`] has one text, which backends make their keys of: two spellings of a
//! UUID are the same id, and any other two texts are different ids.

use std::{fmt, sync::Arc};

use uuid::Uuid;

/// Which answer an event belongs to: 1 to 128 characters of `[A-Za-z0-9._:-]`, but for `.` and
/// `..`, which no client can name in a path. A UUID has its usual form, with dashes and in lower
/// case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Arc<str>);

/// Longest message id, in bytes.
pub const MESSAGE_ID_BYTES_MAX: usize = 128;

/// A text is not a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a message's id has 1 to {MESSAGE_ID_BYTES_MAX} characters of A-Z, a-z, 0-9, '.', '_', ':' and '-', and is not `.` or `..`"
)]
pub struct InvalidMessageId;

impl MessageId {
    /// Checks the rules. A UUID is taken in any spelling: with or without dashes, in upper case,
    /// with `urn:uuid:` before it.
    ///
    /// # Errors
    /// [`InvalidMessageId`].
    pub fn parse(text: &str) -> Result<Self, InvalidMessageId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        if text.is_empty()
            || text.len() > MESSAGE_ID_BYTES_MAX
            || !text.bytes().all(allowed)
            || matches!(text, "." | "..")
        {
            return Err(InvalidMessageId);
        }
        Ok(Uuid::parse_str(text).map_or_else(|_| Self(text.into()), Self::from))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a UUID, if it is one.
    pub fn uuid(&self) -> Option<Uuid> {
        Uuid::parse_str(&self.0).ok()
    }
}

impl From<Uuid> for MessageId {
    fn from(uuid: Uuid) -> Self {
        let mut buffer = Uuid::encode_buffer();
        let text: &str = uuid.hyphenated().encode_lower(&mut buffer);
        Self(text.into())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_follow_their_rules() {
        for text in ["a", "chatcmpl-9x", "resp_0f.1:2", "...", ".a", &"x".repeat(128)] {
            assert_eq!(MessageId::parse(text).map(|id| id.to_string()), Ok(text.to_owned()));
        }
        for text in ["", ".", "..", "a b", "a/b", "a\n", "é", "a%2Fb", "{a}", &"x".repeat(129)] {
            assert_eq!(MessageId::parse(text), Err(InvalidMessageId), "{text:?}");
        }
    }

    #[test]
    fn a_uuid_in_any_spelling_is_the_same_message() {
        let usual = "01890a5d-ac96-774b-bcce-b302099a8057";
        for text in [
            usual,
            "01890A5D-AC96-774B-BCCE-B302099A8057",
            "01890a5dac96774bbcceb302099a8057",
            "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
        ] {
            let id = MessageId::parse(text).unwrap();
            assert_eq!((id.as_str(), id.uuid()), (usual, Uuid::parse_str(usual).ok()));
        }
        assert_eq!(MessageId::parse("chat-1").unwrap().uuid(), None);
    }

    proptest! {
        #[test]
        fn promise_8_different_texts_are_different_ids(a in "[A-Za-z0-9._:-]{1,6}", b in "[A-Za-z0-9._:-]{1,6}") {
            prop_assert_eq!(MessageId::parse(&a) == MessageId::parse(&b), a == b);
        }

        #[test]
        fn a_parsed_id_parses_as_itself(text in any::<String>()) {
            if let Ok(id) = MessageId::parse(&text) {
                prop_assert_eq!(MessageId::parse(id.as_str()), Ok(id));
            }
        }
    }
}
