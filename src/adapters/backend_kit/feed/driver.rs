//! The task behind a feed: it connects, listens to what is watched, and notices when its connection
//! is of no more use.
//!
//! Invariants: on a connection that is said to be there, everything is listened to that is watched;
//! after a connection was lost, everything is listened to again *before* [`Signal::Interrupted`] is
//! reported, so that a journal read after it misses nothing; a server that falls silent is
//! noticed by a question that it does not answer, also where nothing is appended.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::watch,
    time::{Instant, error::Elapsed, sleep_until, timeout},
};

use super::{
    announcements::{AnnouncementLog, Announcements},
    reports::FeedReports,
    watch_set::Changes,
};
use crate::{
    adapters::backend_kit::reconnect::Reconnect,
    domain::topic::Topic,
    ports::{backend_error::BackendError, feed::Signal},
};

/// How often the server is asked whether it is still the one to listen to, and how long it has to
/// answer on this connection.
const ASK_EVERY: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection takes more round trips than a call, and has at least this long.
const CONNECT_TIMEOUT_LEAST: Duration = Duration::from_secs(4);
/// Most topics that are subscribed to together.
const TOPICS_AT_ONCE: usize = 500;

/// How a backend listens on a connection. The driver bounds its calls in time, but for
/// [`FeedSource::take`].
#[async_trait]
pub trait FeedSource: Send + 'static {
    /// A connection that hears.
    type Connection: Send;
    /// What it hears.
    type Heard: Send;
    /// Why it is of no more use.
    type Failure: From<Elapsed> + From<BackendError> + Send;

    /// Connects to a server that can be used, and listens to announcements. What is pushed on the
    /// connection is reported.
    async fn connect(&mut self, reports: &FeedReports) -> Result<Self::Connection, Self::Failure>;

    /// Listens to more topics. What is appended to them after this returned is heard.
    async fn listen_to(
        &mut self,
        connection: &mut Self::Connection,
        topics: &[Topic],
    ) -> Result<(), Self::Failure>;

    /// Listens to these no longer.
    async fn stop_listening_to(
        &mut self,
        connection: &mut Self::Connection,
        topics: &[Topic],
    ) -> Result<(), Self::Failure>;

    /// Waits for what comes next. Cancel-safe.
    async fn hear(
        &mut self,
        connection: &mut Self::Connection,
    ) -> Result<Self::Heard, Self::Failure>;

    /// Reports what was heard.
    async fn take(
        &mut self,
        connection: &mut Self::Connection,
        heard: Self::Heard,
        reports: &FeedReports,
    ) -> Result<(), Self::Failure>;

    /// Asks the server whether it is still the one to listen to.
    async fn ask(&mut self, connection: &mut Self::Connection) -> Result<(), Self::Failure>;

    /// Everything that is watched is listened to.
    fn connected(&mut self) {}

    /// A connection was lost, or could not be made.
    fn lost(&mut self, was: FeedState, failure: Self::Failure);
}

/// Whether a feed hears anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// It has not been tried yet.
    Beginning,
    /// It has a connection, and listens.
    Listening,
    /// The last connection was lost, or could not be made.
    Away,
}

pub(super) struct Driver<S, L> {
    pub(super) source: S,
    pub(super) reports: FeedReports,
    pub(super) announcements: Arc<Announcements<L>>,
    pub(super) state: watch::Sender<FeedState>,
    pub(super) call_timeout: Duration,
    pub(super) reconnect: Reconnect,
}

impl<S: FeedSource, L: AnnouncementLog> Driver<S, L> {
    /// Listens, again and again, for as long as it is polled.
    pub(super) async fn run(mut self) {
        let mut was_connected = false;
        loop {
            let mut there_since = None;
            let failure = match self.connect().await {
                Ok(connection) => {
                    there_since = Some(Instant::now());
                    self.source.connected();
                    self.state.send_replace(FeedState::Listening);
                    self.reports.announced();
                    if std::mem::replace(&mut was_connected, true) {
                        self.reports.queue.tell(Signal::Interrupted);
                    }
                    self.listen(connection).await
                }
                Err(failure) => failure,
            };
            let was = self.state.send_replace(FeedState::Away);
            self.reports.watched.refuse_waiting();
            self.source.lost(was, failure);
            self.reconnect.pause(there_since).await;
        }
    }

    /// A connection on which everything is listened to that is watched.
    async fn connect(&mut self) -> Result<S::Connection, S::Failure> {
        let connect_timeout = self.call_timeout.max(CONNECT_TIMEOUT_LEAST);
        let mut connection = timeout(connect_timeout, self.source.connect(&self.reports)).await??;
        self.announcements.begin().await?;
        self.reports.watched.begin_anew();
        self.follow_changes(&mut connection).await?;
        Ok(connection)
    }

    /// Listens until the connection is of no more use, and returns why.
    async fn listen(&mut self, mut connection: S::Connection) -> S::Failure {
        let mut asked_at = Instant::now();
        loop {
            let step = tokio::select! {
                heard = self.source.hear(&mut connection) => match heard {
                    Ok(heard) => self.source.take(&mut connection, heard, &self.reports).await,
                    Err(failure) => Err(failure),
                },
                () = self.reports.watched.changed() => self.follow_changes(&mut connection).await,
                () = sleep_until(asked_at + ASK_EVERY) => {
                    asked_at = Instant::now();
                    self.ask(&mut connection).await
                }
            };
            if let Err(failure) = step {
                return failure;
            }
        }
    }

    async fn ask(&mut self, connection: &mut S::Connection) -> Result<(), S::Failure> {
        timeout(ANSWER_TIMEOUT, self.source.ask(connection)).await?
    }

    /// Listens to what is new among what is watched, and no longer to what is not. Whoever waits is
    /// answered after a round trip on this very connection.
    async fn follow_changes(&mut self, connection: &mut S::Connection) -> Result<(), S::Failure> {
        let Changes { begun, ended, waiting } = self.reports.watched.take_changes();
        let (begun, ended) = (Vec::from_iter(begun), Vec::from_iter(ended));
        for topics in ended.chunks(TOPICS_AT_ONCE) {
            timeout(ANSWER_TIMEOUT, self.source.stop_listening_to(connection, topics)).await??;
        }
        for topics in begun.chunks(TOPICS_AT_ONCE) {
            timeout(ANSWER_TIMEOUT, self.source.listen_to(connection, topics)).await??;
        }
        if begun.is_empty() && !waiting.is_empty() {
            self.ask(connection).await?;
        }
        for listens in waiting {
            // A caller that timed out has dropped its receiver.
            let _ = listens.send(());
        }
        Ok(())
    }
}
