//! What a client may present as its cursor, and whether a journal can continue it without a hole.
//!
//! Invariant: a cursor is continued silently only where it is *known* that no entry behind it is
//! gone. In doubt the client is notified (promise 6).

use std::fmt;

use super::position::{EventId, Position};

/// What a client presented: `Last-Event-ID`, or its query form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Nothing: the client is new, and wants what comes from now on.
    Absent,
    /// `0`: everything that is retained.
    Oldest,
    /// The id of the last entry it has taken.
    After(EventId),
    /// A text that no journal ever issued.
    Unreadable,
}

impl Cursor {
    /// Reads the cursor of a user's stream: of several readable ones, in one text with commas
    /// between or in several texts, the greatest counts. A bare number `n` means `n-0`, as in Redis
    /// Streams.
    pub fn of_user_events<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let timed = |id: EventId| Some(EventId::timed(id.major(), id.minor().unwrap_or(0)));
        match greatest(texts, timed) {
            Ok(Some(id)) if id == EventId::timed(0, 0) => Self::Oldest,
            Ok(Some(id)) => Self::After(id),
            Ok(None) => Self::Absent,
            Err(Unreadable) => Self::Unreadable,
        }
    }

    /// The cursor of a message's reader: a number, of several the greatest. Anything else asks for
    /// everything.
    pub fn of_message<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        match greatest(texts, |id| id.minor().is_none().then_some(id)) {
            Ok(Some(id)) => Self::After(id),
            Ok(None) | Err(Unreadable) => Self::Oldest,
        }
    }

    /// The cursors in a text, with commas between. An empty one is none.
    pub fn listed(text: &str) -> impl Iterator<Item = &str> {
        text.split(',').map(str::trim).filter(|text| !text.is_empty())
    }
}

/// Where the reader of a message wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageStart {
    /// Behind what it has.
    Behind(Cursor),
    /// With the event of this number; a negative number counts from the end.
    At(i64),
}

impl MessageStart {
    /// The cursor that this is for a message of so many events.
    pub fn cursor(self, events: u64) -> Cursor {
        match self {
            Self::Behind(cursor) => cursor,
            Self::At(first) => {
                let from_end = events.saturating_sub(first.unsigned_abs());
                let first = u64::try_from(first).unwrap_or(from_end);
                let last = first.checked_sub(1).map(EventId::sequence);
                last.map_or(Cursor::Oldest, Cursor::After)
            }
        }
    }
}

/// As logs name it.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("none"),
            Self::Oldest => f.write_str("oldest"),
            Self::After(id) => id.fmt(f),
            Self::Unreadable => f.write_str("unreadable"),
        }
    }
}

/// There are cursors, but none of them is an id.
struct Unreadable;

/// The greatest of the ids that `accepts` takes; nothing if there is no cursor at all.
fn greatest<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    accepts: impl Fn(EventId) -> Option<EventId>,
) -> Result<Option<EventId>, Unreadable> {
    let mut cursors = texts
        .into_iter()
        .flat_map(Cursor::listed)
        .map(|text| text.parse().ok().and_then(&accepts))
        .peekable();
    if cursors.peek().is_none() {
        return Ok(None);
    }
    cursors.flatten().max().map(Some).ok_or(Unreadable)
}

/// What a journal knows of one topic's extent, at the moment of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The position before the first entry of the journal's present incarnation. A wiped journal
    /// gets a later one.
    pub origin: Position,
    /// The position after which nothing was removed: `prev` of the oldest entry retained, or the
    /// head if none is. `None` where the backend does not know.
    pub floor: Option<Position>,
    /// The oldest entry retained.
    pub oldest: Option<EventId>,
    /// Behind the last entry; for a topic without entries a position such that all to come lie
    /// behind it.
    pub head: Position,
    /// Whether other topics have positions among this one's, so that one that names an entry need
    /// not name one of this topic.
    pub shares_positions: bool,
}

/// Whether a reader at some position can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// Nothing behind the position is gone.
    Whole,
    /// Something behind the position is gone, or may be. What is retained begins at `floor`.
    Truncated,
    /// The position is ahead of the journal: another incarnation issued it.
    Ahead,
}

impl Continuity {
    /// Whether a client at such a position is behind: there is an entry to replay, or a loss to
    /// report. Only such a client uses up its replay budget.
    pub fn is_behind(self, has_entries_after: bool) -> bool {
        has_entries_after || self != Self::Whole
    }
}

