//! A feed over a server that does as a test says.

use std::{
    collections::{HashSet, VecDeque},
    sync::Mutex,
};

use futures_util::StreamExt;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, error::Elapsed},
};

use super::*;
use crate::{
    domain::position::{EventId, Position},
    testing,
};

const CALL_TIMEOUT: Duration = Duration::from_secs(9);

/// What the server does, and what it was sent.
#[derive(Default)]
struct Server {
    /// Whether it can be connected to.
    is_there: watch::Sender<bool>,
    /// It accepts connections and answers nothing.
    is_silent: Mutex<bool>,
    /// Closes the connection.
    cut: Notify,
    heard: Mutex<VecDeque<Topic>>,
    news: Notify,
    listened_to: Mutex<HashSet<Topic>>,
    announcements: Mutex<Vec<UserId>>,
    connections: Mutex<usize>,
}

impl Server {
    fn append(&self, topic: &Topic) {
        self.heard.lock().unwrap().push_back(topic.clone());
        self.news.notify_one();
    }

    fn listened_to(&self) -> HashSet<Topic> {
        self.listened_to.lock().unwrap().clone()
    }
}

struct Source(Arc<Server>);

#[derive(Debug)]
struct Failed;

impl From<Elapsed> for Failed {
    fn from(_: Elapsed) -> Self {
        Self
    }
}

impl From<BackendError> for Failed {
    fn from(_: BackendError) -> Self {
        Self
    }
}

#[async_trait]
impl FeedSource for Source {
    type Connection = ();
    type Heard = Topic;
    type Failure = Failed;

    async fn connect(&mut self, _: &FeedReports) -> Result<(), Failed> {
        if !*self.0.is_there.borrow() {
            return Err(Failed);
        }
        self.0.listened_to.lock().unwrap().clear();
        *self.0.connections.lock().unwrap() += 1;
        Ok(())
    }

    async fn listen_to(&mut self, (): &mut (), topics: &[Topic]) -> Result<(), Failed> {
        self.0.listened_to.lock().unwrap().extend(topics.iter().cloned());
        Ok(())
    }

    async fn stop_listening_to(&mut self, (): &mut (), topics: &[Topic]) -> Result<(), Failed> {
        self.0.listened_to.lock().unwrap().retain(|topic| !topics.contains(topic));
        Ok(())
    }

    async fn hear(&mut self, (): &mut ()) -> Result<Topic, Failed> {
        loop {
            if let Some(topic) = self.0.heard.lock().unwrap().pop_front() {
                return Ok(topic);
            }
            tokio::select! {
                () = self.0.news.notified() => {}
                () = self.0.cut.notified() => return Err(Failed),
            }
        }
    }

    async fn take(
        &mut self,
        (): &mut (),
        topic: Topic,
        reports: &FeedReports,
    ) -> Result<(), Failed> {
        reports.grown(topic, None);
        Ok(())
    }

    async fn ask(&mut self, (): &mut ()) -> Result<(), Failed> {
        let is_silent = *self.0.is_silent.lock().unwrap();
        if is_silent { std::future::pending().await } else { Ok(()) }
    }

    fn lost(&mut self, _: FeedState, Failed: Failed) {}
}

struct Log(Arc<Server>);

#[async_trait]
impl AnnouncementLog for Log {
    async fn announce(&self, announcement: &Announcement) -> Result<(), BackendError> {
        if let Announcement::CloseConnections(user) = announcement {
            self.0.announcements.lock().unwrap().push(user.clone());
        }
        Ok(())
    }

    async fn end(&self) -> Result<Position, BackendError> {
        Ok(EventId::sequence(self.0.announcements.lock().unwrap().len() as u64).into())
    }

    async fn read(
        &self,
        after: Position,
        unread_for: Duration,
    ) -> Result<AnnouncementPage, BackendError> {
        let end = self.end().await?;
        let from = after.id().map_or(0, EventId::major);
        let numbered = (1_u64..).zip(self.0.announcements.lock().unwrap().clone());
        let announcements = numbered.filter(|(number, _)| *number > from).map(|(number, user)| {
            (EventId::sequence(number).into(), Some(Announcement::CloseConnections(user)))
        });
        let announcements = announcements.take(ANNOUNCEMENTS_AT_ONCE).collect();
        Ok(AnnouncementPage { announcements, end, some_are_gone: unread_for > ANNOUNCEMENTS_KEPT })
    }
}

