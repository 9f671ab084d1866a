//! One subscriber's stream from greeting to farewell: the replay machine, and what depends on time.
//!
//! Invariants: it never does IO and never asks for the time; every frame that a client gets is
//! decided here; the client's own cursor (`last_sent`) never passes what it was sent or what the
//! filter hid from it.
//!
//! The driver alternates [`Session::poll`] (what to do) with the `handle_*` inputs (what happened).
//! Frames to send are pushed to `out`; after they were written the driver says so with
//! [`Session::handle_written`].

mod action;
mod opening;
mod producer_watch;
mod timers;

use std::time::{Duration, Instant};

pub use self::{
    action::{Action, Ask, Ending},
    opening::StreamPolicy,
    producer_watch::ProducerSign,
};
use self::{
    producer_watch::{Finding, ProducerWatch},
    timers::{Timer, Timers},
};
use super::{
    backoff::pause_after,
    category::Category,
    cursor::Bounds,
    event::Entry,
    frame::{Control, Format, Frame, StreamStyle},
    page::Page,
    position::Position,
    replay::{Live, Next, Output, Replay},
    topic::Topic,
};

/// The delay for a client whose snapshot was capped: it should come back for the rest at once.
const CAPPED_RETRY_MS: u64 = 100;
/// The least delay for the reader of a message whose producer is silent: it may never go on.
const STALE_RETRY_MS: u64 = 30_000;
/// First and longest pause before a journal that failed is read again.
const READ_RETRY_FIRST: Duration = Duration::from_millis(100);
const READ_RETRY_LONGEST: Duration = Duration::from_secs(5);

/// One subscriber's stream.
#[derive(Debug)]
pub struct Session {
    topic: Topic,
    style: StreamStyle,
    replay: Replay,
    retry_ms: u64,
    keepalive: Duration,
    /// The position in the last id that the client was sent.
    last_sent: Position,
    /// Of a message's stream.
    producer: Option<Box<ProducerWatch>>,
    written_at: Instant,
    timers: Timers,
    /// The delay that the client is asked for when the process drains.
    drain_retry_ms: u64,
    read_failures: u32,
    ending: Option<Ending>,
    tally: Tally,
}

/// What a session did since it was last asked, for who counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries of pages that were sent.
    pub entries_read: u32,
    /// Notices of truncation that were sent.
    pub truncations: u32,
}

impl Session {
    /// The stream's topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The format that the client asked for.
    pub fn format(&self) -> Format {
        self.style.format
    }

    /// Up to where the client has everything, once it has taken what was in `out`.
    pub fn position(&self) -> Position {
        self.replay.position()
    }

    /// The first frame of every stream.
    pub fn greet(&self, out: &mut Vec<Frame>) {
        out.push(Frame::greeting(self.retry_ms));
    }

    /// What it did since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// What to do next.
    pub fn poll(&self) -> Action {
        if let Some(ending) = self.ending {
            return Action::Close(ending);
        }
        match self.replay.next() {
            Next::Follow(position) => match &self.producer {
                Some(producer) if producer.due => Action::Ask(Ask::Producer),
                _ => Action::Follow(position),
            },
            Next::CloseCapped => Action::Close(Ending::SnapshotCapped),
            Next::Locate | Next::Read(_) if self.timers.get(Timer::ReadAgain).is_some() => {
                Action::Pause
            }
            Next::Locate => Action::Ask(Ask::Locate),
            Next::Read(position) => Action::Ask(Ask::Read(position)),
        }
    }

    /// When [`Session::handle_timeout`] wants to be called, at the latest.
    pub fn poll_timeout(&self) -> Instant {
        let counting = Timer::ALL.into_iter().filter(|timer| self.counts(*timer));
        counting.filter_map(|timer| self.timers.get(timer)).fold(self.keepalive_at(), Instant::min)
    }

