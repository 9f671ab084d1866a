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

use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    hub::{Content, Reach},
    sources::Source,
    subscriptions::Subscription,
};
use crate::domain::{
    frame::Frame,
    position::Position,
    replay::Live,
    session::{Action, Ending, ProducerSign},
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
    /// The client took nothing for the write timeout, or until its credentials ended.
    Stalled,
}

/// Drives a subscription until it is over.
pub async fn stream<W: Wire>(mut subscription: Box<Subscription>, mut wire: W) -> Over {
    let bell = subscription.tail.bell();
    let mut alarm = pin!(sleep_until(Instant::from_std(subscription.session.poll_timeout())));
    loop {
        let news = bell.rings();
        let mut frames = Vec::new();
        let action = subscription.advance(&mut frames);
        if !frames.is_empty() {
            if let Err(over) = write(&mut subscription, &mut wire, &frames).await {
                return over;
            }
            continue;
        }
        match action {
            Action::Close(ending) => {
                wire.finish().await;
                return Over::Ended(ending);
            }
            Action::Locate | Action::Read(_) => subscription.read(action).await,
            Action::AskForProducer => subscription.ask_for_producer().await,
            Action::Follow(_) | Action::Pause => {
                set_alarm(alarm.as_mut(), Instant::from_std(subscription.session.poll_timeout()));
                tokio::select! {
                    () = news => {}
                    () = alarm.as_mut() => {}
                    () = wire.gone() => return Over::ClientGone,
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
            tokio::time::timeout_at(deadline, wire.write(frames)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    };
    subscription.session.handle_written(Instant::now().into_std());
    written.map_err(|error| if error.kind() == io::ErrorKind::TimedOut { Over::Stalled } else { Over::ClientGone })
}

impl Subscription {
    /// Does what can be done without waiting: takes what is due and what is new, and tells what to wait for.
    fn advance(&mut self, frames: &mut Vec<Frame>) -> Action {
        if !self.opening.is_empty() {
            *frames = std::mem::take(&mut self.opening);
            return self.session.poll();
        }
        self.heed_drain();
        let now = Instant::now().into_std();
        if self.session.poll_timeout() <= now {
            self.session.handle_timeout(now, frames);
        }
        match self.session.poll() {
            Action::Follow(position) => {
                let reach = self.take_live(position, frames);
                if reach == Reach::Behind {
                    self.session.handle_fallen_behind();
                }
                self.session.poll()
            }
            other => other,
        }
    }

    fn take_live(&mut self, position: Position, frames: &mut Vec<Frame>) -> Reach {
        let Self { session, tail, .. } = self;
        let format = session.format();
        let mut bytes = 0;
        let mut farewell = Vec::new();
        let reach = tail.take(position, |slot| {
            let send = match &slot.content {
                Content::Entry(entry) => session.handle_live(entry, &mut farewell),
                Content::Broadcast(event) if session.wants(event.category.as_ref()) => Live::Send,
                Content::Broadcast(_) => Live::Skip,
            };
            match send {
                Live::Skip => return ControlFlow::Continue(()),
                Live::Stop => return ControlFlow::Break(()),
                Live::Send => {}
            }
            let frame = slot.frame(session.topic(), format);
            bytes += frame.chunk().len();
            frames.push(frame);
            if frames.len() >= FRAMES_PER_WRITE || bytes >= BYTES_PER_WRITE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        frames.append(&mut farewell);
        reach
    }

    async fn read(&mut self, action: Action) {
        let topic = self.session.topic();
        let mut opening = Vec::new();
        let Source { log, availability, .. } = &self.source;
        match action {
            Action::Locate => match availability.observe(log.bounds(topic).await) {
                Ok(bounds) => {
                    self.tail.moved(bounds.head);
                    self.session.handle_bounds(&bounds, &mut opening);
                }
                Err(_) => self.session.handle_read_failed(Instant::now().into_std()),
            },
            Action::Read(position) => match availability.observe(log.read(topic, position, self.page_limit).await) {
                Ok(page) => self.take_page(&page, &mut opening),
                Err(_) => self.session.handle_read_failed(Instant::now().into_std()),
            },
            Action::Follow(_) | Action::AskForProducer | Action::Pause | Action::Close(_) => {}
        }
        self.opening = opening;
    }

    async fn ask_for_producer(&mut self) {
        let (Topic::Message(id), Some(messages)) = (self.session.topic(), &self.messages) else { return };
        let sign = match self.source.availability.observe(messages.observe(*id).await) {
            Ok(Some(observed)) => ProducerSign::Observed(observed),
            Ok(None) => ProducerSign::Gone,
            Err(_) => ProducerSign::Unknown,
        };
        self.session.handle_producer(&sign, Instant::now().into_std(), &mut self.opening);
    }
}
