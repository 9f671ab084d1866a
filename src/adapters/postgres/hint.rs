//! What a notification says: which topics have grown, by a number made of each topic's address.
//!
//! Invariants: no payload and no id of a user travels in it; it fits a notification, however many
//! topics there are. Two topics of one number cost a needless look, and nothing else.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::domain::topic::Topic;

/// A notification holds 7,999 bytes; each number takes eight.
const TOPICS_MAX: usize = 900;

/// What is made of a topic's address: alike in every process and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TopicHash(u32);

impl TopicHash {
    pub(super) fn of(topic: &Topic) -> Self {
        let digest = Sha256::digest(topic.to_string().as_bytes());
        Self(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }
}

/// What a notification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// These topics have grown.
    Grown(Vec<TopicHash>),
    /// More topics have grown than there is room for: any may have.
    AnyGrown,
    /// These topics lost all they had.
    Removed(Vec<TopicHash>),
    /// More than there is room for.
    AnyRemoved,
    /// There is an announcement of this number.
    Announced(i64),
}

impl Hint {
    pub(super) fn grown<'a>(topics: impl IntoIterator<Item = &'a Topic>) -> Self {
        let numbers = numbers(topics);
        if numbers.len() > TOPICS_MAX { Self::AnyGrown } else { Self::Grown(numbers) }
    }

    pub(super) fn removed<'a>(topics: impl IntoIterator<Item = &'a Topic>) -> Self {
        let numbers = numbers(topics);
        if numbers.len() > TOPICS_MAX { Self::AnyRemoved } else { Self::Removed(numbers) }
    }

    /// The text that travels.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Grown(numbers) => list('g', numbers),
            Self::AnyGrown => "g*".to_owned(),
            Self::Removed(numbers) => list('r', numbers),
            Self::AnyRemoved => "r*".to_owned(),
            Self::Announced(number) => format!("a{number}"),
        }
    }

    /// Reads a text; one that a later version may have sent is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(1)?;
        match (kind, rest) {
            ("g", "*") => Some(Self::AnyGrown),
            ("r", "*") => Some(Self::AnyRemoved),
            ("g", rest) => parse_list(rest).map(Self::Grown),
            ("r", rest) => parse_list(rest).map(Self::Removed),
            ("a", rest) => rest.parse().ok().map(Self::Announced),
            _ => None,
        }
    }
}

fn numbers<'a>(topics: impl IntoIterator<Item = &'a Topic>) -> Vec<TopicHash> {
    let mut numbers: Vec<_> = topics.into_iter().map(TopicHash::of).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn list(kind: char, numbers: &[TopicHash]) -> String {
    let mut text = String::with_capacity(1 + 8 * numbers.len());
    text.push(kind);
    for TopicHash(number) in numbers {
        // Writing to a string can't fail.
        let _ = write!(text, "{number:08x}");
    }
    text
}

fn parse_list(text: &str) -> Option<Vec<TopicHash>> {
    let (digits, rest) = text.as_bytes().as_chunks::<8>();
    let number = |digits: &[u8; 8]| {
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().map(TopicHash)
    };
    if rest.is_empty() { digits.iter().map(number).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topic::UserId;
    use proptest::prelude::*;

    fn topics(count: usize) -> Vec<Topic> {
        (0..count).map(|n| Topic::User(UserId::parse(&format!("u{n}")).unwrap())).collect()
    }

    #[test]
    fn a_hint_reads_as_it_is_written_and_fits_a_notification() {
        for count in [0, 1, 2, TOPICS_MAX, TOPICS_MAX + 1, 100_000] {
            for hint in [
                Hint::grown(&topics(count)),
                Hint::removed(&topics(count)),
                Hint::Announced(i64::MAX),
            ] {
                assert!(hint.text().len() < 8_000);
                assert_eq!(Hint::parse(&hint.text()), Some(hint));
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "\\PC{0,40}|[gra][0-9a-f*]{0,33}") {
            if let Some(hint) = Hint::parse(&text) {
                prop_assert_eq!(Hint::parse(&hint.text()), Some(hint));
            }
        }
    }
}
