//! The task that listens: one connection that hears notifications, for all topics of the process.
//!
//! Invariants: every few seconds the server is asked whether it still takes writes, and one that takes none, or gives no
//! answer in time, is given up, with all other connections, so a server that vanished without a word, or was replaced, is
//! noticed also where nothing is appended; who begins to watch is answered by a round trip on this very
//! connection; when it comes back, every position is asked for anew, and only then is it told that something may be
//! missing.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use sqlx::{
    Acquire, Connection, PgConnection, PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Shared, State,
    announcements::Hearing,
    reading::{self, Growth, TOPICS_AT_ONCE},
};
use crate::{
    adapters::{
        backend_kit::signal_queue::SignalQueue,
        postgres::{
            connector::{Connector, Purpose},
            failure::Failure,
            hint::Hint,
            lane::{Lane, Repeat, calling},
        },
    },
    domain::{backoff::Backoff, position::Position, topic::Topic},
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        entropy::Entropy,
        feed::Signal,
    },
};

/// After so long the server is asked again whether it takes writes, and has so long to answer.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
const RECONNECT_LONGEST: Duration = Duration::from_secs(2);
/// Most notifications that are taken together.
const HINTS_AT_ONCE: usize = 1_000;
/// Most heads that are asked for together.
const HEADS_AT_ONCE: usize = 1_000;

/// Who waits for its topic to be listened to.
pub(super) type Confirmation = oneshot::Sender<()>;

pub(super) struct Listener {
    pub(super) connector: Arc<Connector>,
    pub(super) purpose: Purpose,
    pub(super) reads: Arc<Lane>,
    pub(super) shared: Arc<Shared>,
    pub(super) queue: SignalQueue,
    pub(super) state: watch::Sender<State>,
    pub(super) confirmations: mpsc::Receiver<Confirmation>,
    pub(super) connect_timeout: Duration,
    pub(super) hearing: Hearing,
    pub(super) entropy: Arc<dyn Entropy>,
}

