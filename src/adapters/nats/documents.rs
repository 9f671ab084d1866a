//! Small documents, one for each subject, that processes change in turn.
//!
//! Invariants: a change is made to the very state that it was decided on, or not at all; then it is
//! decided anew. That nothing is to change is decided on what the stream's leader has, never on
//! what is remembered alone.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{
    ends::Ends,
    entry::EXPECTED_LAST,
    failure::Failure,
    store::{Store, Tries, Write},
};

/// Documents that expire by themselves.
pub(super) struct Documents {
    pub(super) store: Arc<Store>,
    pub(super) remembered: Ends<Document>,
}

/// A document, as it was written last.
pub(super) struct Document {
    sequence: u64,
    content: Bytes,
}

/// What becomes of a document.
pub(super) enum Decision<A> {
    /// It stays as it is.
    Keep(A),
    /// It is written as it was changed, and expires after so long.
    Change(A, Duration),
}

impl Documents {
    /// Decides on a document, and changes it.
    pub(super) async fn change<D, A>(
        &self,
        subject: &str,
        mut decide: impl FnMut(&mut D) -> Decision<A> + Send,
    ) -> Result<A, Failure>
    where
        D: Default + Serialize + DeserializeOwned + Send,
        A: Send,
    {
        let mut remembered = self.remembered.of(subject).await;
        let mut tries = Tries::default();
        loop {
            let is_remembered = remembered.is_some();
            let Document { sequence, content } = match remembered.take() {
                Some(document) => document,
                None => self.look(subject).await?,
            };
            let mut document: D = read(&content)?;
            let (answer, expires_after) = match decide(&mut document) {
                Decision::Change(answer, expires_after) => (answer, expires_after),
                Decision::Keep(_) if is_remembered => continue,
                Decision::Keep(answer) => {
                    *remembered = Some(Document { sequence, content });
                    return Ok(answer);
                }
            };
            let content = Bytes::from(
                serde_json::to_vec(&document)
                    .map_err(|error| Failure::MalformedReply(error.to_string()))?,
            );
            let began = Instant::now();
            match self.write(subject, content.clone(), Some(sequence), expires_after).await {
                Ok(sequence) => {
                    remembered.wrote(began.elapsed(), tries.met_others());
                    *remembered = Some(Document { sequence, content });
                    return Ok(answer);
                }
                Err(failure) if tries.is_worth_another(&failure).await => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// A document, as the stream's leader has it.
    pub(super) async fn read<D: Default + DeserializeOwned>(
        &self,
        subject: &str,
    ) -> Result<D, Failure> {
        read(&self.look(subject).await?.content)
    }

    /// Writes something, to see whether that can be done.
    pub(super) async fn probe(&self, subject: &str) -> Result<(), Failure> {
        self.write(subject, Bytes::from_static(b"{}"), None, Duration::from_mins(1)).await.map(drop)
    }

    async fn look(&self, subject: &str) -> Result<Document, Failure> {
        let last = self.store.last(subject).await?;
        Ok(last.map_or(Document { sequence: 0, content: Bytes::new() }, |last| Document {
            sequence: last.sequence,
            content: last.payload,
        }))
    }

    async fn write(
        &self,
        subject: &str,
        content: Bytes,
        expected: Option<u64>,
        expires_after: Duration,
    ) -> Result<u64, Failure> {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-TTL", format!("{}s", expires_after.as_secs_f64().ceil().max(1.0)));
        if let Some(expected) = expected {
            headers.insert(EXPECTED_LAST, expected.to_string());
        }
        Ok(self
            .store
            .write(Write { subject: subject.to_owned(), headers, payload: content })
            .await?
            .seq)
    }
}

fn read<D: Default + DeserializeOwned>(content: &[u8]) -> Result<D, Failure> {
    if content.is_empty() {
        return Ok(D::default());
    }
    serde_json::from_slice(content)
        .map_err(|error| Failure::MalformedReply(format!("a document of limits: {error}")))
}