impl Bounds {
    /// The extent of a message of so many events: numbered from 0, and never trimmed. A message
    /// that is not there has none.
    pub fn of_message(events: u64) -> Self {
        let (start, oldest) = (Position::Start, (events > 0).then(|| EventId::sequence(0)));
        Self {
            origin: start,
            floor: Some(start),
            oldest,
            head: Position::before(EventId::sequence(events)),
            shares_positions: false,
        }
    }

    /// The earliest position behind which nothing is known to be gone: the floor; where nobody
    /// knows it, behind the oldest entry, since what lay before that may have been removed.
    pub fn whole_from(&self) -> Position {
        self.floor.or(self.oldest.map(Position::After)).unwrap_or(self.head)
    }

    /// Whether a reader that stands at `position` misses nothing by reading on from there.
    /// [`Position::Start`] stands for the origin. A position that names an entry where this topic
    /// never had one was issued before the topic vanished: it is unknown what came after it.
    pub fn continuity(&self, position: Position) -> Continuity {
        let position = if position == Position::Start { self.origin } else { position };
        if position > self.head {
            return Continuity::Ahead;
        }
        let whole =
            position >= self.origin && position >= self.whole_from() && !self.never_had(position);
        if whole { Continuity::Whole } else { Continuity::Truncated }
    }

