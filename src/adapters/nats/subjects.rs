//! The names of streams and subjects. They are made here and nowhere else.
//!
//! Invariant: an id is one token of a subject, in which everything but letters, digits, `-` and `_`
//! is written as `=XX`: different ids are different tokens, and none is a wildcard, empty, or
//! several tokens.

use std::fmt::Write as _;

use crate::domain::topic::{MessageId, Topic, UserId};

/// What an account of ours calls its streams and subjects.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    stream_prefix: String,
    subject_prefix: String,
}

impl Subjects {
    pub(super) const fn new(stream_prefix: String, subject_prefix: String) -> Self {
        Self { stream_prefix, subject_prefix }
    }

    /// The stream of users' events, and what it takes.
    pub(super) fn events(&self) -> (String, String) {
        (format!("{}_EVENTS", self.stream_prefix), format!("{}.user.*", self.subject_prefix))
    }

    /// The stream of messages, and what it takes.
    pub(super) fn messages(&self) -> (String, String) {
        (format!("{}_MESSAGES", self.stream_prefix), format!("{}.message.*", self.subject_prefix))
    }

    /// The stream of announcements, and what it takes.
    pub(super) fn announcements(&self) -> (String, String) {
        (
            format!("{}_ANNOUNCEMENTS", self.stream_prefix),
            format!("{}.announcement", self.subject_prefix),
        )
    }

    /// The stream of limits, and what it takes.
    pub(super) fn limits(&self) -> (String, String) {
        (format!("{}_LIMITS", self.stream_prefix), format!("{}.limit.*.*", self.subject_prefix))
    }

    /// Where what is stored under a subject of ours is sent to subscribers.
    pub(super) fn live(&self, subject: &str) -> String {
        let rest = subject.strip_prefix(&*self.subject_prefix).unwrap_or(subject);
        format!("{}.live{rest}", self.subject_prefix)
    }

    /// The same with the wildcard of a stream's subjects, as the server wants it where it
    /// republishes.
    pub(super) fn live_of_all(&self, subjects: &str) -> String {
        self.live(&subjects.replace('*', "{{wildcard(1)}}"))
    }

    /// A topic's subject.
    pub(super) fn topic(&self, topic: &Topic) -> String {
        match topic {
            Topic::User(user) => format!("{}.user.{}", self.subject_prefix, token(user.as_str())),
            Topic::Message(id) => {
                format!("{}.message.{}", self.subject_prefix, token(id.as_str()))
            }
        }
    }

    /// The user of a topic's subject.
    pub(super) fn user_of(&self, subject: &str) -> Option<UserId> {
        let token = subject.strip_prefix(&self.subject_prefix)?.strip_prefix(".user.")?;
        UserId::parse(&id_of(token)?).ok()
    }

    /// The message of a topic's subject.
    pub(super) fn message_of(&self, subject: &str) -> Option<MessageId> {
        let token = subject.strip_prefix(&self.subject_prefix)?.strip_prefix(".message.")?;
        MessageId::parse(&id_of(token)?).ok()
    }

    /// Where a user's connection slots are.
    pub(super) fn leases(&self, user: &UserId) -> String {
        format!("{}.limit.leases.{}", self.subject_prefix, token(user.as_str()))
    }

    /// Where a user's replay budget is.
    pub(super) fn budget(&self, user: &UserId) -> String {
        format!("{}.limit.budget.{}", self.subject_prefix, token(user.as_str()))
    }

    /// What is written to see whether it can be.
    pub(super) fn probe(&self) -> String {
        format!("{}.limit.probe.probe", self.subject_prefix)
    }
}

/// An id as one token.
pub(super) fn token(id: &str) -> String {
    let mut token = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            token.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(token, "={byte:02X}");
        }
    }
    token
}

/// The id that a token stands for.
fn id_of(token: &str) -> Option<String> {
    let (mut id, mut rest) = (Vec::with_capacity(token.len()), token.as_bytes());
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte == b'=' {
            let (digits, behind) = rest.split_at_checked(2)?;
            rest = behind;
            id.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        } else {
            id.push(*byte);
        }
    }
    String::from_utf8(id).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_one_token_that_can_be_read() {
        for (id, expected) in [
            ("u1", "u1"),
            ("a.b", "a=2Eb"),
            (">", "=3E"),
            ("*", "=2A"),
            ("a=2Eb", "a=3D2Eb"),
            ("é ", "=C3=A9=20"),
        ] {
            assert_eq!(token(id), expected);
            assert_eq!(id_of(expected).as_deref(), Some(id));
        }
    }

    #[test]
    fn what_is_stored_is_told_beside_it() {
        let subjects = Subjects::new("APP".to_owned(), "app.x".to_owned());
        assert_eq!(subjects.live("app.x.user.u1"), "app.x.live.user.u1");
        assert_eq!(subjects.live_of_all(&subjects.events().1), "app.x.live.user.{{wildcard(1)}}");
    }

    proptest! {
        #[test]
        fn promise_8_different_ids_are_different_tokens(one in ".{1,8}", other in ".{1,8}") {
            prop_assert_eq!(id_of(&token(&one)), Some(one.clone()));
            prop_assert_eq!(one == other, token(&one) == token(&other));
            prop_assert!(token(&one).bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b)));
        }
    }
}
