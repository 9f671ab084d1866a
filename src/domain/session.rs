//! One subscriber's stream from greeting to farewell: the replay machine, and what depends on time.
//!
//! Invariants: it never does IO and never asks for the time; every frame that a client gets is decided here; the
//! client's own cursor (`told`) never passes what it was sent or what the filter hid from it.
//!
//! The driver alternates [`Session::poll`] (what to do) with the `handle_*` inputs (what happened). Frames to send are
//! pushed to `out`; after they were written the driver says so with [`Session::handle_written`].

use std::time::{Duration, Instant};

use super::{
    category::{Category, CategoryFilter},
    cursor::{Bounds, Cursor},
    event::Entry,
    frame::{Control, Format, Frame},
    position::Position,
    replay::{Live, Next, Output, Page, Replay},
    topic::Topic,
};

/// What every stream of a process has in common.
#[derive(Clone, Debug)]
pub struct StreamPolicy {
    /// Silence on the wire after which a keepalive goes out.
    pub keepalive: Duration,
    /// The delay after which clients are told to reconnect.
    pub retry_ms: u64,
    /// Most entries of a snapshot that one connection gets.
    pub snapshot_entries_max: u32,
}

/// The delay told to a client whose snapshot was capped: it should come back for the rest at once.
const CAPPED_RETRY_MS: u64 = 100;
/// First and longest pause before a journal that failed is read again.
const READ_RETRY_FIRST: Duration = Duration::from_millis(100);
const READ_RETRY_LONGEST: Duration = Duration::from_secs(5);

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the journal for the topic's bounds: [`Session::handle_bounds`] or [`Session::handle_read_failed`].
    Locate,
    /// Read the journal after this position: [`Session::handle_page`] or [`Session::handle_read_failed`].
    Read(Position),
    /// Hand over live entries behind this position ([`Session::handle_live`]); when there are none, wait for one, or
    /// until [`Session::poll_timeout`].
    Follow(Position),
    /// Wait until [`Session::poll_timeout`].
    Pause,
    /// Close the connection.
    Close(Ending),
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The snapshot reached its cap.
    SnapshotCapped,
    /// The credentials expired.
    TokenExpired,
    /// The process shuts down.
    Draining,
}

/// One subscriber's stream.
#[derive(Debug)]
pub struct Session {
    topic: Topic,
    format: Format,
    replay: Replay,
    retry_ms: u64,
    keepalive: Duration,
    /// The position that the client was last told by an id.
    told: Position,
    written_at: Instant,
    expires_at: Option<Instant>,
    drain: Option<Drain>,
    read_failures: u32,
    read_again_at: Option<Instant>,
    ending: Option<Ending>,
}

#[derive(Clone, Copy, Debug)]
struct Drain {
    at: Instant,
    retry_ms: u64,
}

impl Session {
    /// A client that (re)joins `topic` with `cursor`. `expires_at` is the end of its credentials.
    pub fn open(
        topic: Topic,
        format: Format,
        cursor: Cursor,
        filter: CategoryFilter,
        policy: &StreamPolicy,
        now: Instant,
        expires_at: Option<Instant>,
    ) -> Self {
        let told = match cursor {
            Cursor::After(id) => Position::After(id),
            Cursor::Absent | Cursor::Oldest | Cursor::Unreadable => Position::Start,
        };
        Self {
            topic,
            format,
            replay: Replay::open(cursor, filter, policy.snapshot_entries_max),
            retry_ms: policy.retry_ms,
            keepalive: policy.keepalive,
            told,
            written_at: now,
            expires_at,
            drain: None,
            read_failures: 0,
            read_again_at: None,
            ending: None,
        }
    }

    /// The stream's topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The format that the client asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The first frame of every stream.
    pub fn greet(&self, out: &mut Vec<Frame>) {
        out.push(Frame::greeting(self.retry_ms));
    }

    /// What to do next.
    pub fn poll(&self) -> Action {
        if let Some(ending) = self.ending {
            return Action::Close(ending);
        }
        match self.replay.next() {
            Next::Follow(position) => Action::Follow(position),
            Next::CloseCapped => Action::Close(Ending::SnapshotCapped),
            Next::Locate | Next::Read(_) if self.read_again_at.is_some() => Action::Pause,
            Next::Locate => Action::Locate,
            Next::Read(position) => Action::Read(position),
        }
    }

    /// When [`Session::handle_timeout`] wants to be called, at the latest.
    pub fn poll_timeout(&self) -> Instant {
        let keepalive_at = self.written_at + self.keepalive;
        let others = [self.expires_at, self.drain.map(|drain| drain.at), self.read_again_at];
        others.into_iter().flatten().fold(keepalive_at, Instant::min)
    }

