//! Streaming: the task of one connection, from the first frame to the last.
//!
//! Invariants: it holds no queue, only what is being written at the moment, which is bounded; it listens for news
//! before it looks for them, so no wake-up is lost; whatever the client does, timers run.

use std::{
    future::Future,
    io,
    ops::ControlFlow,
    pin::{Pin, pin},
};

use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::{broadcasts::Missed, hub::Reach, subscriptions::Subscription};
use crate::domain::{
    frame::Frame,
    position::Position,
    replay::Live as Verdict,
    session::{Action, Ending, ProducerSign},
    timestamp::Timestamp,
    topic::Topic,
};

/// Most live frames, and most of their bytes but for the last one, that go out in one write.
const FRAMES_PER_WRITE: usize = 64;
const BYTES_PER_WRITE: usize = 64 * 1024;

/// Where a stream's frames go: a socket, or the body of a response.
pub trait Wire: Send {
    /// Writes frames, all in one go where the client takes them.
    ///
    /// # Errors
    /// The client is gone, or took nothing for the write timeout.
    fn write(&mut self, frames: &[Frame]) -> impl Future<Output = io::Result<()>> + Send;

    /// Ends when the client is gone.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;

    /// Ends the body, as far as the client takes it.
    fn finish(self) -> impl Future<Output = ()> + Send;
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The server ended it.
    Ended(Ending),
    /// The client went away.
    ClientGone,
    /// The client took nothing for the write timeout, or too little to keep up with what is sent to everybody.
    Stalled,
}

impl Over {
    /// The reason's name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended(ending) => ending.as_str(),
            Self::ClientGone => "client_gone",
            Self::Stalled => "stalled",
        }
    }
}

/// Drives a subscription until it is over.
pub async fn stream<W: Wire>(mut subscription: Box<Subscription>, wire: W) -> Over {
    let over = drive(&mut subscription, wire).await;
    subscription.life.over = Some(over);
    over
}

async fn drive<W: Wire>(subscription: &mut Subscription, mut wire: W) -> Over {
    let bell = subscription.tail.bell();
    let mut alarm = pin!(sleep_until(Instant::from_std(subscription.session.poll_timeout())));
    loop {
        let news = bell.rings();
        let mut frames = Vec::new();
        let Ok((action, live)) = subscription.advance(&mut frames) else { return Over::Stalled };
        if !frames.is_empty() {
            if action == Action::Close(Ending::SnapshotCapped) {
                // Before the client is asked to come back, so that it finds the allowance wherever it does.
                subscription.reader.allow_continuation(subscription.session.position()).await;
            }
            if let Err(over) = write(subscription, &mut wire, &frames).await {
                return over;
            }
            subscription.count_live(live);
            continue;
        }
        match action {
            Action::Close(ending) => {
                // Who was connected until now gets what was sent to everybody.
                let mut live = Live::default();
                if subscription.take_broadcasts(&mut frames, &mut live).is_ok() && !frames.is_empty() {
                    if let Err(over) = write(subscription, &mut wire, &frames).await {
                        return over;
                    }
                    subscription.count_live(live);
                }
                wire.finish().await;
                return Over::Ended(ending);
            }
            Action::Locate | Action::Read(_) => subscription.read(action).await,
            Action::AskForProducer => subscription.ask_for_producer().await,
            Action::Follow(_) | Action::Pause => {
                set_alarm(alarm.as_mut(), Instant::from_std(subscription.session.poll_timeout()));
                tokio::select! {
                    // In this order news that comes all the time hides nothing else.
                    biased;
                    () = wire.gone() => return Over::ClientGone,
                    () = alarm.as_mut() => {}
                    () = news => {}
                }
            }
        }
    }
}

/// Sets the alarm only if it would ring too late. Each write moves the keepalive further away; an alarm that rings too
/// early costs one look around in a whole keepalive, and setting it anew would cost something with each delivery.
fn set_alarm(alarm: Pin<&mut Sleep>, at: Instant) {
    if alarm.is_elapsed() || alarm.deadline() > at {
        alarm.reset(at);
    }
}

