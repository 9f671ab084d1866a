//! One process's ear on the world, which loses, delays, mixes up and repeats what it hears.
//!
//! It keeps the law of feeds all the same: what was lost is followed by an interruption.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use futures_util::{
    FutureExt, StreamExt,
    stream::{self, BoxStream, Fuse},
};
use rejoin::{
    adapters::backend_kit::feed::local::LocalFeed,
    domain::{
        event::Entry,
        event::Event,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        feed::{Feed, Signal},
    },
};
use tokio::{
    sync::{Notify, mpsc},
    time::{Duration, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::Backend,
    faults::{Faults, FeedFault, away},
};

/// More than a run has.
const SIGNALS_MAX: usize = 65_536;

pub(crate) struct FaultyFeed {
    backend: Arc<Backend>,
    faults: Arc<Faults>,
    wiring: Mutex<Wiring>,
    rewired: Notify,
    heard: mpsc::Sender<Signal>,
    receiver: Mutex<Option<mpsc::Receiver<Signal>>>,
}

struct Wiring {
    inner: Arc<LocalFeed>,
    /// The signals of `inner`, until they are listened to.
    signals: Option<BoxStream<'static, Signal>>,
    watched: HashSet<Topic>,
}

impl Wiring {
    fn to(backend: &Backend, watched: HashSet<Topic>) -> Self {
        let inner = Arc::new(LocalFeed::new(backend.journal().listeners()));
        for topic in &watched {
            inner.watch(topic).now_or_never().unwrap().unwrap();
        }
        Self { signals: Some(inner.signals()), inner, watched }
    }
}

impl FaultyFeed {
    pub(crate) fn start(
        backend: Arc<Backend>,
        faults: Arc<Faults>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (heard, receiver) = mpsc::channel(SIGNALS_MAX);
        let wiring = Wiring::to(&backend, HashSet::new());
        let (wiring, receiver) = (Mutex::new(wiring), Mutex::new(Some(receiver)));
        let feed =
            Arc::new(Self { backend, faults, wiring, rewired: Notify::new(), heard, receiver });
        feed.backend.add_feed(&feed);
        feed.rewired.notify_one();
        tokio::spawn(stop.run_until_cancelled_owned(Arc::clone(&feed).listen()));
        feed
    }

    /// The journal is another one now.
    pub(crate) fn rewire(&self) {
        let mut wiring = self.wiring.lock().unwrap();
        *wiring = Wiring::to(&self.backend, std::mem::take(&mut wiring.watched));
        self.rewired.notify_one();
    }

    /// How many topics are watched.
    pub(crate) fn watched(&self) -> usize {
        self.wiring.lock().unwrap().watched.len()
    }

    fn inner(&self) -> Arc<LocalFeed> {
        Arc::clone(&self.wiring.lock().unwrap().inner)
    }

    async fn listen(self: Arc<Self>) {
        let mut signals = stream::pending().boxed().fuse();
        let mut lost = false;
        loop {
            tokio::select! {
                biased;
                () = self.rewired.notified() => {}
                () = self.faults.changed.notified() => {}
                Some(signal) = signals.next() => lost |= !self.pass_on(signal, &mut signals).await,
            }
            if let Some(fresh) = self.wiring.lock().unwrap().signals.take() {
                signals = fresh.fuse();
                lost = true;
            }
            lost |= self.faults.take_interruption();
            if lost && !self.faults.now().feed.loses_signals() {
                lost = false;
                self.say(Signal::Interrupted).await;
            }
        }
    }

    /// Whether the signal was passed on, in whatever form.
    async fn pass_on(&self, signal: Signal, more: &mut Fuse<BoxStream<'static, Signal>>) -> bool {
        self.faults.delay_signal().await;
        match self.faults.now().feed {
            FeedFault::Down | FeedFault::Deaf => return false,
            FeedFault::None => self.say(signal).await,
            FeedFault::Foreign => self.say(foreign(signal)).await,
            FeedFault::Hints => self.say(hint(signal)).await,
            FeedFault::Doubled => {
                self.say(signal.clone()).await;
                self.say(signal).await;
            }
            FeedFault::Shuffled => {
                sleep(Duration::from_millis(20)).await;
                let mut signals = vec![signal];
                while let Some(Some(signal)) = more.next().now_or_never() {
                    signals.push(signal);
                }
                self.faults.dice.shuffle(&mut signals);
                for signal in signals {
                    self.say(signal).await;
                }
            }
        }
        true
    }

    async fn say(&self, signal: Signal) {
        // When nobody listens any more, the process is gone.
        let _ = self.heard.send(signal).await;
    }
}

fn foreign(signal: Signal) -> Signal {
    match signal {
        Signal::Appended(topic, entry) if topic.user().is_some() => {
            Signal::Appended(topic, Entry { prev: None, ..entry })
        }
        other => other,
    }
}

fn hint(signal: Signal) -> Signal {
    match signal {
        Signal::Appended(topic, _) => Signal::Grown(topic),
        other => other,
    }
}

#[async_trait]
impl Feed for FaultyFeed {
    fn signals(&self) -> BoxStream<'static, Signal> {
        // They are taken once.
        let Some(receiver) = self.receiver.lock().unwrap().take() else {
            return stream::empty().boxed();
        };
        stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|signal| (signal, receiver))
        })
        .boxed()
    }

    async fn watch(&self, topic: &Topic) -> Result<(), BackendError> {
        self.faults.delay_signal().await;
        if self.faults.now().feed == FeedFault::Down {
            return Err(away());
        }
        let inner = {
            let mut wiring = self.wiring.lock().unwrap();
            wiring.watched.insert(topic.clone());
            Arc::clone(&wiring.inner)
        };
        inner.watch(topic).await?;
        self.faults.delay_signal().await;
        Ok(())
    }

    async fn unwatch(&self, topic: &Topic) {
        self.faults.delay_signal().await;
        let inner = {
            let mut wiring = self.wiring.lock().unwrap();
            wiring.watched.remove(topic);
            Arc::clone(&wiring.inner)
        };
        inner.unwatch(topic).await;
    }

    async fn close_connections(&self, user: &UserId) -> Result<(), BackendError> {
        self.inner().close_connections(user).await
    }

    async fn broadcast(&self, event: Arc<Event>) -> Result<(), BackendError> {
        self.inner().broadcast(event).await
    }
}
