//! NATS as a whole.
//!
//! Topics are listed by the subjects of the streams. A stream numbers what it takes itself, so that
//! what is restored has new ids.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    journal::{NatsJournal, bounded},
    store::Store,
    subjects::Subjects,
};
use crate::{
    domain::topic::{MessageId, Topic, UserId},
    ports::{
        archive::{Archive, ListPlace, Listing, Part, Restored},
        backend_error::BackendError,
        journal::{Append, Journal},
        topic_log::TopicLog,
    },
};

/// All that is kept of users and messages.
pub(super) struct NatsArchive {
    pub(super) journal: Arc<NatsJournal>,
    pub(super) events: Arc<Store>,
    pub(super) messages: Arc<Store>,
    pub(super) subjects: Arc<Subjects>,
}

#[async_trait]
impl Archive for NatsArchive {
    async fn users(&self, from: Option<&ListPlace>) -> Result<Listing<UserId>, BackendError> {
        list(&self.events, from, |subject| self.subjects.user_of(subject)).await
    }

    async fn messages(&self, from: Option<&ListPlace>) -> Result<Listing<MessageId>, BackendError> {
        list(&self.messages, from, |subject| self.subjects.message_of(subject)).await
    }

    async fn restore(&self, parts: Vec<Part>) -> Result<Vec<Restored>, BackendError> {
        let mut restored = Vec::with_capacity(parts.len());
        for part in parts {
            if part.is_first
                && self.journal.bounds(&Topic::User(part.user.clone())).await?.oldest.is_some()
            {
                restored.push(Restored::Another);
                continue;
            }
            let append = |event| Append { user: part.user.clone(), event, idempotency_key: None };
            for appended in self
                .journal
                .append(part.entries.into_iter().map(|entry| append(entry.event)).collect())
                .await?
            {
                appended?;
            }
            restored.push(Restored::Renumbered);
        }
        Ok(restored)
    }
}

/// Names of a stream's subjects. A place is how many were listed.
async fn list<T>(
    store: &Store,
    from: Option<&ListPlace>,
    name: impl Fn(&str) -> Option<T>,
) -> Result<Listing<T>, BackendError> {
    let offset = from.and_then(|place| place.0.parse().ok()).unwrap_or(0);
    let listed = bounded("list a stream's subjects", store.subjects(offset)).await?;
    let count = listed.subjects.len() as u64;
    let has_more = count > 0 && offset + count < listed.total;
    // A subject that is removed meanwhile moves those behind it forward: the parts overlap.
    let next = offset + (count - count / 10).max(1);
    Ok(Listing {
        items: listed.subjects.iter().filter_map(|subject| name(subject)).collect(),
        next: has_more.then(|| ListPlace(next.to_string())),
        may_repeat: true,
    })
}
