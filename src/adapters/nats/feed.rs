//! How a process listens: on a connection of its own, to a subject for each topic and one for
//! announcements, to which the server sends what it has just stored.
//!
//! Invariants: no consumer is made; on a connection that is said to be there, nothing that the
//! streams' leaders store after a topic was listened to goes unheard; where a stream has another
//! leader or was made anew, all is caught up.

use std::{collections::HashMap, sync::Arc};

use async_nats::{HeaderMap, Message, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::join_all,
    stream::{Map, SelectAll, TakeUntil},
};
use tokio::{sync::oneshot, time::error::Elapsed};

use super::{
    connection::{Address, Connection},
    failure::Failure,
    incarnation::Incarnation,
    record::entries_of,
    store::{Ack, Stored},
    streams::{NotReady, Streams},
    subjects::Subjects,
};
use crate::{
    adapters::backend_kit::{
        feed::{FeedReports, FeedSource, FeedState},
        stored_page::StoredEntry,
    },
    domain::{category::Registry, event::Entry, timestamp::Timestamp, topic::Topic},
    ports::backend_error::BackendError,
};

/// A stream that is listened to.
pub(super) struct Heard {
    pub(super) name: String,
    /// A subject of the stream under which nothing is ever stored.
    pub(super) nothing: String,
    pub(super) incarnation: Arc<Incarnation>,
}

/// How to listen to NATS.
pub(super) struct NatsSource {
    pub(super) address: Address,
    pub(super) streams: Arc<Streams>,
    pub(super) subjects: Arc<Subjects>,
    pub(super) registry: Arc<Registry>,
    /// Users' events, and messages.
    pub(super) heard: [Heard; 2],
    pub(super) announcements: String,
}

type Told = (Arc<Topic>, Message);
type OfTopic =
    TakeUntil<Map<Subscriber, Box<dyn FnMut(Message) -> Told + Send>>, oneshot::Receiver<()>>;

/// A connection that listens.
pub(super) struct Listening {
    connection: Connection,
    announcements: Subscriber,
    topics: SelectAll<OfTopic>,
    /// What ends each of them when it is dropped.
    stops: HashMap<Topic, oneshot::Sender<()>>,
    /// The leader of each stream, and its incarnation, as they were at first.
    seen: Option<[(Option<String>, u64); 2]>,
}

/// What was heard.
pub(super) enum Sound {
    Announcement,
    OfTopic(Arc<Topic>, Message),
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error("{0}")]
    NotReady(String),
    #[error("a stream has another leader, or was made anew")]
    Changed,
    #[error("NATS does not answer")]
    Silent,
    #[error("{0}")]
    Backend(BackendError),
}

impl From<Elapsed> for Ended {
    fn from(_: Elapsed) -> Self {
        Self::Silent
    }
}

impl From<BackendError> for Ended {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

impl From<NotReady> for Ended {
    fn from(not_ready: NotReady) -> Self {
        match not_ready {
            NotReady::Failure(failure) => Self::Failure(failure),
            NotReady::Problem(problem) => Self::NotReady(problem.to_string()),
        }
    }
}

impl NatsSource {
    /// Comes to the leader of each stream on the way on which it sends what it stores, and back:
    /// behind all that was said to the server before. What is sent can't be stored, since it
    /// expects what never is.
    async fn pass_by_leaders(&self, connection: &Connection) -> Result<(), Ended> {
        let passing = self.heard.iter().map(|heard| async {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Expected-Last-Sequence", u64::MAX.to_string());
            let answer =
                connection.request(heard.nothing.clone(), Some(headers), Bytes::new()).await?;
            match Ack::read(&answer.payload) {
                Err(failure) if failure.is_conflict() => Ok(()),
                Err(failure) => Err(Ended::Failure(failure)),
                Ok(_) => Err(Ended::Failure(Failure::MalformedReply(
                    "what expects the impossible was stored".to_owned(),
                ))),
            }
        });
        join_all(passing).await.into_iter().collect()
    }

    /// The leader of each stream, and its incarnation.
    async fn look(&self, connection: &Connection) -> Result<[(Option<String>, u64); 2], Ended> {
        let mut seen = [(None, 0), (None, 0)];
        for (heard, seen) in self.heard.iter().zip(&mut seen) {
            let info = self.streams.info(connection, &heard.name).await?;
            heard.incarnation.learn(&info);
            *seen =
                (info.cluster.and_then(|cluster| cluster.leader), heard.incarnation.created_ms());
        }
        Ok(seen)
    }

