//! The replay machine: what a subscriber gets, decided without IO.
//!
//! Invariants, whatever the order of snapshot, live tail, gaps, trims, failures and reconnects:
//! - the ids it sends strictly increase (promise 2);
//! - between two positions it passes through, no entry was left out, or the client was notified
//!   first (promises 1 and 6);
//! - it holds a position and a few numbers, never a queue (promise 7).
//!
//! The shell asks [`Replay::next`] what to do, does it, and feeds the result back:
//! [`Replay::located`], [`Replay::page`], [`Replay::live`], [`Replay::fall_behind`].

use super::{
    category::CategoryFilter,
    cursor::{Bounds, Continuity, Cursor},
    event::Entry,
    page::Page,
    position::{EventId, Position},
};

/// What the shell does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the journal for the topic's bounds, and hand them to [`Replay::located`].
    Locate,
    /// Read the journal after this position, and hand the page to [`Replay::page`].
    Read(Position),
    /// Hand live entries behind this position to [`Replay::live`], as they come.
    Follow(Position),
    /// The snapshot reached its cap with more to come: close, so that the client rejoins for the
    /// rest.
    CloseCapped,
}

/// What goes to the client.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// An entry.
    Entry(Entry),
    /// Entries behind the client's cursor are gone; this is the oldest retained, if any is.
    Truncated(Option<EventId>),
    /// Nothing to show, but the client's cursor moves here; at the start it has none.
    MoveTo(Position),
}

/// How a live entry relates to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At or before the position: it has been dealt with.
    Old,
    /// It comes right after the position: nothing lies between.
    Next,
    /// Something lies between, or may: read the journal.
    Gap,
}

/// The core rule for a live entry. `prev` is the position the entry was appended at, so nothing
/// lies between `prev` and `id`; an entry without one was written by another program and is only a
/// hint.
pub fn step(position: Position, id: EventId, prev: Option<Position>) -> Step {
    if !position.is_before(id) {
        Step::Old
    } else if prev.is_some_and(|prev| prev <= position) {
        Step::Next
    } else {
        Step::Gap
    }
}

/// What to do with one live entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// Send it.
    Send,
    /// Not for this client: it was sent before, or the filter hides it.
    Skip,
    /// Not now: ask [`Replay::next`] what to do instead.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Locating { notice: bool },
    Reading,
    Following,
    Capped,
}

/// The part of the stream that the client missed while it was away: it is capped.
#[derive(Clone, Copy, Debug)]
struct Snapshot {
    /// The head when the client rejoined; known after the first read. What is appended later is
    /// live tail.
    until: Option<Position>,
    sent: u32,
}

/// One subscriber's place in a topic, and what it still has to get.
#[derive(Clone, Debug)]
pub struct Replay {
    at: Position,
    phase: Phase,
    /// The live tail became unreliable during a read, so that what it returns may already be out of
    /// date.
    read_again: bool,
    snapshot: Option<Snapshot>,
    max_per_request: u32,
    /// A message that was deleted and begins anew is sent from its start; of a user's events only
    /// what comes.
    from_start_if_ahead: bool,
    filter: CategoryFilter,
}

impl Replay {
    /// A client that rejoins with `cursor`. At most `replay_max_per_request` entries of what it
    /// missed are sent.
    pub fn open(cursor: Cursor, filter: CategoryFilter, replay_max_per_request: u32) -> Self {
        let snapshot = Some(Snapshot { until: None, sent: 0 });
        let (at, phase, snapshot) = match cursor {
            Cursor::Absent => (Position::Start, Phase::Locating { notice: false }, None),
            Cursor::Unreadable => (Position::Start, Phase::Locating { notice: true }, None),
            Cursor::Oldest => (Position::Start, Phase::Reading, snapshot),
            Cursor::After(id) => (Position::After(id), Phase::Reading, snapshot),
        };
        Self {
            at,
            phase,
            read_again: false,
            snapshot,
            max_per_request: replay_max_per_request,
            from_start_if_ahead: false,
            filter,
        }
    }

    /// A client that rejoins a message: whatever its cursor, it gets the rest, all of it.
    pub fn open_message(cursor: Cursor) -> Self {
        let cursor = if let Cursor::After(_) = cursor { cursor } else { Cursor::Oldest };
        Self {
            snapshot: None,
            from_start_if_ahead: true,
            ..Self::open(cursor, CategoryFilter::All, 0)
        }
    }

    /// What the shell does next.
    pub fn next(&self) -> Next {
        match self.phase {
            Phase::Locating { .. } => Next::Locate,
            Phase::Reading => Next::Read(self.at),
            Phase::Following => Next::Follow(self.at),
            Phase::Capped => Next::CloseCapped,
        }
    }

    /// Up to where everything has been dealt with: sent, or hidden by the filter.
    pub fn position(&self) -> Position {
        self.at
    }

    /// Which categories get through.
    pub fn filter(&self) -> &CategoryFilter {
        &self.filter
    }