/// Why listening ended.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error(transparent)]
    Connection(#[from] Failure),
    #[error("the server is silent")]
    Silent,
    #[error("the connection ended")]
    Ended,
    #[error(transparent)]
    Reading(#[from] BackendError),
}

impl From<sqlx::Error> for Deaf {
    fn from(error: sqlx::Error) -> Self {
        Self::Connection(error.into())
    }
}

impl Listener {
    /// Listens, again and again, for as long as it is polled.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_LONGEST);
        loop {
            let deaf = match timeout(self.connect_timeout, self.connect()).await {
                Err(_) => Deaf::Silent,
                Ok(Err(deaf)) => deaf,
                Ok(Ok((mut listener, pool))) => {
                    let since = Instant::now();
                    self.state.send_replace(State::Listening);
                    let deaf = self.listen(&mut listener).await;
                    // A server that accepts and closes at once is not asked without a pause.
                    if since.elapsed() > RECONNECT_LONGEST {
                        backoff.reset();
                    }
                    // It closes what it gets back, where it would else ask it for a sign of life without a limit of time.
                    pool.close().now_or_never();
                    deaf
                }
            };
            let was = self.state.send_replace(State::Away);
            if was != State::Away {
                tracing::info!(reason = %deaf, "the feed is not connected, and will be again");
            }
            self.connector.lose();
            self.hearing.cut_off();
            // Who waits is told by the end of their channel.
            while self.confirmations.try_recv().is_ok() {}
            tokio::time::sleep(backoff.pause(self.entropy.next_u64())).await;
        }
    }

    /// A connection that listens, with all positions as they are now. What was missed has been told.
    async fn connect(&mut self) -> Result<(PgListener, PgPool), Deaf> {
        // A pool tries until its time is over, and does not tell why it failed; a connection does.
        self.connector.connect(self.purpose).await?.close().await?;
        let (pool, timeout) = (PgPoolOptions::new().max_connections(1), self.connect_timeout);
        let pool = pool.acquire_timeout(timeout).acquire_slow_threshold(timeout).connect_lazy_with(self.connector.server(self.purpose));
        let mut listener = PgListener::connect_with(&pool).await.map_err(|error| self.connector.unreachable(error))?;
        listener.ignore_pool_close_event(true);
        listener.eager_reconnect(false);
        self.connector.begin_session(listener.acquire().await?, self.purpose).await?;
        listener.listen(&self.connector.schema().channel()).await?;
        self.shared.watched().doubt_all();
        self.settle(listener.acquire().await?).await?;
        if !self.hearing.begin(listener.acquire().await?).await? {
            self.queue.tell(Signal::Interrupted);
            self.hearing.read_on(&self.reads, &self.queue).await?;
        }
        Ok((listener, pool))
    }

    async fn listen(&mut self, listener: &mut PgListener) -> Deaf {
        let mut asked_at = Instant::now();
        loop {
            let heard = tokio::select! {
                notification = listener.try_recv() => match notification {
                    Ok(Some(notification)) => self.take(listener, notification.payload()).await,
                    Ok(None) => Err(Deaf::Ended),
                    Err(error) => Err(error.into()),
                },
                confirmation = self.confirmations.recv() => match confirmation {
                    Some(confirmation) => self.confirm(listener, confirmation).await,
                    // The feed is gone, and this task with it.
                    None => Err(Deaf::Ended),
                },
                () = sleep_until(asked_at + HEARTBEAT_EVERY) => {
                    asked_at = Instant::now();
                    self.require_writable(listener).await
                }
            };
            if let Err(deaf) = heard {
                return deaf;
            }
        }
    }

    async fn require_writable(&self, listener: &mut PgListener) -> Result<(), Deaf> {
        let asked = timeout(HEARTBEAT_TIMEOUT, async { self.connector.require_writable(listener.acquire().await?).await });
        Ok(asked.await.map_err(|_| Deaf::Silent)??)
    }

    /// Topics that begin to be watched: one round trip for all that wait.
    async fn confirm(&mut self, listener: &mut PgListener, first: Confirmation) -> Result<(), Deaf> {
        let mut confirmations = vec![first];
        while let Ok(more) = self.confirmations.try_recv() {
            confirmations.push(more);
        }
        let settled = timeout(HEARTBEAT_TIMEOUT, async { self.settle(listener.acquire().await?).await });
        settled.await.map_err(|_| Deaf::Silent)??;
        for confirmation in confirmations {
            // Who has given up meanwhile is not told.
            let _ = confirmation.send(());
        }
        Ok(())
    }

    /// Asks for the positions that are not known.
    async fn settle(&self, connection: &mut PgConnection) -> Result<(), Deaf> {
        let doubtful = self.shared.watched().doubtful();
        if doubtful.is_empty() {
            self.connector.require_writable(connection).await?;
        }
        for topics in doubtful.chunks(HEADS_AT_ONCE) {
            let heads = reading::heads(connection, topics).await?;
            let mut watched = self.shared.watched();
            for (topic, head) in topics.iter().zip(heads) {
                watched.settle(topic, head);
            }
        }
        Ok(())
    }

    /// Takes a notification, and what came with it.
    async fn take(&mut self, listener: &mut PgListener, first: &str) -> Result<(), Deaf> {
        let mut hints: Vec<Hint> = Hint::parse(first).into_iter().collect();
        while hints.len() < HINTS_AT_ONCE {
            match listener.try_recv().now_or_never() {
                Some(Ok(Some(notification))) => hints.extend(Hint::parse(notification.payload())),
                // What is wrong shows again when it is listened to.
                Some(Ok(None)) => return Err(Deaf::Ended),
                Some(Err(error)) => return Err(error.into()),
                None => break,
            }
        }
        let (mut grown, mut removed, mut is_announced) = (Vec::new(), Vec::new(), false);
        {
            let watched = self.shared.watched();
            for hint in hints {
                match hint {
                    Hint::Grown(numbers) => grown.extend(watched.find(&numbers)),
                    Hint::AnyGrown => grown.extend(watched.all()),
                    Hint::Removed(numbers) => removed.extend(watched.find(&numbers)),
                    Hint::AnyRemoved => removed.extend(watched.all()),
                    Hint::Announced(_) => is_announced = true,
                }
            }
        }
        grown.sort_unstable();
        grown.dedup();
        for (topic, _) in removed {
            let is_message = matches!(topic, Topic::Message(_));
            if is_message && self.shared.watched().restart(&topic) {
                self.queue.tell(Signal::Grown(topic));
            }
        }
        self.tell_entries(grown).await?;
        if is_announced {
            self.hearing.read_on(&self.reads, &self.queue).await?;
        }
        Ok(())
    }

    async fn tell_entries(&self, grown: Vec<(Topic, Position)>) -> Result<(), Deaf> {
        for topics in grown.chunks(TOPICS_AT_ONCE) {
            match self.growth(topics).await {
                Err(error) if error.kind == BackendErrorKind::Rejected => self.tell_each(topics).await?,
                growth => growth?.into_iter().for_each(|growth| self.tell(growth)),
            }
        }
        Ok(())
    }

    /// The same of each topic alone, where one of them is damaged. Who reads that one is told what is wrong.
    async fn tell_each(&self, topics: &[(Topic, Position)]) -> Result<(), Deaf> {
        for topic in topics {
            match self.growth(std::slice::from_ref(topic)).await {
                Err(error) if error.kind == BackendErrorKind::Rejected => {
                    self.queue.tell(Signal::Grown(topic.0.clone()));
                }
                growth => growth?.into_iter().for_each(|growth| self.tell(growth)),
            }
        }
        Ok(())
    }

    async fn growth(&self, topics: &[(Topic, Position)]) -> Result<Vec<Growth>, BackendError> {
        let topics: Arc<[(Topic, Position)]> = topics.into();
        let read = calling(|connection| {
            let topics = Arc::clone(&topics);
            async move { reading::growth(connection, &topics).await }.boxed()
        });
        self.reads.call("reading what topics have grown by", Repeat::Harmless, read).await
    }

    fn tell(&self, growth: Growth) {
        let Growth { topic, to, entry } = growth;
        if self.shared.watched().advance(&topic, to) {
            self.queue.tell(entry.map_or_else(|| Signal::Grown(topic.clone()), |entry| Signal::Appended(topic.clone(), entry)));
        }
    }
}
