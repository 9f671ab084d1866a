//! The store as a whole.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    blocking::{with_store, with_store_for},
    failure::Failure,
    journal::{DiskLog, common_of, topic_of},
    keys::{self, Common, TopicRow},
    rows::{Draft, Rows},
    store::Store,
};
use crate::{
    adapters::backend_kit::stored_event,
    domain::{
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        archive::{Archive, Compacted, Fit, ListPlace, Listing, Part, Restored},
        backend_error::BackendError,
    },
};

/// Names that are listed at once.
const NAMES_MAX: usize = 1_000;

#[async_trait]
impl Archive for DiskLog {
    async fn users(&self, from: Option<&ListPlace>) -> Result<Listing<UserId>, BackendError> {
        let from = from.map(|place| place.0.clone());
        let list = move |store: &Store| {
            let (first, end) = keys::all(b't');
            // A place is the user before it.
            let first = from.map_or(first, |user| keys::behind_topic(&user));
            store.read(|rows| list(rows, (&first, &end), keys::user_of_topic, UserId::to_string))
        };
        with_store(&self.store, "list users", None, list).await
    }

    async fn messages(&self, from: Option<&ListPlace>) -> Result<Listing<MessageId>, BackendError> {
        let from = from.and_then(|place| MessageId::parse(&place.0).ok());
        let list = move |store: &Store| {
            let (first, end) = keys::all(b'm');
            let first = from.as_ref().map_or(first, keys::behind_message);
            store.read(|rows| list(rows, (&first, &end), keys::id_of_message, MessageId::to_string))
        };
        with_store(&self.store, "list messages", None, list).await
    }

    async fn restore(&self, parts: Vec<Part>) -> Result<Vec<Restored>, BackendError> {
        let restore = move |store: &Store| {
            let restore_all =
                |rows: &mut Draft| parts.iter().map(|part| restore(rows, part)).collect();
            store.write(restore_all, |_| {})
        };
        with_store(&self.store, "restore topics", None, restore).await
    }

    async fn check(&self) -> Result<(), BackendError> {
        with_store_for(None, &self.store, "check the table", None, Store::check).await
    }

    async fn compact(&self) -> Result<Option<Compacted>, BackendError> {
        with_store_for(None, &self.store, "compact the table", None, Store::compact).await.map(Some)
    }

    async fn figures(&self) -> Result<BTreeMap<&'static str, u64>, BackendError> {
        let figures = |store: &Store| {
            let (table, log) = store.sizes()?;
            Ok([("disk_table_bytes", table), ("disk_log_bytes", log)].into())
        };
        with_store(&self.store, "look at the files", None, figures).await
    }
}

fn list<T>(
    rows: &impl Rows,
    (first, end): (&Bytes, &Bytes),
    read: impl Fn(&[u8]) -> Result<T, super::failure::Damage>,
    place: impl Fn(&T) -> String,
) -> Result<Listing<T>, Failure> {
    let mut items = Vec::new();
    for row in rows.range(first, end)?.take(NAMES_MAX) {
        items.push(read(&row?.0)?);
    }
    let next = items.last().filter(|_| items.len() == NAMES_MAX).map(|last| ListPlace(place(last)));
    Ok(Listing { items, next, may_repeat: false })
}

fn restore(rows: &mut Draft, part: &Part) -> Result<Restored, Failure> {
    let known = topic_of(rows, &part.user)?;
    let common = common_of(rows)?;
    let mut topic = match (part.fits(known.map(|topic| topic.head)), known) {
        (None, _) => return Ok(Restored::Another),
        (Some(Fit::Taken), _) => return Ok(Restored::Kept),
        (Some(Fit::Next), Some(topic)) => topic,
        (Some(Fit::First | Fit::Next), _) => {
            rows.put(
                keys::COMMON,
                Common {
                    next_number: common.next_number + 1,
                    origin: common.origin.min(part.origin),
                    ..common
                }
                .encode(),
            );
            TopicRow { number: common.next_number, entries: 0, floor: part.after, head: part.after }
        }
    };
    let topic_name = Topic::User(part.user.clone());
    for entry in &part.entries {
        if topic.entries == 0 {
            topic.floor = topic.head;
            rows.put(
                keys::age(Timestamp::from_ms(entry.id.major()), topic.number),
                part.user.as_str().to_owned(),
            );
        }
        let text = stored_event::encode(&topic_name, &entry.event);
        rows.put(keys::entry(topic.number, entry.id), keys::entry_value(topic.head, &text));
        topic.entries += 1;
        topic.head = entry.id;
    }
    rows.put(keys::topic(&part.user), topic.encode());
    Ok(Restored::Kept)
}
