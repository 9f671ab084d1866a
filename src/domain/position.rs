//! Where in a topic something stands: the id of an entry, and positions between entries.
//!
//! Invariant: ids of one topic are totally ordered, and their order is the order of appending. A
//! [`Position`] lies between entries, so that "before everything" has a value of its own and no id
//! has to be invented for it.

use std::{fmt, str::FromStr};

use super::timestamp::Timestamp;

/// An event's place in its topic, unique and strictly increasing there. Its text is `\d+(-\d+)?`,
/// opaque to clients.
///
/// There are two kinds, never mixed within a topic: *timed* ids `<ms>-<n>` for user events, and
/// plain *sequence* numbers for message events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    major: u64,
    minor: Option<u64>,
}

impl EventId {
    /// `<ms>-<n>`: wall-clock milliseconds since the Unix epoch, and a counter within the
    /// millisecond.
    pub const fn timed(ms: u64, n: u64) -> Self {
        Self { major: ms, minor: Some(n) }
    }

    /// A bare number: a message's sequence number.
    pub const fn sequence(number: u64) -> Self {
        Self { major: number, minor: None }
    }

    /// The id after this one in its topic. Of a timed id: not before `now`, also when the clock has
    /// stepped back; counters begin at 1.
    #[must_use]
    pub const fn next(self, now: Timestamp) -> Self {
        match self.minor {
            None => Self::sequence(self.major + 1),
            Some(_) if self.major < now.as_ms() => Self::timed(now.as_ms(), 1),
            Some(counter) => Self::timed(self.major, counter + 1),
        }
    }

    /// The part before the dash: milliseconds of a timed id, the number of a sequence id.
    pub const fn major(self) -> u64 {
        self.major
    }

    /// The part after the dash: the counter of a timed id, nothing for a sequence id.
    pub const fn minor(self) -> Option<u64> {
        self.minor
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            Some(minor) => write!(f, "{}-{minor}", self.major),
            None => write!(f, "{}", self.major),
        }
    }
}

/// The text is not an event id: not of the form `\d+(-\d+)?`, or a number in it exceeds 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event id is one number, or two joined by a dash, each below 2^64")]
pub struct InvalidEventId;

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let (major, minor) = match text.split_once('-') {
            Some((major, minor)) => (major, Some(number(minor)?)),
            None => (text, None),
        };
        Ok(Self { major: number(major)?, minor })
    }
}

/// Digits only: `u64::from_str` would also take a leading plus.
fn number(digits: &str) -> Result<u64, InvalidEventId> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidEventId);
    }
    digits.parse().map_err(|_| InvalidEventId)
}

/// A place between the entries of a topic. `Start` is before all that ever was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Position {
    /// Before any entry.
    Start,
    /// Right behind the entry with this id, or where that entry would stand.
    After(EventId),
}

impl Position {
    /// The position right before the entry with this id, wherever the entry before it is.
    pub const fn before(id: EventId) -> Self {
        match (id.major, id.minor) {
            (0, None | Some(0)) => Self::Start,
            (number, None) => Self::After(EventId::sequence(number - 1)),
            (ms, Some(0)) => Self::After(EventId::timed(ms - 1, u64::MAX)),
            (ms, Some(counter)) => Self::After(EventId::timed(ms, counter - 1)),
        }
    }

    /// The id to put on an id-only frame; nothing at the start.
    pub const fn id(self) -> Option<EventId> {
        match self {
            Self::Start => None,
            Self::After(id) => Some(id),
        }
    }

    /// Whether this is the place of an entry of a user's topic. Counters begin at 1, and the head
    /// of a topic without entries has 0, so it may also be another program's entry whose counter is
    /// 0.
    pub fn names_entry(self) -> bool {
        self.id().and_then(EventId::minor).is_some_and(|counter| counter > 0)
    }

    /// Whether an entry with this id lies behind this position, so that a client standing here
    /// lacks it.
    pub fn is_before(self, id: EventId) -> bool {
        self < Self::After(id)
    }
}

impl From<EventId> for Position {
    fn from(id: EventId) -> Self {
        Self::After(id)
    }
}

/// An id as JSON: its text, or null.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(super) fn optional_text<S: serde::Serializer>(
    id: &Option<EventId>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.collect_str(id),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_reads_as_it_is_written() {
        for text in ["0", "7", "1718900000000-0", "18446744073709551615-18446744073709551615"] {
            assert_eq!(text.parse::<EventId>().map(|id| id.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        let hostile = [
            "",
            "-",
            "1-",
            "-1",
            "+1",
            "1-+1",
            "1-1-1",
            "1.5",
            " 1",
            "1 ",
            "٣",
            "$",
            "18446744073709551616",
            "1\n",
        ];
        for text in hostile {
            assert_eq!(text.parse::<EventId>(), Err(InvalidEventId), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_next_id_is_later_and_not_before_now(ms: u32, counter: u32, now: u32) {
            let id = EventId::timed(ms.into(), counter.into());
            let next = id.next(Timestamp::from_ms(now.into()));
            prop_assert!(next > id && next.major() >= now.into() && next.minor() > Some(0));
        }

        #[test]
        fn the_position_before_an_id_is_before_it_and_nothing_lies_between(major: u64, minor: Option<u64>, other: (u64, u64)) {
            let id = EventId { major, minor };
            let between = EventId { major: other.0, minor: minor.map(|_| other.1) };
            prop_assert!(Position::before(id).is_before(id));
            prop_assert!(!Position::before(id).is_before(between) || Position::After(between) >= Position::After(id));
        }

        #[test]
        fn any_id_survives_a_round_trip(major: u64, minor: Option<u64>) {
            let id = EventId { major, minor };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn any_text_parses_or_is_refused_without_a_panic(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert!(text.bytes().all(|b| b.is_ascii_digit() || b == b'-'));
                prop_assert_eq!(id.to_string().parse(), Ok(id));
            }
        }

        #[test]
        fn timed_ids_are_ordered_by_time_and_then_by_counter(a: (u64, u64), b: (u64, u64)) {
            prop_assert_eq!(EventId::timed(a.0, a.1).cmp(&EventId::timed(b.0, b.1)), a.cmp(&b));
        }

        #[test]
        fn the_start_is_before_every_entry(major: u64, minor: Option<u64>) {
            let id = EventId { major, minor };
            prop_assert!(Position::Start.is_before(id));
        }
    }
}