    /// The topic's bounds, as [`Next::Locate`] asked: the client starts at the head.
    pub fn located(&mut self, bounds: &Bounds, out: &mut impl FnMut(Output)) {
        if let Phase::Locating { notice } = self.phase {
            self.start_at_head(bounds, notice, out);
        }
    }

    /// A page read after the position that [`Next::Read`] named. A notice is followed by an id at
    /// once: an entry's, or a move of the client's cursor. A client that drops it at the notice, as
    /// most do, could otherwise lose what comes after (promise 6).
    pub fn page(&mut self, page: &Page, out: &mut impl FnMut(Output)) {
        let (mut last_id, mut owes_id) = (self.at, false);
        self.take_page(page, &mut |output| {
            match &output {
                Output::Truncated(_) => owes_id = true,
                Output::Entry(entry) => (last_id, owes_id) = (Position::After(entry.id), false),
                Output::MoveTo(position) => (last_id, owes_id) = (*position, false),
            }
            out(output);
        });
        if owes_id && self.at > last_id {
            out(Output::MoveTo(self.at));
        }
    }

    fn take_page(&mut self, page: &Page, out: &mut impl FnMut(Output)) {
        match page.bounds.continuity(self.at) {
            Continuity::Whole => {}
            Continuity::Truncated => {
                out(Output::Truncated(page.bounds.oldest));
                let first_prev = page.entries.first().and_then(|entry| entry.prev);
                let nothing_left = page.bounds.oldest.is_none().then_some(page.bounds.head);
                self.at = self.at.max(
                    nothing_left.or(page.bounds.floor).or(first_prev).unwrap_or(page.bounds.origin),
                );
            }
            Continuity::Ahead if self.from_start_if_ahead => {
                out(Output::Truncated(page.bounds.oldest));
                self.at = Position::Start;
                return out(Output::MoveTo(self.at));
            }
            Continuity::Ahead => return self.start_at_head(&page.bounds, true, out),
        }
        self.at = self.at.max(page.bounds.origin);
        self.begin_snapshot(page.bounds.head);
        for entry in &page.entries {
            match step(self.at, entry.id, entry.prev) {
                Step::Old => continue,
                // Entries of a page follow each other, so a `prev` beyond the position is a hole in
                // the journal itself.
                Step::Gap if entry.prev.is_some() => out(Output::Truncated(page.bounds.oldest)),
                Step::Gap | Step::Next => {}
            }
            match self.take(entry) {
                Live::Send => out(Output::Entry(entry.clone())),
                Live::Skip => {}
                Live::Stop => return,
            }
        }
        if !page.more {
            self.at = self.at.max(page.bounds.head);
            self.follow();
        }
    }

    /// Instead of a page: live entries reach back to the client's position without a gap, up to
    /// `head`.
    pub fn covered_until(&mut self, head: Position) {
        if self.phase == Phase::Reading {
            self.begin_snapshot(head);
            self.phase = Phase::Following;
        }
    }

    /// A live entry. It is sent only where it continues what came before.
    pub fn live(&mut self, entry: &Entry) -> Live {
        if self.phase != Phase::Following {
            return Live::Stop;
        }
        match step(self.at, entry.id, entry.prev) {
            Step::Old => Live::Skip,
            Step::Next => self.take(entry),
            Step::Gap => {
                self.fall_behind();
                Live::Stop
            }
        }
    }

    /// The live tail can't be trusted from this position on (the feed was interrupted, or has moved
    /// past): read the journal instead. A read that is under way does not count: it may have
    /// happened before.
    pub fn fall_behind(&mut self) {
        match self.phase {
            Phase::Following => self.phase = Phase::Reading,
            Phase::Locating { .. } | Phase::Reading => self.read_again = true,
            Phase::Capped => {}
        }
    }

    fn follow(&mut self) {
        self.phase =
            if std::mem::take(&mut self.read_again) { Phase::Reading } else { Phase::Following };
    }

    fn start_at_head(&mut self, bounds: &Bounds, notice: bool, out: &mut impl FnMut(Output)) {
        if notice {
            out(Output::Truncated(bounds.oldest));
        }
        self.at = bounds.head;
        self.snapshot = None;
        self.follow();
        out(Output::MoveTo(bounds.head));
    }

    fn begin_snapshot(&mut self, head: Position) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.until.get_or_insert(head);
        }
    }

    /// Passes over one entry that continues the position, unless it would exceed the snapshot's
    /// cap.
    fn take(&mut self, entry: &Entry) -> Live {
        let id = Position::After(entry.id);
        let passes = self.filter.passes(entry.event.category.as_ref());
        if let Some(snapshot) = &mut self.snapshot {
            if snapshot.until.is_some_and(|until| id > until) {
                self.snapshot = None;
            } else if passes {
                if snapshot.sent == self.max_per_request {
                    self.phase = Phase::Capped;
                    return Live::Stop;
                }
                snapshot.sent += 1;
            }
        }
        self.at = id;
        if passes { Live::Send } else { Live::Skip }
    }
}

#[cfg(test)]
mod properties;
