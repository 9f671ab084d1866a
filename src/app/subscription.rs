//! One subscriber: its session, and all that the session needs.
//!
//! Invariants: what the session asks for is done in one place; there is no queue, only the frames
//! of the next write, which are bounded; dropping it frees the slot and the place in the ring.

use std::{ops::ControlFlow, sync::Arc};

use tokio::time::Instant;

use super::{
    broadcasts::Missed,
    connection_record::{ConnectionRecord, Subject},
    drain,
    end_reason::EndReason,
    hub::{Covered, Reach, Tail, Wakeup},
    reader::Reader,
    refusal::Refusal,
    signals::Signals,
    sources::Sources,
};
use crate::{
    domain::{
        cursor::{Bounds, Continuity},
        frame::Frame,
        message::Observed,
        page::{Page, PageLimit},
        position::Position,
        replay::Live,
        session::{Action, Ask, ProducerSign, Session},
        timestamp::Timestamp,
        topic::Topic,
    },
    ports::{backend_error::BackendError, messages::Messages},
};

/// Most live frames, and most of their bytes but for the last one, that go out in one write.
const FRAMES_PER_WRITE: usize = 64;
const BYTES_PER_WRITE: usize = 64 * 1024;

/// What all subscriptions of a process share.
pub(super) struct Shared {
    pub(super) sources: Sources,
    /// Who is asked for a message's producer.
    pub(super) messages: Arc<dyn Messages>,
    pub(super) page_limit: PageLimit,
    pub(super) retry_ms: u64,
    pub(super) signals: Arc<Signals>,
}

/// One client's stream, with all that it holds: dropping it frees the slot and the tail.
pub struct Subscription {
    shared: Arc<Shared>,
    session: Session,
    tail: Tail,
    reader: Reader,
    record: ConnectionRecord,
    /// At random: what all connections do at some time, each does at a time of its own.
    jitter: u64,
    /// What the last answer of the backend gave to write: it goes before anything else.
    answered: Vec<Frame>,
}

/// What the backend, or the ring, answered to the session.
enum Answer {
    Bounds(Bounds),
    Covered(Covered),
    Page(Page),
    Producer(Option<Observed>),
}

/// What goes out in one write.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) frames: Vec<Frame>,
    live: LiveCount,
}

/// The live events of one write.
#[derive(Clone, Copy, Default)]
struct LiveCount {
    events: usize,
    /// When the first of them was accepted.
    oldest_ts: Option<Timestamp>,
}

impl Subscription {
    /// The subscription of a client that wants what `record` says. The tail was taken before the
    /// journal is read, so that nothing falls between the two.
    pub(super) fn new(
        shared: Arc<Shared>,
        session: Session,
        tail: Tail,
        reader: Reader,
        record: ConnectionRecord,
        jitter: u64,
    ) -> Self {
        Self { shared, session, tail, reader, record, jitter, answered: Vec::new() }
    }

    /// Asks the backend for the first time, which shows whether it answers and whether the client
    /// has to pay for a replay. Entries older than `oldest_ts` count as gone.
    ///
    /// # Errors
    /// The backend's, or the user's budget is spent: the client's cursor is as good as before.
    pub(super) async fn begin(&mut self, oldest_ts: Timestamp) -> Result<(), Refusal> {
        self.session.greet(&mut self.answered);
        if let Action::Ask(ask) = self.session.poll() {
            let ring_head = self.tail.ring_head();
            let answer = match self.covered(ask, oldest_ts) {
                Some(covered) => Answer::Covered(covered),
                None => self.ask(ask).await?,
            };
            if let Ask::Read(cursor) = ask
                && answer.shows_behind(cursor)
            {
                self.pay_for_replay(cursor).await?;
            }
            self.take(answer, ring_head);
        }
        let (record, subject) = self.record();
        record.begin(subject);
        self.count_read();
        Ok(())
    }

    /// What the ring has behind the client's cursor, if that is all there is.
    fn covered(&self, ask: Ask, oldest_ts: Timestamp) -> Option<Covered> {
        let Ask::Read(cursor) = ask else { return None };
        self.tail.covers(cursor, oldest_ts)
    }