    /// Whether `position` names an entry where there was none: behind the floor nothing was
    /// removed, and so there is nothing between it and the oldest entry, or at all.
    fn never_had(&self, position: Position) -> bool {
        let is_before_oldest = self.oldest.is_none_or(|oldest| position.is_before(oldest));
        !self.shares_positions
            && position.names_entry()
            && is_before_oldest
            && self.floor.is_some_and(|floor| floor < position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Position {
        Position::After(EventId::timed(ms, 0))
    }

    fn bounds(origin: u64, floor: Option<u64>, oldest: Option<u64>, head: u64) -> Bounds {
        Bounds {
            origin: at(origin),
            floor: floor.map(at),
            oldest: oldest.map(|ms| EventId::timed(ms, 0)),
            head: at(head),
            shares_positions: false,
        }
    }

    #[test]
    fn the_first_event_that_is_wanted_makes_a_cursor() {
        let cursor = |first| MessageStart::At(first).cursor(5);
        let after = |number| Cursor::After(EventId::sequence(number));
        for (first, expected) in [
            (0, Cursor::Oldest),
            (1, after(0)),
            (5, after(4)),
            (9, after(8)),
            (-1, after(3)),
            (-4, after(0)),
            (-5, Cursor::Oldest),
            (-9, Cursor::Oldest),
            (i64::MIN, Cursor::Oldest),
        ] {
            assert_eq!(cursor(first), expected, "{first}");
        }
        assert_eq!(MessageStart::At(-1).cursor(0), Cursor::Oldest);
        assert_eq!(MessageStart::Behind(after(2)).cursor(5), after(2));
    }

    #[test]
    fn cursors_are_read_as_clients_send_them() {
        assert_eq!(Cursor::of_user_events(None), Cursor::Absent);
        assert_eq!(Cursor::of_user_events(Some("")), Cursor::Absent);
        assert_eq!(Cursor::of_user_events(Some("0")), Cursor::Oldest);
        assert_eq!(Cursor::of_user_events(Some("7-3")), Cursor::After(EventId::timed(7, 3)));
        assert_eq!(Cursor::of_user_events(Some("7")), Cursor::After(EventId::timed(7, 0)));
        for text in ["-1", "abc", "1-2-3", "99999999999999999999", "$", "null", "undefined"] {
            assert_eq!(Cursor::of_user_events(Some(text)), Cursor::Unreadable, "{text}");
        }
    }

    #[test]
    fn promise_1_of_several_cursors_the_greatest_readable_one_counts() {
        let read = |texts: &[&str]| Cursor::of_user_events(texts.iter().copied());
        for (texts, expected) in [
            (&["1-1, 2-1"][..], Cursor::After(EventId::timed(2, 1))),
            (&["2-1,1-1"], Cursor::After(EventId::timed(2, 1))),
            (&["1-1", "10-1", "9-9"], Cursor::After(EventId::timed(10, 1))),
            (&["0", "7-3,"], Cursor::After(EventId::timed(7, 3))),
            (&["null", "7-3, undefined"], Cursor::After(EventId::timed(7, 3))),
            (&["null, 0"], Cursor::Oldest),
            (&["null", "-"], Cursor::Unreadable),
            (&["", " , ,", ""], Cursor::Absent),
            (&[], Cursor::Absent),
        ] {
            assert_eq!(read(texts), expected, "{texts:?}");
        }
        let read = |texts: &[&str]| Cursor::of_message(texts.iter().copied());
        for (texts, expected) in [
            (&["1, 2"][..], Cursor::After(EventId::sequence(2))),
            (&["10", "9"], Cursor::After(EventId::sequence(10))),
            (&["7-1, 0, null"], Cursor::After(EventId::sequence(0))),
            (&["7-1", "null"], Cursor::Oldest),
            (&[", ,"], Cursor::Oldest),
        ] {
            assert_eq!(read(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn a_message_is_read_from_the_start_unless_a_number_says_otherwise() {
        for text in [
            None,
            Some(""),
            Some("abc"),
            Some("-1"),
            Some("7-1"),
            Some("99999999999999999999"),
            Some("null"),
        ] {
            assert_eq!(Cursor::of_message(text), Cursor::Oldest, "{text:?}");
        }
        assert_eq!(Cursor::of_message(Some("0")), Cursor::After(EventId::sequence(0)));
        assert_eq!(Cursor::of_message(Some(" 12 ")), Cursor::After(EventId::sequence(12)));
    }

    #[test]
    fn promise_6_a_cursor_is_truncated_only_by_what_was_removed() {
        let trimmed = bounds(10, Some(20), Some(30), 40);
        assert_eq!(trimmed.continuity(at(19)), Continuity::Truncated);
        assert_eq!(trimmed.continuity(at(20)), Continuity::Whole);
        assert_eq!(trimmed.continuity(at(25)), Continuity::Whole);
        assert_eq!(trimmed.continuity(at(40)), Continuity::Whole);
        assert_eq!(trimmed.continuity(at(41)), Continuity::Ahead);
        assert_eq!(trimmed.continuity(Position::Start), Continuity::Truncated);
    }

    #[test]
    fn promise_6_everything_retained_is_whole_until_something_is_trimmed() {
        assert_eq!(
            bounds(10, Some(10), Some(30), 40).continuity(Position::Start),
            Continuity::Whole
        );
        assert_eq!(bounds(10, Some(10), None, 50).continuity(Position::Start), Continuity::Whole);
        assert_eq!(
            bounds(10, Some(40), None, 40).continuity(Position::Start),
            Continuity::Truncated
        );
    }

    #[test]
    fn promise_6_a_cursor_of_an_earlier_incarnation_is_truncated() {
        assert_eq!(bounds(10, Some(10), Some(30), 40).continuity(at(9)), Continuity::Truncated);
        assert_eq!(bounds(10, Some(10), None, 50).continuity(at(9)), Continuity::Truncated);
    }

    #[test]
    fn promise_1_an_entry_of_a_topic_that_vanished_is_truncated() {
        let entry = |ms| Position::After(EventId::timed(ms, 1));
        let vanished = bounds(10, Some(20), None, 40);
        assert_eq!(vanished.continuity(entry(15)), Continuity::Truncated);
        assert_eq!(vanished.continuity(entry(30)), Continuity::Truncated);
        assert_eq!(
            vanished.continuity(at(30)),
            Continuity::Whole,
            "the head of an empty topic names no entry"
        );
        assert_eq!(vanished.continuity(at(40)), Continuity::Whole);
        let began_again =
            Bounds { oldest: Some(EventId::timed(50, 1)), head: entry(60), ..vanished };
        assert_eq!(began_again.continuity(entry(30)), Continuity::Truncated);
        assert_eq!(began_again.continuity(at(30)), Continuity::Whole);
        assert_eq!(began_again.continuity(entry(50)), Continuity::Whole);
        let emptied = Bounds { floor: Some(entry(60)), oldest: None, ..began_again };
        assert_eq!(
            emptied.continuity(entry(60)),
            Continuity::Whole,
            "nothing came after the last entry"
        );
        let among_others = Bounds { shares_positions: true, ..began_again };
        assert_eq!(among_others.continuity(entry(30)), Continuity::Whole, "another topic's entry");
        assert_eq!(among_others.continuity(entry(19)), Continuity::Truncated);
    }

    #[test]
    fn promise_6_where_the_floor_is_unknown_doubt_is_told() {
        let unknown = bounds(10, None, Some(30), 40);
        assert_eq!(unknown.continuity(at(29)), Continuity::Truncated);
        assert_eq!(unknown.continuity(at(30)), Continuity::Whole);
        assert_eq!(bounds(10, None, None, 40).continuity(at(39)), Continuity::Truncated);
        assert_eq!(bounds(10, None, None, 40).continuity(at(40)), Continuity::Whole);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,40}|[0-9-]{0,45}") {
            if let Cursor::After(id) = Cursor::of_user_events([text.as_str()]) {
                prop_assert_eq!(Cursor::of_user_events([id.to_string().as_str()]), Cursor::After(id));
            }
        }
    }
}
