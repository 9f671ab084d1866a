//! Appends to users' topics, written together.
//!
//! Invariant: a batch is one statement, and so one transaction of one round trip: it is there whole or not at all, and no
//! head stays locked for longer than the server takes. Heads are locked in the order of their topics' ids.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt;
use sqlx::PgConnection;

use super::{
    failure::Failure,
    group_commit::{Job, Write},
    hint::Hint,
    lane::{Lane, Repeat},
    numbers::{from_i64, millis, to_i64},
};
use crate::{
    domain::{
        position::EventId,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        journal::{Append, Appended, IdempotencyKey},
    },
};

/// Appends a batch. See `migrations/0002_functions.sql`.
pub(super) const APPEND: &str = "SELECT ids_ms, ids_n, duplicates FROM append_events($1::text[], $2::text[], $3::integer[], $4::bigint[], \
    $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::boolean, $11::bigint, $12::bigint, $13::text, $14::text)";

/// A batch of one caller. All its topics are users'.
pub(super) struct AppendJob(pub(super) Vec<Append>);

impl Job for AppendJob {
    type Answer = Vec<Appended>;

    fn size(&self) -> (usize, usize) {
        (self.0.len(), self.0.iter().map(|append| append.event.cost_bytes()).sum())
    }
}

/// Writes batches of users' events.
pub(super) struct AppendWriter {
    pub(super) lane: Lane,
    pub(super) channel: String,
    pub(super) topic_entries_max: usize,
    pub(super) idempotency_window: Duration,
}

#[async_trait]
impl Write<AppendJob> for AppendWriter {
    async fn write(&self, jobs: &[AppendJob]) -> Result<Vec<Vec<Appended>>, BackendError> {
        let sheet = Arc::new(Sheet::of(jobs.iter().flat_map(|job| &job.0)));
        let bounds = (self.channel.clone(), to_i64(self.topic_entries_max as u64), millis(self.idempotency_window));
        let written = self
            .lane
            .call("appending to the journal", Repeat::Harmful, |connection| {
                let (sheet, bounds) = (Arc::clone(&sheet), bounds.clone());
                async move { sheet.append(connection, &bounds).await }.boxed()
            })
            .await?;
        // Each append finds the answer of its event, or of the first that had its key.
        let mut places = sheet.places.iter();
        let mut seen = vec![false; written.len()];
        let mut answer = |place: usize| {
            let Appended { id, duplicate } = written[place];
            Appended { id, duplicate: duplicate || std::mem::replace(&mut seen[place], true) }
        };
        Ok(jobs.iter().map(|job| places.by_ref().take(job.0.len()).map(|place| answer(*place)).collect()).collect())
    }
}

/// The columns of a batch.
#[derive(Default)]
struct Sheet {
    topics: Vec<Topic>,
    topic_ids: Vec<String>,
    user_ids: Vec<String>,
    topic_numbers: Vec<i32>,
    times: Vec<i64>,
    types: Vec<String>,
    categories: Vec<Option<String>>,
    scopes: Vec<String>,
    payloads: Vec<String>,
    keys: Vec<Option<String>>,
    /// For each append the place of its event in the columns.
    places: Vec<usize>,
}

impl Sheet {
    fn of<'a>(appends: impl Iterator<Item = &'a Append> + Clone) -> Self {
        let user = |append: &'a Append| match &append.topic {
            Topic::User(user) => Some(user),
            Topic::Message(_) => None,
        };
        let users: BTreeSet<&UserId> = appends.clone().filter_map(user).collect();
        let mut sheet = Self {
            topics: users.iter().map(|user| Topic::User((*user).clone())).collect(),
            topic_ids: users.iter().map(|user| user.as_str().to_owned()).collect(),
            ..Self::default()
        };
        // Postgres counts from 1.
        let numbers: HashMap<&UserId, i32> = users.into_iter().zip(1..).collect();
        let mut first_of_key: HashMap<(i32, &IdempotencyKey), usize> = HashMap::new();
        for append in appends {
            let Some((user, number)) = user(append).and_then(|user| Some((user, *numbers.get(user)?))) else { continue };
            let place = sheet.payloads.len();
            let first = append.idempotency_key.as_ref().map(|key| *first_of_key.entry((number, key)).or_insert(place));
            sheet.places.push(first.unwrap_or(place));
            if first.is_none_or(|first| first == place) {
                sheet.push(append, user, number);
            }
        }
        sheet
    }

    fn push(&mut self, append: &Append, user: &UserId, topic_number: i32) {
        let Append { event, idempotency_key, .. } = append;
        self.user_ids.push(user.as_str().to_owned());
        self.topic_numbers.push(topic_number);
        self.times.push(to_i64(event.ts.as_ms()));
        self.types.push(event.event_type.as_str().to_owned());
        self.categories.push(event.category.as_ref().map(|category| category.as_str().to_owned()));
        self.scopes.push(event.scope.as_str().to_owned());
        self.payloads.push(event.payload.as_str().to_owned());
        self.keys.push(idempotency_key.as_ref().map(|key| key.as_str().to_owned()));
    }

    async fn append(&self, connection: &mut PgConnection, bounds: &(String, i64, i64)) -> Result<Vec<Appended>, Failure> {
        let (channel, entries_max, key_window_ms) = bounds;
        let (ms, n, duplicates): (Vec<i64>, Vec<i64>, Vec<bool>) = sqlx::query_as(APPEND)
            .bind(&self.topic_ids)
            .bind(&self.user_ids)
            .bind(&self.topic_numbers)
            .bind(&self.times)
            .bind(&self.types)
            .bind(&self.categories)
            .bind(&self.scopes)
            .bind(&self.payloads)
            .bind(&self.keys)
            .bind(self.keys.iter().any(Option::is_some))
            .bind(entries_max)
            .bind(key_window_ms)
            .bind(channel)
            .bind(Hint::grown(&self.topics).text())
            .fetch_one(connection)
            .await?;
        if ms.len() != self.payloads.len() || n.len() != ms.len() || duplicates.len() != ms.len() {
            return Err(Failure::Unexpected("an append that was answered by halves"));
        }
        let ids = ms.into_iter().zip(n).map(|(ms, n)| EventId::timed(from_i64(ms), from_i64(n)));
        Ok(ids.zip(duplicates).map(|(id, duplicate)| Appended { id, duplicate }).collect())
    }
}
