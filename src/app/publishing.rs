//! Publishing: an event becomes an entry of each recipient's topic, or goes to everybody who is
//! connected.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    broadcasting::{BroadcastError, Broadcaster},
    broadcasts::NoRoom,
    expiry::expiry,
    signals::{Outcome, Signals},
};
use crate::{
    domain::{
        access::EventPublisher,
        category::{Category, Registry},
        event::{Content, Event, EventType, Last},
        idempotency_key::IdempotencyKey,
        json::Json,
        topic::UserId,
    },
    ports::{
        backend_error::BackendError,
        clock::Clock,
        journal::{Append, Appended, Journal},
    },
};

/// When a publisher should try again while the backend is away.
pub const BACKEND_RETRY_AFTER: Duration = Duration::from_secs(2);

/// A publisher's event, well-formed, before the server has added its part.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Who gets it.
    pub recipients: Recipients,
    /// Its type.
    pub event_type: EventType,
    /// What it is about: a JSON object, `{}` where none was given.
    pub scope: Json,
    /// What it carries.
    pub content: Content,
    /// Its category, if the publisher chose one; else the registry does, by type.
    pub category: Option<Category>,
    /// Makes a repeat recognisable, for each recipient.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// Who gets an event.
#[derive(Clone, Debug)]
pub enum Recipients {
    /// One user.
    User(UserId),
    /// Several, each with an entry of their own.
    Users(Vec<UserId>),
    /// Every connection that is open now. It is not journaled.
    Everybody,
}

/// What became of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// An entry in one user's topic.
    One(Appended),
    /// An entry in each user's topic, in the order that the users were named.
    Each(Vec<Appended>),
    /// Sent to every open connection.
    Broadcast,
    /// Pushing is switched off: nothing was stored.
    Discarded,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The backend could not take it.
    #[error(
        "the event was not accepted, since the backend is unavailable: try again with the same Idempotency-Key"
    )]
    Backend(#[from] BackendError),
    /// Not every connection could get it.
    #[error(transparent)]
    NoRoom(NoRoom),
}

impl From<BroadcastError> for PublishError {
    fn from(error: BroadcastError) -> Self {
        match error {
            BroadcastError::NoRoom(no_room) => Self::NoRoom(no_room),
            BroadcastError::Backend(error) => Self::Backend(error),
        }
    }
}

/// The use case.
pub struct Publisher {
    journal: Arc<dyn Journal>,
    broadcaster: Broadcaster,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    signals: Arc<Signals>,
    push_enabled: bool,
}

impl Publisher {
    /// A publisher over the given ports.
    pub fn new(
        journal: Arc<dyn Journal>,
        broadcaster: Broadcaster,
        clock: Arc<dyn Clock>,
        registry: Arc<Registry>,
        signals: Arc<Signals>,
        push_enabled: bool,
    ) -> Self {
        Self { journal, broadcaster, clock, registry, signals, push_enabled }
    }

    /// The categories that events may have.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// When the publisher's credentials end: what they publish after that is refused.
    pub fn expiry(&self, publisher: &EventPublisher) -> Option<Instant> {
        expiry(publisher.principal(), &*self.clock)
    }

    /// Publishes one event.
    ///
    /// # Errors
    /// [`PublishError`]; a retry with the same idempotency key is harmless.
    pub async fn publish(
        &self,
        by: &EventPublisher,
        publication: Publication,
    ) -> Result<Published, PublishError> {
        self.publish_all(by, vec![publication]).await?.pop().unwrap_or(Ok(Published::Discarded))
    }

    /// Publishes events in their order, those that are journaled in one batch, and answers for
    /// each.
    ///
    /// # Errors
    /// [`PublishError`] of them all, or of one alone; a retry with the same idempotency keys is
    /// harmless.
    pub async fn publish_all(
        &self,
        _: &EventPublisher,
        publications: Vec<Publication>,
    ) -> Result<Vec<Result<Published, PublishError>>, PublishError> {
        if !self.push_enabled {
            self.signals.published(Outcome::Discarded, publications.len());
            return Ok(publications.iter().map(|_| Ok(Published::Discarded)).collect());
        }
        let mut batch = Vec::new();
        let mut plans = Vec::with_capacity(publications.len());
        for publication in publications {
            plans.push(self.plan(publication, &mut batch));
        }
        let appended = if batch.is_empty() { Vec::new() } else { self.append(batch).await? };
        let mut published = Vec::with_capacity(plans.len());
        for plan in plans {
            published.push(match plan {
                Plan::One(index) => answer_of(&appended[index]).map(Published::One),
                Plan::Each(indexes) => indexes
                    .into_iter()
                    .map(|index| answer_of(&appended[index]))
                    .collect::<Result<_, _>>()
                    .map(Published::Each),
                Plan::Broadcast(event) => self
                    .broadcaster
                    .broadcast(event)
                    .await
                    .map(|()| Published::Broadcast)
                    .map_err(PublishError::from),
            });
        }
        Ok(published)
    }

    async fn append(
        &self,
        batch: Vec<Append>,
    ) -> Result<Vec<Result<Appended, BackendError>>, BackendError> {
        let events = batch.len();
        let appended = self
            .journal
            .append(batch)
            .await
            .inspect_err(|_| self.signals.published(Outcome::Failed, events))?;
        let taken = appended.iter().flatten().count();
        let duplicates = appended.iter().flatten().filter(|appended| appended.duplicate).count();
        self.signals.published(Outcome::Appended, taken - duplicates);
        self.signals.published(Outcome::Duplicate, duplicates);
        self.signals.published(Outcome::Failed, appended.len() - taken);
        Ok(appended)
    }

    fn plan(&self, publication: Publication, batch: &mut Vec<Append>) -> Plan {
        let Publication { recipients, event_type, scope, content, category, idempotency_key } =
            publication;
        let category = category.or_else(|| self.registry.category_of(&event_type).cloned());
        let (ts, last) = (self.clock.now(), Last::default());
        let event = Arc::new(Event { event_type, ts, category, scope, content, last });
        let mut append = |user: UserId| {
            batch.push(Append {
                user,
                event: Arc::clone(&event),
                idempotency_key: idempotency_key.clone(),
            });
            batch.len() - 1
        };
        match recipients {
            Recipients::User(user) => Plan::One(append(user)),
            Recipients::Users(users) => {
                // Who is named twice still gets one entry.
                let mut seen = HashMap::new();
                let indexes = users
                    .into_iter()
                    .map(|user| *seen.entry(user.clone()).or_insert_with(|| append(user)))
                    .collect();
                Plan::Each(indexes)
            }
            Recipients::Everybody => Plan::Broadcast(event),
        }
    }
}

/// The answer for one event of a batch. Several publications can't share it, but one may name a
/// user twice.
fn answer_of(appended: &Result<Appended, BackendError>) -> Result<Appended, PublishError> {
    // The driver's own error has been logged.
    appended.as_ref().copied().map_err(|error| BackendError::new(error.kind, error.context).into())
}

/// What to do for one publication; the numbers are places in the batch.
enum Plan {
    One(usize),
    Each(Vec<usize>),
    Broadcast(Arc<Event>),
}

#[cfg(test)]
mod tests;
