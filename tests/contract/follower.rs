//! The least that a hub does: it follows one topic by signals, and reads the journal only where
//! they say so.

use futures_util::{StreamExt, stream::BoxStream};
use rejoin::{
    domain::{
        event::Entry,
        position::{EventId, Position},
        replay::{Step, step},
        topic::Topic,
    },
    ports::feed::Signal,
};

use crate::contract::backend::Process;

pub(crate) struct Follower {
    process: Process,
    topic: Topic,
    signals: BoxStream<'static, Signal>,
    position: Position,
    /// What it has seen, in order.
    pub(crate) entries: Vec<Entry>,
    /// How many signals it took.
    pub(crate) signals_taken: usize,
    /// How often it was told that signals may be missing.
    pub(crate) interruptions: usize,
}

impl Follower {
    /// Follows what is appended to the topic from now on. A process has one.
    pub(crate) async fn of(process: &Process, topic: &Topic) -> Self {
        let signals = process.feed.signals();
        process.feed.watch(topic).await.unwrap();
        let position = process.bounds(topic).await.head;
        let (process, topic) = (process.clone(), topic.clone());
        Self {
            process,
            topic,
            signals,
            position,
            entries: Vec::new(),
            signals_taken: 0,
            interruptions: 0,
        }
    }

    /// Waits for signals until it has seen so many entries.
    pub(crate) async fn follow_until(&mut self, count: usize) {
        while self.entries.len() < count {
            let signal = self.signals.next().await.expect("a feed lasts as long as its process");
            self.take(signal).await;
        }
    }

    /// Waits until the sentinel of another topic was signalled.
    pub(crate) async fn follow_elsewhere(&mut self, sentinel: &Topic, id: EventId) {
        loop {
            let signal = self.signals.next().await.expect("a feed lasts as long as its process");
            let found = match &signal {
                Signal::Appended(topic, entry) => topic == sentinel && entry.id == id,
                Signal::Grown(topic) => topic == sentinel,
                // The sentinel may be what got lost.
                Signal::Interrupted => true,
                Signal::Broadcast(_) | Signal::CloseConnections(_) => false,
            };
            self.take(signal).await;
            if found {
                return;
            }
        }
    }

    /// Takes what waits, and doesn't wait.
    pub(crate) async fn drain_pending(&mut self) {
        while let Some(Some(signal)) = futures_util::FutureExt::now_or_never(self.signals.next()) {
            self.take(signal).await;
        }
    }

    async fn take(&mut self, signal: Signal) {
        self.signals_taken += 1;
        match signal {
            Signal::Appended(topic, entry) if topic == self.topic => {
                match step(self.position, entry.id, entry.prev) {
                    Step::Old => {}
                    Step::Next => {
                        self.position = entry.id.into();
                        self.entries.push(entry);
                    }
                    Step::Gap => self.catch_up().await,
                }
            }
            Signal::Grown(topic) if topic == self.topic => self.catch_up().await,
            Signal::Interrupted => {
                self.interruptions += 1;
                self.catch_up().await;
            }
            Signal::Appended(..)
            | Signal::Grown(_)
            | Signal::Broadcast(_)
            | Signal::CloseConnections(_) => {}
        }
    }

    async fn catch_up(&mut self) {
        self.entries.extend(self.process.read_all(&self.topic, self.position).await);
        self.position =
            self.entries.last().map_or(self.position, |last| last.id.into()).max(self.position);
    }
}