    async fn pay_for_replay(&self, cursor: Position) -> Result<(), Refusal> {
        let topic = self.session.topic();
        // The reader of a message is not held to a budget: the answer is all it can get.
        if matches!(topic, Topic::User(_)) {
            self.reader.pay_for_replay(cursor).await.map_err(Refusal::ReplayBudgetExhausted)?;
        }
        self.shared.signals.channel(topic).replayed();
        Ok(())
    }

    /// Logs that the stream was opened, by the request with this id.
    pub fn log_opening(&mut self, request_id: Option<&str>) {
        let format = self.session.format();
        let (record, subject) = self.record();
        record.log_opening(subject, format, request_id);
    }

    /// Wakes this connection when something is new.
    pub(super) fn wakeup(&self) -> Wakeup {
        self.tail.wakeup()
    }

    /// When [`Self::step`] has something to do at the latest, whatever is new.
    pub(super) fn next_timeout(&self) -> Instant {
        Instant::from_std(self.session.poll_timeout())
    }

    /// Until when a write may last, whatever the write timeout says.
    pub(super) fn write_deadline(&self) -> Option<Instant> {
        self.session.token_expires_at().map(|at| Instant::from_std(at).max(Instant::now()))
    }

    /// Does what can be done without waiting: what is due, and what is new. Returns what to write,
    /// and what to do behind that.
    ///
    /// # Errors
    /// The client is too slow for broadcasts.
    pub(super) fn step(&mut self) -> Result<(Outgoing, Action), Missed> {
        let mut out =
            Outgoing { frames: std::mem::take(&mut self.answered), ..Outgoing::default() };
        if out.frames.is_empty() && !matches!(self.session.poll(), Action::Close(_)) {
            self.take_broadcasts(&mut out)?;
            self.handle_what_is_due(&mut out.frames);
            if let Action::Follow(position) = self.session.poll() {
                self.take_live(position, &mut out);
            }
        }
        Ok((out, self.session.poll()))
    }

    /// The broadcasts until now, for a client whose stream is about to end. One that is
    /// too slow gets none of it.
    pub(super) fn last_broadcasts(&mut self) -> Outgoing {
        let mut out = Outgoing::default();
        if self.take_broadcasts(&mut out).is_err() {
            return Outgoing::default();
        }
        out
    }

    /// Lets the client come back for the rest of a snapshot without paying again, in whichever
    /// process.
    pub(super) async fn allow_continuation(&self) {
        self.reader.allow_continuation(self.session.position()).await;
    }

    /// A write is over, whether the client took it or not.
    pub(super) fn handle_write_over(&mut self) {
        self.session.handle_written(Instant::now().into_std());
    }

    /// Counts what was written.
    pub(super) fn count_written(&mut self, out: &Outgoing) {
        if let Some(oldest_ts) = out.live.oldest_ts {
            let (record, subject) = self.record();
            record.count_live(subject, out.live.events, oldest_ts);
        }
    }

    fn count_read(&mut self) {
        let tally = self.session.take_tally();
        let (record, subject) = self.record();
        record.count_read(subject, tally);
    }

    /// Why the stream is over.
    pub(super) const fn set_end_reason(&mut self, reason: EndReason) {
        self.record.set_end_reason(reason);
    }