    /// The latest moment at which a stalled write may still go on, whatever the write timeout says.
    pub fn hard_deadline(&self) -> Option<Instant> {
        self.expires_at
    }

    /// The topic's bounds, as [`Action::Locate`] asked.
    pub fn handle_bounds(&mut self, bounds: &Bounds, out: &mut Vec<Frame>) {
        self.read_failures = 0;
        self.feed(out, |replay, sink| replay.located(bounds, &mut |output| sink(output)));
    }

    /// A page, as [`Action::Read`] asked.
    pub fn handle_page(&mut self, page: &Page, out: &mut Vec<Frame>) {
        self.read_failures = 0;
        self.feed(out, |replay, sink| replay.page(page, &mut |output| sink(output)));
        self.end_if_capped(out);
    }

    /// The journal could not be read: it will be asked again after a pause, while keepalives go on (promise 9).
    pub fn handle_read_failed(&mut self, now: Instant) {
        let pause = READ_RETRY_FIRST.saturating_mul(1 << self.read_failures.min(10)).min(READ_RETRY_LONGEST);
        self.read_failures += 1;
        self.read_again_at = Some(now + pause);
    }

    /// Live entries reach back to the client's position without a gap, up to `head`: no page is needed.
    pub fn handle_covered(&mut self, head: Position) {
        self.replay.covered_until(head);
    }

    /// A live entry. On [`Live::Send`] the driver sends the entry's shared frame; on [`Live::Stop`] it polls again.
    pub fn handle_live(&mut self, entry: &Entry, out: &mut Vec<Frame>) -> Live {
        let verdict = self.replay.live(entry);
        match verdict {
            Live::Send => self.told = Position::After(entry.id),
            Live::Skip => {}
            Live::Stop => self.end_if_capped(out),
        }
        verdict
    }

    /// Whether an event for everybody is for this client.
    pub fn wants(&self, category: Option<&Category>) -> bool {
        self.replay.filter().passes(category)
    }

    /// Live entries no longer reach back to the client's position.
    pub fn handle_fallen_behind(&mut self) {
        self.replay.fall_behind();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Frame>) {
        if self.read_again_at.is_some_and(|at| at <= now) {
            self.read_again_at = None;
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return self.end(Ending::TokenExpired, None, "token expired", out);
        }
        if let Some(drain) = self.drain.filter(|drain| drain.at <= now) {
            return self.end(Ending::Draining, Some(drain.retry_ms), "draining", out);
        }
        if now >= self.written_at + self.keepalive {
            let position = self.untold_position();
            out.push(Frame::keepalive(position.id()));
            self.told = self.told.max(position);
        }
    }

    /// The process shuts down: this client is asked at `at` to come back after `retry_ms`.
    pub fn handle_drain(&mut self, at: Instant, retry_ms: u64) {
        self.drain.get_or_insert(Drain { at, retry_ms });
    }

    /// What was in `out` has left for the client.
    pub fn handle_written(&mut self, now: Instant) {
        self.written_at = now;
    }

    fn feed(&mut self, out: &mut Vec<Frame>, input: impl FnOnce(&mut Replay, &mut dyn FnMut(Output))) {
        let Self { replay, topic, format, told, .. } = self;
        input(replay, &mut |output| {
            out.push(match &output {
                Output::Entry(entry) => {
                    *told = Position::After(entry.id);
                    Frame::entry(*format, topic, entry.id, &entry.event)
                }
                Output::Truncated(oldest) => Frame::control(*format, &Control::BacklogTruncated { oldest_retained_id: *oldest }),
                Output::MoveTo(id) => {
                    *told = Position::After(*id);
                    Frame::position(*id)
                }
            });
        });
    }

    fn end_if_capped(&mut self, out: &mut Vec<Frame>) {
        if self.replay.next() == Next::CloseCapped {
            self.end(Ending::SnapshotCapped, Some(CAPPED_RETRY_MS), "snapshot capped", out);
        }
    }

    fn end(&mut self, ending: Ending, retry_ms: Option<u64>, words: &'static str, out: &mut Vec<Frame>) {
        if self.ending.is_none() {
            out.push(Frame::farewell(self.untold_position().id(), retry_ms, words));
            self.ending = Some(ending);
        }
    }

    /// The scanned position, if the filter hid entries since the client was last told one; else the start.
    fn untold_position(&self) -> Position {
        let position = self.replay.position();
        if position > self.told { position } else { Position::Start }
    }
}

#[cfg(test)]
mod tests;