async fn write<W: Wire>(subscription: &mut Subscription, wire: &mut W, frames: &[Frame]) -> Result<(), Over> {
    let written = match subscription.session.hard_deadline() {
        None => wire.write(frames).await,
        Some(deadline) => {
            let deadline = Instant::from_std(deadline).max(Instant::now());
            // A client that takes nothing can't be told, but log and metrics can.
            timeout_at(deadline, wire.write(frames)).await.map_err(|_| Over::Ended(Ending::TokenExpired))?
        }
    };
    subscription.session.handle_written(Instant::now().into_std());
    written.map_err(|error| if error.kind() == io::ErrorKind::TimedOut { Over::Stalled } else { Over::ClientGone })
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

/// The live events of one write.
#[derive(Clone, Copy, Default)]
struct Live {
    events: usize,
    /// When the first of them was accepted.
    oldest_ts: Option<Timestamp>,
}

impl Live {
    fn take(&mut self, ts: Timestamp) {
        self.events += 1;
        self.oldest_ts.get_or_insert(ts);
    }
}

impl Subscription {
    /// Does what can be done without waiting: takes what is due and what is new, and tells what to wait for.
    fn advance(&mut self, frames: &mut Vec<Frame>) -> Result<(Action, Live), Missed> {
        if !self.opening.is_empty() {
            *frames = std::mem::take(&mut self.opening);
            return Ok((self.session.poll(), Live::default()));
        }
        let mut live = Live::default();
        if let over @ Action::Close(_) = self.session.poll() {
            return Ok((over, live));
        }
        self.take_broadcasts(frames, &mut live)?;
        self.heed_drain();
        if self.reader.is_closed() {
            self.session.handle_closed(frames);
        }
        let now = Instant::now().into_std();
        if self.session.poll_timeout() <= now {
            self.session.handle_timeout(now, frames);
        }
        match self.session.poll() {
            Action::Follow(position) => {
                let reach = self.take_live(position, frames, &mut live);
                if reach == Reach::Behind {
                    self.signals.channel(self.session.topic()).missed_ring();
                    self.session.handle_fallen_behind();
                }
                Ok((self.session.poll(), live))
            }
            other => Ok((other, live)),
        }
    }

    fn take_broadcasts(&mut self, frames: &mut Vec<Frame>, live: &mut Live) -> Result<(), Missed> {
        let Self { session, tail, .. } = self;
        let mut batch = Batch::new(frames);
        tail.take_broadcasts(|content| {
            if !session.wants(content.event.category.as_ref()) {
                return ControlFlow::Continue(());
            }
            live.take(content.event.ts);
            batch.push(content.frame(session.format()))
        })
    }

    fn take_live(&mut self, position: Position, frames: &mut Vec<Frame>, live: &mut Live) -> Reach {
        let Self { session, tail, .. } = self;
        let format = session.format();
        let mut farewell = Vec::new();
        let mut batch = Batch::new(frames);
        let reach = tail.take(position, |slot| {
            match session.handle_live(&slot.entry, &mut farewell) {
                Verdict::Skip => return ControlFlow::Continue(()),
                Verdict::Stop => return ControlFlow::Break(()),
                Verdict::Send => live.take(slot.entry.event.ts),
            }
            batch.push(slot.frame(session.topic(), format))
        });
        frames.append(&mut farewell);
        reach
    }

    fn count_live(&mut self, live: Live) {
        if let Some(oldest_ts) = live.oldest_ts {
            self.life.deliveries += live.events as u64;
            self.signals.delivered_live(self.session.topic(), live.events, oldest_ts);
        }
    }

    async fn read(&mut self, action: Action) {
        let topic = self.session.topic();
        let mut opening = Vec::new();
        let (log, ring_head) = (&self.source.log, self.tail.ring_head());
        match action {
            Action::Locate => match log.bounds(topic).await {
                Ok(bounds) => {
                    self.tail.moved(bounds.head, ring_head);
                    self.session.handle_bounds(&bounds, &mut opening);
                }
                Err(_) => self.session.handle_read_failed(Instant::now().into_std(), self.jitter),
            },
            Action::Read(position) => match log.read(topic, position, self.page_limit).await {
                Ok(page) => self.take_page(&page, ring_head, &mut opening),
                Err(_) => self.session.handle_read_failed(Instant::now().into_std(), self.jitter),
            },
            Action::Follow(_) | Action::AskForProducer | Action::Pause | Action::Close(_) => {}
        }
        self.opening = opening;
        self.count_page();
    }

    async fn ask_for_producer(&mut self) {
        let (Topic::Message(id), Some(messages)) = (self.session.topic(), &self.messages) else { return };
        let sign = match messages.observe(*id).await {
            Ok(Some(observed)) => ProducerSign::Observed(observed),
            Ok(None) => ProducerSign::Gone,
            Err(_) => ProducerSign::Unknown,
        };
        self.session.handle_producer(&sign, Instant::now().into_std(), &mut self.opening);
    }
}