    /// Asks the backend what the session wants to know. What there is to write then comes with the
    /// next step.
    pub(super) async fn answer(&mut self, ask: Ask) {
        let ring_head = self.tail.ring_head();
        match self.ask(ask).await {
            Ok(answer) => self.take(answer, ring_head),
            Err(_) => self.handle_no_answer(ask),
        }
        self.count_read();
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, BackendError> {
        let topic = self.session.topic();
        let log = &self.shared.sources.of(topic).log;
        Ok(match ask {
            Ask::Locate => Answer::Bounds(log.bounds(topic).await?),
            Ask::Read(position) => {
                Answer::Page(log.read(topic, position, self.shared.page_limit).await?)
            }
            Ask::Producer => Answer::Producer(match topic {
                Topic::Message(id) => self.shared.messages.observe(id).await?,
                Topic::User(_) => None,
            }),
        })
    }

    /// Takes an answer. `ring_head` was the ring's head before the question.
    fn take(&mut self, answer: Answer, ring_head: Option<Position>) {
        let Self { session, tail, answered, .. } = self;
        match answer {
            Answer::Bounds(bounds) => {
                tail.moved(bounds.head, ring_head);
                session.handle_bounds(&bounds, answered);
            }
            Answer::Covered(covered) => session.handle_covered(covered.head),
            Answer::Page(page) => {
                session.handle_page(&page, answered);
                if !page.more {
                    tail.moved(page.bounds.head, ring_head);
                }
            }
            Answer::Producer(observed) => {
                let sign = observed.map_or(ProducerSign::Gone, ProducerSign::Observed);
                session.handle_producer(&sign, Instant::now().into_std(), answered);
            }
        }
    }

    fn handle_no_answer(&mut self, ask: Ask) {
        let now = Instant::now().into_std();
        match ask {
            Ask::Locate | Ask::Read(_) => self.session.handle_read_failed(now, self.jitter),
            Ask::Producer => {
                self.session.handle_producer(&ProducerSign::Unknown, now, &mut self.answered);
            }
        }
    }

    /// What time, an operator or a drain asks for.
    fn handle_what_is_due(&mut self, frames: &mut Vec<Frame>) {
        if let Some(plan) = self.tail.drain_plan() {
            let retry_ms = drain::retry_ms(self.shared.retry_ms, self.jitter);
            self.session.handle_drain(plan.leaves_at(self.jitter).into_std(), retry_ms);
        }
        if self.reader.is_closed() {
            self.session.handle_closed(frames);
        }
        let now = Instant::now().into_std();
        if self.session.poll_timeout() <= now {
            self.session.handle_timeout(now, frames);
        }
    }

    fn take_broadcasts(&mut self, Outgoing { frames, live }: &mut Outgoing) -> Result<(), Missed> {
        let Self { session, tail, .. } = self;
        let mut batch = Batch::new(frames);
        tail.take_broadcasts(|content| {
            if !session.wants(content.event.category.as_ref()) {
                return ControlFlow::Continue(());
            }
            live.add(content.event.ts);
            batch.push(content.frame(session.format()))
        })
    }

    fn take_live(&mut self, position: Position, Outgoing { frames, live }: &mut Outgoing) {
        let Self { session, tail, .. } = self;
        let format = session.format();
        let mut farewell = Vec::new();
        let mut batch = Batch::new(frames);
        let reach = tail.take(position, |slot| {
            match session.handle_live(&slot.entry, &mut farewell) {
                Live::Skip => return ControlFlow::Continue(()),
                Live::Stop => return ControlFlow::Break(()),
                Live::Send => live.add(slot.entry.event.ts),
            }
            batch.push(slot.frame(session.topic(), format))
        });
        frames.append(&mut farewell);
        if reach == Reach::Behind {
            self.shared.signals.channel(session.topic()).missed_ring();
            session.handle_fallen_behind();
        }
    }

    /// The record, and what it is about.
    fn record(&mut self) -> (&mut ConnectionRecord, Subject<'_>) {
        let Self { record, shared, session, reader, .. } = self;
        (record, Subject { signals: &shared.signals, topic: session.topic(), reader })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (record, subject) = self.record();
        record.end(subject);
    }
}

impl Answer {
    /// Whether there is something behind the client's cursor, or was.
    fn shows_behind(&self, cursor: Position) -> bool {
        match self {
            Self::Covered(covered) => Continuity::Whole.is_behind(covered.has_entries),
            Self::Page(page) => page.shows_behind(cursor),
            Self::Bounds(_) | Self::Producer(_) => false,
        }
    }
}

impl LiveCount {
    fn add(&mut self, ts: Timestamp) {
        self.events += 1;
        self.oldest_ts.get_or_insert(ts);
    }
}

/// The frames of one write.
struct Batch<'a> {
    frames: &'a mut Vec<Frame>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    const fn new(frames: &'a mut Vec<Frame>) -> Self {
        Self { frames, bytes: 0 }
    }

    /// Adds a frame, and breaks off where that is enough for one write.
    fn push(&mut self, frame: Frame) -> ControlFlow<()> {
        self.bytes += frame.chunk().len();
        self.frames.push(frame);
        let is_full = self.frames.len() >= FRAMES_PER_WRITE || self.bytes >= BYTES_PER_WRITE;
        if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
