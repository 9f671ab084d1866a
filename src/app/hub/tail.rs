//! A connection's place in a topic's ring.
//!
//! Invariant: it costs a number and a reference, whatever waits for the connection.

use std::{ops::ControlFlow, sync::Arc};

use tokio::sync::futures::Notified;

use super::{
    Hub,
    followed::Followed,
    ring::{Covered, Slot},
};
use crate::{
    app::{
        broadcasts::{BroadcastTail, Content, Missed},
        drain::DrainPlan,
    },
    domain::{position::Position, timestamp::Timestamp},
};

/// Follows one topic. Dropping it stops that.
pub struct Tail {
    hub: Hub,
    followed: Arc<Followed>,
    /// The number of the next slot to take, unless the position has to be looked up.
    next: Option<u64>,
    /// The ring's incarnation when the connection was last sure of its place. It is noted *before*
    /// the journal is read, so that a ring that begins anew during the read is noticed after it.
    incarnation: u32,
    /// Of a user's topic.
    broadcasts: Option<BroadcastTail>,
}

/// Wakes one connection. Apart from the [`Tail`], so that waiting does not borrow it.
pub(crate) struct Wakeup(Arc<Followed>);

/// Whether a ring reaches back to where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It does; all that is new was shown, or as much as was wanted.
    Whole,
    /// It doesn't: read the journal.
    Behind,
}

impl Tail {
    pub(super) const fn new(
        hub: Hub,
        followed: Arc<Followed>,
        broadcasts: Option<BroadcastTail>,
    ) -> Self {
        Self { hub, followed, next: None, incarnation: 0, broadcasts }
    }

    /// The feed listens to the topic.
    pub(super) fn begin(&mut self) {
        self.incarnation = self.followed.state().ring.incarnation;
    }

    pub(crate) fn wakeup(&self) -> Wakeup {
        Wakeup(Arc::clone(&self.followed))
    }

    /// Shows what is new behind `position` until `visit` breaks off. Without news it does nothing.
    pub(crate) fn take(
        &mut self,
        position: Position,
        visit: impl FnMut(&Slot) -> ControlFlow<()>,
    ) -> Reach {
        let state = self.followed.state();
        if std::mem::replace(&mut self.incarnation, state.ring.incarnation)
            != state.ring.incarnation
        {
            return Reach::Behind;
        }
        let number = self
            .next
            .filter(|number| state.ring.has(*number))
            .or_else(|| state.ring.number_behind(position));
        self.next = number.map(|number| state.ring.visit(number, visit));
        if self.next.is_some() { Reach::Whole } else { Reach::Behind }
    }

    /// Shows the broadcasts that are new, until `visit` breaks off.
    pub(in crate::app) fn take_broadcasts(
        &mut self,
        visit: impl FnMut(&Content) -> ControlFlow<()>,
    ) -> Result<(), Missed> {
        self.broadcasts.as_mut().map_or(Ok(()), |broadcasts| broadcasts.take(visit))
    }

    /// What there is after `position`, if the ring has all of that and nothing of it is older than
    /// `oldest_ts`.
    pub(crate) fn covers(&self, position: Position, oldest_ts: Timestamp) -> Option<Covered> {
        self.followed.covers(position, oldest_ts)
    }

    /// The ring's head: to be noted before the journal is read, for [`Tail::moved`] after it.
    pub(crate) fn ring_head(&self) -> Option<Position> {
        self.followed.state().ring.head()
    }

    /// The journal has been read up to `head` since this tail exists, and the connection stands
    /// somewhere else now. `ring_head` was the ring's before the read.
    pub(crate) fn moved(&mut self, head: Position, ring_head: Option<Position>) {
        self.next = None;
        self.followed.anchor(&self.hub, head, ring_head);
    }

    pub(crate) fn drain_plan(&self) -> Option<&DrainPlan> {
        self.hub.drain_plan()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.hub.leave(&self.followed);
    }
}

impl Wakeup {
    /// Ends when something is new since this call, whether or not it has been polled before.
    pub(crate) fn notified(&self) -> Notified<'_> {
        self.0.news.notified()
    }
}