    /// When the client's credentials end, and with them a write that stalls, whatever the write
    /// timeout says.
    pub fn token_expires_at(&self) -> Option<Instant> {
        self.timers.get(Timer::TokenExpiry)
    }

    /// The topic's bounds, as [`Ask::Locate`] asked.
    pub fn handle_bounds(&mut self, bounds: &Bounds, out: &mut Vec<Frame>) {
        self.read_failures = 0;
        self.feed(out, |replay, sink| replay.located(bounds, &mut |output| sink(output)));
    }

    /// A page, as [`Ask::Read`] asked.
    pub fn handle_page(&mut self, page: &Page, out: &mut Vec<Frame>) {
        self.read_failures = 0;
        self.feed(out, |replay, sink| replay.page(page, &mut |output| sink(output)));
        self.end_if_capped(out);
    }

    /// The journal could not be read: it will be asked again after a pause, while keepalives go on
    /// (promise 9). `jitter` is the connection's own, at random: those that failed together do not
    /// try again together.
    pub fn handle_read_failed(&mut self, now: Instant, jitter: u64) {
        self.read_failures = self.read_failures.saturating_add(1);
        let pause = pause_after(self.read_failures, READ_RETRY_FIRST, READ_RETRY_LONGEST, jitter);
        self.timers.set(Timer::ReadAgain, now + pause);
    }

    /// Live entries reach back to the client's position without a gap, up to `head`: no page is
    /// needed.
    pub fn handle_covered(&mut self, head: Position) {
        self.replay.covered_until(head);
    }

    /// A live entry. On [`Live::Send`] the driver sends the entry's shared frame; on [`Live::Stop`]
    /// it polls again.
    pub fn handle_live(&mut self, entry: &Entry, out: &mut Vec<Frame>) -> Live {
        let verdict = self.replay.live(entry);
        match verdict {
            Live::Send => {
                self.last_sent = Position::After(entry.id);
                self.end_behind(entry, out);
            }
            Live::Skip => {}
            Live::Stop => self.end_if_capped(out),
        }
        verdict
    }

    /// Whether a broadcast is for this client.
    pub fn wants(&self, category: Option<&Category>) -> bool {
        self.replay.filter().passes(category)
    }

    /// Live entries no longer reach back to the client's position.
    pub fn handle_fallen_behind(&mut self) {
        self.replay.fall_behind();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Frame>) {
        for timer in Timer::ALL {
            if self.counts(timer) && self.timers.is_due(timer, now) {
                self.handle_due(timer, out);
            }
            if self.ending.is_some() {
                return;
            }
        }
        if self.keepalive_at() <= now {
            let position = self.unsent_position();
            out.push(Frame::keepalive(&self.style, position.id()));
            self.last_sent = self.last_sent.max(position);
        }
    }

    fn handle_due(&mut self, timer: Timer, out: &mut Vec<Frame>) {
        match timer {
            Timer::ReadAgain => self.timers.clear(timer),
            Timer::TokenExpiry => self.end(Ending::TokenExpired, None, "token expired", out),
            Timer::Drain => self.end(Ending::Draining, Some(self.drain_retry_ms), "draining", out),
            Timer::AskProducer => {
                if let Some(producer) = &mut self.producer {
                    producer.due = true;
                }
            }
        }
    }

    fn keepalive_at(&self) -> Instant {
        self.written_at + self.keepalive
    }

    /// A producer that has appended what the stream has yet to read is not asked about.
    fn counts(&self, timer: Timer) -> bool {
        timer != Timer::AskProducer || self.is_following()
    }

    /// The process shuts down: this client is asked at `at` to come back after `retry_ms`.
    pub fn handle_drain(&mut self, at: Instant, retry_ms: u64) {
        if self.timers.get(Timer::Drain).is_none() {
            self.timers.set(Timer::Drain, at);
            self.drain_retry_ms = retry_ms;
        }
    }

