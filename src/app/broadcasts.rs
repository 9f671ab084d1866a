//! Broadcasts, on their way to each connection.
//!
//! Invariants:
//! - a broadcast is kept until each connection that was there when it came has taken it, or is
//!   gone: no ring drops it, and no read of a journal passes it by;
//! - all broadcasts that are kept have at most `bytes_max` bytes together. A publisher is refused
//!   while there is no room. Where another process's publisher brings more than fits, or a
//!   connection has held the room for longer than [`KEPT_AT_MOST`], the oldest are dropped, and the
//!   connections that lack them are closed;
//! - a connection costs one reference, whatever waits for it.
//!
//! The broadcasts are a list of which each connection holds its place. What lies before the first
//! place that a connection holds is freed by itself.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::domain::{
    event::Event,
    frame::{Format, Frame},
};

/// For how long a connection that takes what is written to it too slowly may keep publishers from
/// broadcasting.
pub const KEPT_AT_MOST: Duration = Duration::from_mins(1);

/// The broadcasts of a process.
#[derive(Debug)]
pub struct Broadcasts {
    bytes_max: usize,
    bytes: Arc<AtomicUsize>,
    state: Mutex<State>,
    /// How many there were.
    added: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// Behind the last broadcast.
    end: Arc<Place>,
    /// Those that a connection may still have to take, and when they came; the oldest first.
    kept: VecDeque<(Instant, Weak<Broadcast>)>,
}

/// A place between broadcasts.
#[derive(Debug, Default)]
struct Place {
    next: OnceLock<Next>,
}

#[derive(Debug)]
struct Next {
    broadcast: Arc<Broadcast>,
    place: Arc<Place>,
}

/// A broadcast in the list. It is emptied where there is no more room for it.
#[derive(Debug)]
struct Broadcast(Mutex<Option<Arc<Content>>>);

/// A broadcast, and its frames.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) event: Arc<Event>,
    /// Encoded when the first connection needs it, then shared.
    frames: [OnceLock<Frame>; Format::COUNT],
    /// Counts what is kept.
    bytes: Arc<AtomicUsize>,
}

/// Why a broadcast is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// It would never fit.
    #[error(
        "a broadcast has at most about {bytes_max} bytes: send a reference to large content instead of the content"
    )]
    TooLarge {
        /// Most bytes of an event.
        bytes_max: usize,
    },
    /// Connections or processes have yet to take those before it.
    #[error("too many broadcasts are on their way: try again later")]
    Full,
}

/// A broadcast had to be dropped before this connection took it: others filled the room for
/// broadcasts meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed;

/// A connection's place among the broadcasts. It takes those that were added after it was made.
#[derive(Debug)]
pub(super) struct BroadcastTail(Arc<Place>);

impl Broadcasts {
    /// No broadcasts; of those to come at most `bytes_max` bytes are kept at a time.
    pub fn new(bytes_max: usize) -> Self {
        let state = State { end: Arc::default(), kept: VecDeque::new() };
        Self {
            bytes_max,
            bytes: Arc::default(),
            state: Mutex::new(state),
            added: watch::Sender::new(0),
        }
    }

    /// Whether an event could be added now without dropping another that a connection still lacks.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn room_for(&self, event: &Event) -> Result<(), NoRoom> {
        let cost = Content::cost_bytes(event);
        if cost > self.bytes_max {
            return Err(NoRoom::TooLarge { bytes_max: self.bytes_max / (1 + Format::COUNT) });
        }
        let now = Instant::now();
        self.drop_oldest(&mut self.state(), cost, |added_at| {
            now.duration_since(added_at) > KEPT_AT_MOST
        });
        if self.has_room(cost) { Ok(()) } else { Err(NoRoom::Full) }
    }

    /// Adds an event. Where there is no room for it, the oldest are dropped.
    pub fn add(&self, event: Arc<Event>) {
        let cost = Content::cost_bytes(&event);
        let mut state = self.state();
        self.drop_oldest(&mut state, cost, |_| true);
        let content = Content {
            event,
            frames: [const { OnceLock::new() }; Format::COUNT],
            bytes: Arc::clone(&self.bytes),
        };
        self.bytes.fetch_add(cost, Ordering::Relaxed);
        let broadcast = Arc::new(Broadcast(Mutex::new(Some(Arc::new(content)))));
        state.kept.push_back((Instant::now(), Arc::downgrade(&broadcast)));
        let place = Arc::<Place>::default();
        let before = std::mem::replace(&mut state.end, Arc::clone(&place));
        // The end has no next one yet, and only this adds one, under the lock.
        let _ = before.next.set(Next { broadcast, place });
        drop(state);
        self.added.send_modify(|added| *added += 1);
    }

    /// Notifies of each that is added from now on.
    pub fn added(&self) -> watch::Receiver<u64> {
        self.added.subscribe()
    }

    /// A place for a connection that is here from now on.
    pub(super) fn tail(&self) -> BroadcastTail {
        BroadcastTail(Arc::clone(&self.state().end))
    }

    /// Drops the oldest until there is room, or the oldest may not be dropped.
    fn drop_oldest(
        &self,
        state: &mut State,
        cost: usize,
        may_be_dropped: impl Fn(Instant) -> bool,
    ) {
        // What all have taken is freed from the front on.
        while let Some((added_at, oldest)) = state.kept.front() {
            match oldest.upgrade() {
                Some(_) if self.has_room(cost) || !may_be_dropped(*added_at) => return,
                Some(oldest) => drop(oldest.content().take()),
                None => {}
            }
            state.kept.pop_front();
        }
    }

    fn has_room(&self, cost: usize) -> bool {
        self.bytes.load(Ordering::Relaxed) + cost <= self.bytes_max
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is changed in whole steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BroadcastTail {
    /// Shows what is new, until `visit` breaks off behind one.
    pub(super) fn take(
        &mut self,
        mut visit: impl FnMut(&Content) -> ControlFlow<()>,
    ) -> Result<(), Missed> {
        while let Some(Next { broadcast, place }) = self.0.next.get() {
            let content = broadcast.content().clone().ok_or(Missed)?;
            let place = Arc::clone(place);
            self.0 = place;
            if visit(&content).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Broadcast {
    fn content(&self) -> MutexGuard<'_, Option<Arc<Content>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// The event's frame in a format: encoded once, shared by all connections.
    pub(super) fn frame(&self, format: Format) -> Frame {
        self.frames[format as usize].get_or_init(|| Frame::broadcast(format, &self.event)).clone()
    }

    /// The event, and a frame of it in each format.
    fn cost_bytes(event: &Event) -> usize {
        size_of::<Self>()
            + size_of::<Place>()
            + size_of::<Broadcast>()
            + (1 + Format::COUNT) * event.cost_bytes()
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.bytes.fetch_sub(Self::cost_bytes(&self.event), Ordering::Relaxed);
    }
}

impl Drop for Place {
    /// Frees the places behind this one that no other holds, one after the other: a list that
    /// dropped itself place by place would need a stack as deep as it is long.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(Next { place, .. }) = next {
            next = Arc::into_inner(place).and_then(|mut place| place.next.take());
        }
    }
}

#[cfg(test)]
mod tests;
