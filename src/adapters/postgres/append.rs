//! Appends to users' topics, written together.
//!
//! Invariant: a batch is one statement, and so one transaction of one round trip: it is there whole
//! or not at all, and no head stays locked for longer than the server takes. Heads are locked in
//! the order of their topics' ids. Only where a topic is damaged, a transaction has a statement for
//! each topic, so that the others are there all the same.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt;
use sqlx::{Connection, PgConnection};

use super::{
    connection_pool::{ConnectionPool, Repeat, calling},
    failure::Failure,
    hint::Hint,
    numbers::{from_i64, millis, to_i64},
    stored_event::EventColumns,
};
use crate::{
    adapters::backend_kit::group_commit::{Job, Write},
    domain::{
        idempotency_key::IdempotencyKey,
        position::EventId,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        journal::{Append, Appended},
    },
};

/// Appends a batch. See `migrations/0008_contents.sql`.
pub(super) const APPEND: &str = "SELECT ids_ms, ids_n, duplicates FROM append_events($1::text[], $2::text[], $3::integer[], $4::bigint[], \
    $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::boolean, $12::bigint, $13::bigint, $14::text, $15::text)";

/// A batch of one caller.
pub(super) struct AppendJob(pub(super) Vec<Append>);

/// What one append is answered with.
pub(super) type AppendAnswer = Result<Appended, BackendError>;

impl Job for AppendJob {
    type Answer = Vec<AppendAnswer>;

    fn size(&self) -> (usize, usize) {
        (self.0.len(), self.0.iter().map(|append| append.event.cost_bytes()).sum())
    }
}

/// Writes batches of users' events.
pub(super) struct AppendWriter {
    pub(super) pool: ConnectionPool,
    pub(super) bounds: AppendBounds,
}

/// What appends get beside their events.
#[derive(Clone)]
pub(super) struct AppendBounds {
    channel: String,
    stream_maxlen: i64,
    key_window_ms: i64,
}

impl AppendBounds {
    pub(super) fn new(channel: String, stream_maxlen: usize, idempotency_window: Duration) -> Self {
        Self {
            channel,
            stream_maxlen: to_i64(stream_maxlen as u64),
            key_window_ms: millis(idempotency_window),
        }
    }
}

const CONTEXT: &str = "appending to the journal";

#[async_trait]
impl Write<AppendJob> for AppendWriter {
    async fn write(&self, jobs: &[AppendJob]) -> Result<Vec<Vec<AppendAnswer>>, BackendError> {
        let appends: Vec<&Append> = jobs.iter().flat_map(|job| &job.0).collect();
        let answers = match self.write_together(&appends).await {
            Err(error) if error.kind == BackendErrorKind::Rejected => {
                self.write_apart(&appends).await?
            }
            written => written?.into_iter().map(Ok).collect(),
        };
        let mut answers = answers.into_iter();
        Ok(jobs.iter().map(|job| answers.by_ref().take(job.0.len()).collect()).collect())
    }
}

impl AppendWriter {
    async fn write_together(&self, appends: &[&Append]) -> Result<Vec<Appended>, BackendError> {
        let columns = Arc::new(AppendColumns::of(appends.iter().copied()));
        let write = calling(|connection| {
            let (columns, bounds) = (Arc::clone(&columns), self.bounds.clone());
            async move { columns.append(connection, &bounds).await }.boxed()
        });
        self.pool.call(CONTEXT, Repeat::Harmful, write).await
    }

    /// Writes each topic apart, in one transaction all the same, where the rows of a topic are what
    /// is wrong: that topic is damaged, and the others are not to suffer by it.
    async fn write_apart(&self, appends: &[&Append]) -> Result<Vec<AppendAnswer>, BackendError> {
        let mut by_user: BTreeMap<&UserId, Vec<usize>> = BTreeMap::new();
        for (place, append) in appends.iter().enumerate() {
            by_user.entry(&append.user).or_default().push(place);
        }
        let batches = by_user
            .values()
            .map(|places| AppendColumns::of(places.iter().map(|place| appends[*place])));
        let batches: Arc<[AppendColumns]> = batches.collect();
        let write = calling(|connection| {
            let (batches, bounds) = (Arc::clone(&batches), self.bounds.clone());
            async move { append_each(connection, &batches, &bounds).await }.boxed()
        });
        let written = self.pool.call(CONTEXT, Repeat::Harmful, write).await?;
        let mut answers: Vec<Option<AppendAnswer>> = appends.iter().map(|_| None).collect();
        for ((user, places), written) in by_user.into_iter().zip(written) {
            let mut appended = written.map(Vec::into_iter);
            for place in places {
                answers[place] = match &mut appended {
                    Ok(appended) => appended.next().map(Ok),
                    Err(why) => Some(Err(BackendError::damaged(
                        CONTEXT,
                        Topic::User(user.clone()),
                        why.clone(),
                    ))),
                };
            }
        }
        let unanswered =
            || Failure::Unexpected("an append that was not answered").into_backend_error(CONTEXT);
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(unanswered()))).collect())
    }
}