    /// What the backend has of the message, as [`Ask::Producer`] asked. A producer counts as silent
    /// only for a stream that has all it ever appended.
    pub fn handle_producer(&mut self, sign: &ProducerSign, now: Instant, out: &mut Vec<Frame>) {
        let position = self.replay.position();
        let Some(producer) = &mut self.producer else { return };
        let (finding, ask_at) = producer.handle_sign(sign, position, now);
        self.timers.set(Timer::AskProducer, ask_at);
        match finding {
            Finding::Alive => {}
            Finding::Behind => self.replay.fall_behind(),
            Finding::Gone => self.end(Ending::MessageGone, None, "message deleted", out),
            Finding::Silent => {
                if let Topic::Message(message) = &self.topic {
                    let retry_ms = STALE_RETRY_MS.max(self.retry_ms);
                    out.push(Frame::producer_stale(&self.style, message, retry_ms));
                }
                self.ending = Some(Ending::ProducerStale);
            }
        }
    }

    /// An operator ends the user's connections.
    pub fn handle_closed(&mut self, out: &mut Vec<Frame>) {
        self.end(Ending::Closed, Some(self.retry_ms), "closed by the server", out);
    }

    /// What was in `out` has left for the client.
    pub fn handle_written(&mut self, now: Instant) {
        self.written_at = now;
    }

    fn feed(
        &mut self,
        out: &mut Vec<Frame>,
        input: impl FnOnce(&mut Replay, &mut dyn FnMut(Output)),
    ) {
        let Self { replay, topic, style, last_sent, producer, ending, tally, .. } = self;
        input(replay, &mut |output| {
            match &output {
                Output::Entry(entry) => {
                    tally.entries_read += 1;
                    *last_sent = Position::After(entry.id);
                    out.push(Frame::entry(style.format, topic, entry.id, &entry.event));
                    end_behind(entry, topic, style, ending, out);
                }
                Output::Truncated(oldest) => {
                    tally.truncations += 1;
                    // A message is never trimmed, so it was deleted, and may have begun anew.
                    if let Some(producer) = producer {
                        producer.due = true;
                    }
                    let truncated = Control::BacklogTruncated { oldest_retained_id: *oldest };
                    out.push(Frame::control(style.format, &truncated));
                }
                Output::MoveTo(position) => {
                    *last_sent = *position;
                    out.push(Frame::position(*position));
                }
            }
        });
    }

    fn is_following(&self) -> bool {
        matches!(self.replay.next(), Next::Follow(_))
    }

    fn end_behind(&mut self, entry: &Entry, out: &mut Vec<Frame>) {
        let Self { topic, style, ending, .. } = self;
        end_behind(entry, topic, style, ending, out);
    }

    fn end_if_capped(&mut self, out: &mut Vec<Frame>) {
        if self.replay.next() == Next::CloseCapped {
            self.end(Ending::SnapshotCapped, Some(CAPPED_RETRY_MS), "snapshot capped", out);
        }
    }

    fn end(
        &mut self,
        ending: Ending,
        retry_ms: Option<u64>,
        words: &'static str,
        out: &mut Vec<Frame>,
    ) {
        if self.ending.is_none() {
            out.push(Frame::farewell(self.unsent_position().id(), retry_ms, words));
            self.ending = Some(ending);
        }
    }

    /// The scanned position, if the filter hid entries since the last id that the client was sent;
    /// else the start.
    fn unsent_position(&self) -> Position {
        let position = self.replay.position();
        if position > self.last_sent { position } else { Position::Start }
    }
}

/// A message ends with its terminal event.
fn end_behind(
    entry: &Entry,
    topic: &Topic,
    style: &StreamStyle,
    ending: &mut Option<Ending>,
    out: &mut Vec<Frame>,
) {
    let is_over = matches!(topic, Topic::Message(_)) && entry.event.terminal().is_some();
    if is_over && ending.is_none() {
        out.extend(Frame::closing(style));
        *ending = Some(Ending::MessageOver);
    }
}

#[cfg(test)]
mod message_tests;
#[cfg(test)]
mod tests;