    fn entries(&self, topic: &Topic, message: Message) -> Option<Vec<Entry>> {
        let headers = message.headers?;
        let sequence = headers.get_last("Nats-Sequence")?.as_str().parse().ok()?;
        let stored = Stored {
            subject: String::new(),
            sequence,
            time: Timestamp::default(),
            headers,
            payload: message.payload,
        };
        let heard = &self.heard[usize::from(matches!(topic, Topic::Message(_)))];
        let entries = entries_of(topic, &stored, &heard.incarnation, &self.registry).into_iter();
        entries
            .map(|StoredEntry { id, prev, event }| {
                Some(Entry { id, prev, event: event.ok()?.into() })
            })
            .collect()
    }
}

#[async_trait]
impl FeedSource for NatsSource {
    type Connection = Listening;
    type Heard = Sound;
    type Failure = Ended;

    async fn connect(&mut self, _: &FeedReports) -> Result<Listening, Ended> {
        let connection = Connection::passing(&self.address).await?;
        self.streams.make_ready(&connection).await?;
        let announcements = connection.listen(self.announcements.clone()).await?;
        self.pass_by_leaders(&connection).await?;
        let seen = self.look(&connection).await?;
        Ok(Listening {
            connection,
            announcements,
            topics: SelectAll::new(),
            stops: HashMap::new(),
            seen: Some(seen),
        })
    }

    async fn listen_to(
        &mut self,
        listening: &mut Listening,
        topics: &[Topic],
    ) -> Result<(), Ended> {
        for topic in topics {
            let subject = self.subjects.live(&self.subjects.topic(topic));
            let told = Arc::new(topic.clone());
            let tell: Box<dyn FnMut(Message) -> Told + Send> =
                Box::new(move |message| (Arc::clone(&told), message));
            let (stop, stopped) = oneshot::channel();
            listening
                .topics
                .push(listening.connection.listen(subject).await?.map(tell).take_until(stopped));
            listening.stops.insert(topic.clone(), stop);
        }
        self.pass_by_leaders(&listening.connection).await
    }

    async fn stop_listening_to(
        &mut self,
        listening: &mut Listening,
        topics: &[Topic],
    ) -> Result<(), Ended> {
        for topic in topics {
            listening.stops.remove(topic);
        }
        Ok(())
    }

    async fn hear(&mut self, listening: &mut Listening) -> Result<Sound, Ended> {
        let Listening { connection, announcements, topics, .. } = listening;
        tokio::select! {
            () = connection.lost() => Err(Failure::Broken.into()),
            Some((topic, message)) = topics.next() => Ok(Sound::OfTopic(topic, message)),
            announced = announcements.next() => announced.map(|_| Sound::Announcement).ok_or(Ended::Failure(Failure::Broken)),
        }
    }

    async fn take(
        &mut self,
        _: &mut Listening,
        sound: Sound,
        reports: &FeedReports,
    ) -> Result<(), Ended> {
        match sound {
            Sound::Announcement => reports.announced(),
            Sound::OfTopic(topic, message) => match self.entries(&topic, message) {
                Some(entries) => entries
                    .into_iter()
                    .for_each(|entry| reports.grown((*topic).clone(), Some(entry))),
                None => reports.grown((*topic).clone(), None),
            },
        }
        Ok(())
    }

    async fn ask(&mut self, listening: &mut Listening) -> Result<(), Ended> {
        self.pass_by_leaders(&listening.connection).await?;
        let seen = self.look(&listening.connection).await?;
        // While there is none, there is nothing to be heard either.
        if listening.seen.replace(seen.clone()).is_none_or(|before| before == seen) {
            Ok(())
        } else {
            Err(Ended::Changed)
        }
    }

    fn lost(&mut self, was: FeedState, ended: Ended) {
        match ended {
            Ended::NotReady(problem) if was != FeedState::Away => {
                tracing::error!("can't use NATS: {problem}");
            }
            ended => tracing::debug!(%ended, "the feed's connection is of no more use"),
        }
    }
}