/// Appends each batch; says of each that failed why, where that is for what its rows hold.
async fn append_each(
    connection: &mut PgConnection,
    batches: &[AppendColumns],
    bounds: &AppendBounds,
) -> Result<Vec<Result<Vec<Appended>, String>>, Failure> {
    let mut transaction = connection.begin().await?;
    let mut written = Vec::with_capacity(batches.len());
    for columns in batches {
        let mut savepoint = transaction.begin().await?;
        written.push(match columns.append(&mut savepoint, bounds).await {
            Ok(appended) => {
                savepoint.commit().await?;
                Ok(appended)
            }
            Err(failure) if failure.is_about_rows() => {
                savepoint.rollback().await?;
                Err(failure.to_string())
            }
            Err(failure) => return Err(failure),
        });
    }
    transaction.commit().await?;
    Ok(written)
}

/// The columns of a batch.
#[derive(Default)]
struct AppendColumns {
    topics: Vec<Topic>,
    topic_ids: Vec<String>,
    user_ids: Vec<String>,
    topic_numbers: Vec<i32>,
    times: Vec<i64>,
    types: Vec<String>,
    categories: Vec<Option<String>>,
    scopes: Vec<String>,
    payloads: Vec<String>,
    attributes: Vec<Option<String>>,
    keys: Vec<Option<String>>,
    /// For each append the place of its event in the columns.
    places: Vec<usize>,
}

impl AppendColumns {
    fn of<'a>(appends: impl Iterator<Item = &'a Append> + Clone) -> Self {
        let users: BTreeSet<&UserId> = appends.clone().map(|append| &append.user).collect();
        let mut columns = Self {
            topics: users.iter().map(|user| Topic::User((*user).clone())).collect(),
            topic_ids: users.iter().map(|user| user.as_str().to_owned()).collect(),
            ..Self::default()
        };
        // Postgres counts from 1.
        let numbers: HashMap<&UserId, i32> = users.into_iter().zip(1..).collect();
        let mut first_of_key: HashMap<(i32, &IdempotencyKey), usize> = HashMap::new();
        for append in appends {
            let Some(number) = numbers.get(&append.user).copied() else { continue };
            let place = columns.payloads.len();
            let first = append
                .idempotency_key
                .as_ref()
                .map(|key| *first_of_key.entry((number, key)).or_insert(place));
            columns.places.push(first.unwrap_or(place));
            if first.is_none_or(|first| first == place) {
                columns.push(append, number);
            }
        }
        columns
    }

    fn push(&mut self, append: &Append, topic_number: i32) {
        let Append { user, event, idempotency_key } = append;
        self.user_ids.push(user.as_str().to_owned());
        self.topic_numbers.push(topic_number);
        self.times.push(to_i64(event.ts.as_ms()));
        let EventColumns { event_type, payload, attributes } = EventColumns::of(event);
        self.types.push(event_type);
        self.categories.push(event.category.as_ref().map(|category| category.as_str().to_owned()));
        self.scopes.push(event.scope.as_str().to_owned());
        self.payloads.push(payload);
        self.attributes.push(attributes);
        self.keys.push(idempotency_key.as_ref().map(|key| key.as_str().to_owned()));
    }

    async fn append(
        &self,
        connection: &mut PgConnection,
        bounds: &AppendBounds,
    ) -> Result<Vec<Appended>, Failure> {
        let (ms, n, duplicates): (Vec<i64>, Vec<i64>, Vec<bool>) = sqlx::query_as(APPEND)
            .bind(&self.topic_ids)
            .bind(&self.user_ids)
            .bind(&self.topic_numbers)
            .bind(&self.times)
            .bind(&self.types)
            .bind(&self.categories)
            .bind(&self.scopes)
            .bind(&self.payloads)
            .bind(&self.attributes)
            .bind(&self.keys)
            .bind(self.keys.iter().any(Option::is_some))
            .bind(bounds.stream_maxlen)
            .bind(bounds.key_window_ms)
            .bind(&bounds.channel)
            .bind(Hint::grown(&self.topics).text())
            .fetch_one(connection)
            .await?;
        if ms.len() != self.payloads.len() || n.len() != ms.len() || duplicates.len() != ms.len() {
            return Err(Failure::Unexpected("an append that was answered by halves"));
        }
        let ids = ms.into_iter().zip(n).map(|(ms, n)| EventId::timed(from_i64(ms), from_i64(n)));
        let written: Vec<(EventId, bool)> = ids.zip(duplicates).collect();
        // Each append finds the answer of its event, or of the first that had its key.
        let mut seen = vec![false; written.len()];
        let answer = |place: &usize| {
            let (id, duplicate) = written[*place];
            Appended { id, duplicate: duplicate || std::mem::replace(&mut seen[*place], true) }
        };
        Ok(self.places.iter().map(answer).collect())
    }
}