fn start() -> (Arc<Server>, DrivenFeed<Log>, BoxStream<'static, Signal>) {
    let server = Arc::new(Server::default());
    server.is_there.send_replace(true);
    let options = FeedOptions {
        task: "test feed",
        announcements_task: "test announcements",
        call_timeout: CALL_TIMEOUT,
    };
    let feed = DrivenFeed::start(
        &testing::backend_context(),
        options,
        Source(Arc::clone(&server)),
        Log(Arc::clone(&server)),
    );
    let signals = feed.signals();
    (server, feed, signals)
}

fn user(number: usize) -> UserId {
    UserId::parse(&format!("u{number}")).unwrap()
}

fn topic(number: usize) -> Topic {
    Topic::User(user(number))
}

async fn assert_grown(signals: &mut BoxStream<'static, Signal>, expected: &Topic) {
    let next = signals.next().await;
    assert!(matches!(&next, Some(Signal::Grown(topic)) if topic == expected), "{next:?}");
}

async fn assert_interrupted(signals: &mut BoxStream<'static, Signal>) {
    let next = signals.next().await;
    assert!(matches!(next, Some(Signal::Interrupted)), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn only_what_is_watched_is_listened_to_and_reported() {
    let (server, feed, mut signals) = start();
    feed.watch(&topic(1)).await.unwrap();
    feed.watch(&topic(1)).await.unwrap();
    assert_eq!(server.listened_to(), HashSet::from([topic(1)]));
    server.append(&topic(2));
    server.append(&topic(1));
    assert_grown(&mut signals, &topic(1)).await;
    feed.unwatch(&topic(1)).await;
    server.append(&topic(1));
    feed.watch(&topic(3)).await.unwrap();
    assert_eq!(server.listened_to(), HashSet::from([topic(3)]));
    server.append(&topic(3));
    assert_grown(&mut signals, &topic(3)).await;
}

#[tokio::test(start_paused = true)]
async fn promise_1_what_is_watched_is_listened_to_again_before_an_interruption_is_reported() {
    let (server, feed, mut signals) = start();
    feed.watch(&topic(1)).await.unwrap();
    server.is_there.send_replace(false);
    server.cut.notify_one();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let refused = feed.watch(&topic(2)).await.unwrap_err();
    assert_eq!(refused.kind, BackendErrorKind::Unavailable);
    server.is_there.send_replace(true);
    assert_interrupted(&mut signals).await;
    assert_eq!(
        server.listened_to(),
        HashSet::from([topic(1)]),
        "a watch that was refused leaves nothing behind"
    );
}

#[tokio::test(start_paused = true)]
async fn promise_9_a_server_that_falls_silent_is_given_up() {
    let (server, feed, mut signals) = start();
    feed.watch(&topic(1)).await.unwrap();
    *server.is_silent.lock().unwrap() = true;
    let began = Instant::now();
    assert_interrupted(&mut signals).await;
    assert!(
        began.elapsed() <= Duration::from_secs(5),
        "two seconds until it is asked, two for an answer, and a pause"
    );
    let began = Instant::now();
    let refused = feed.watch(&topic(1)).await.unwrap_err();
    assert!(began.elapsed() <= Duration::from_secs(2), "{refused}");
    assert!(*server.connections.lock().unwrap() >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_closes_at_once_is_not_asked_without_a_pause() {
    let (server, feed, _signals) = start();
    assert!(feed.began().await);
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        server.cut.notify_one();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let connections = *server.connections.lock().unwrap();
    assert!(connections <= 30, "{connections} connections in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn announcements_are_reported_once_in_order_and_from_the_start_on() {
    let (server, feed, mut signals) = start();
    assert!(feed.began().await);
    let count = 3 * ANNOUNCEMENTS_AT_ONCE;
    for number in 0..count {
        feed.close_connections(&user(number)).await.unwrap();
    }
    // Nothing says that there is something new: it is looked for all the same.
    for number in 0..count {
        let next = signals.next().await;
        assert!(
            matches!(&next, Some(Signal::CloseConnections(closed)) if *closed == user(number)),
            "{number}: {next:?}"
        );
    }
    server.is_there.send_replace(false);
    server.cut.notify_one();
    feed.close_connections(&user(count)).await.unwrap();
    server.is_there.send_replace(true);
    let mut closed = Vec::new();
    while closed.is_empty() {
        if let Some(Signal::CloseConnections(user)) = signals.next().await {
            closed.push(user);
        }
    }
    assert_eq!(closed, [user(count)]);
}
