//! A stream of JetStream, as what is kept in it is read and written.
//!
//! Invariants: what the stream's leader has acknowledged is read, also where replicas lag behind:
//! where entries are, and what the last one is, is asked of the leader, and what a replica lacks as
//! well; nothing is written that was not meant for what is there (each write names the subject's
//! last sequence); no consumer is made.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::{HeaderMap, Message};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;

use super::{
    connection::Connection,
    failure::{ApiError, Failure},
    incarnation::Incarnation,
    stream_info::{Info, Subjects},
    streams::Streams,
};
use crate::{domain::timestamp::Timestamp, ports::entropy::Entropy};

/// Most messages of one atomic batch, as the server has it by default.
pub(super) const BATCH_MAX: usize = 1_000;
/// Most messages that are read at once, each by a request of its own.
const READS_AT_ONCE: usize = 16;
/// Most bytes that one request may ask for.
const BYTES_MAX: usize = 1 << 30;
/// Sequences of a subject that lie this close together are read by one request, which passes over
/// what lies between.
const NEAR_ENOUGH: u64 = 64;
/// Longest pause between two tries of a write that others are in the way of. It is short: who is in
/// the way rests now and then.
const PAUSE_AMONG_OTHERS_MAX_MS: u64 = 4;
/// Longest pause between two tries of a write where the server has something to settle first.
const PAUSE_MAX_MS: u64 = 128;

/// A stream.
pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) name: String,
    pub(super) incarnation: Arc<Incarnation>,
    pub(super) streams: Arc<Streams>,
}

/// A message as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) subject: String,
    pub(super) sequence: u64,
    /// When the server took it, by its clock.
    pub(super) time: Timestamp,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// What is to be kept.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// The stream's word on a write.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ack {
    #[serde(default)]
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) duplicate: bool,
    /// Why it was not done.
    #[serde(default)]
    error: Option<ApiError>,
}

impl Ack {
    pub(super) fn read(payload: &[u8]) -> Result<Self, Failure> {
        let mut ack: Self = serde_json::from_slice(payload)
            .map_err(|error| Failure::MalformedReply(error.to_string()))?;
        ack.error.take().map_or(Ok(ack), |error| Err(Failure::Refused(error)))
    }
}

/// What of some messages was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Those that were read, up to the limit, in their order.
    pub(super) messages: Vec<Stored>,
    /// Whether one of those before the last is gone.
    pub(super) some_are_gone: bool,
}

#[derive(Deserialize)]
struct SubjectsAnswer {
    #[serde(default)]
    total: u64,
    state: SubjectsState,
}

#[derive(Deserialize)]
struct SubjectsState {
    /// Each with the number of its messages.
    #[serde(default)]
    subjects: BTreeMap<String, u64>,
}

/// A message as the leader shows it.
#[derive(Deserialize)]
struct LeadersAnswer {
    message: LeadersMessage,
}

#[derive(Deserialize)]
struct LeadersMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: Option<String>,
    #[serde(default)]
    data: Option<String>,
    time: String,
}

impl Store {
    /// What is known of the stream now.
    pub(super) async fn info(&self) -> Result<Info, Failure> {
        let info = Box::pin(self.streams.info(&self.connection, &self.name)).await?;
        self.incarnation.learn(&info);
        Ok(info)
    }

    /// Subjects of the stream, some at a time, behind the first `offset`.
    pub(super) async fn subjects(&self, offset: u64) -> Result<Subjects, Failure> {
        let question = json!({ "subjects_filter": ">", "offset": offset });
        let what = format!("STREAM.INFO.{}", self.name);
        let answer: SubjectsAnswer = self.connection.ask(&what, &question).await?;
        Ok(Subjects { subjects: answer.state.subjects.into_keys().collect(), total: answer.total })
    }

    /// The last message of a subject.
    pub(super) async fn last(&self, subject: &str) -> Result<Option<Stored>, Failure> {
        self.ask_leader(json!({ "last_by_subj": subject })).await
    }

    /// The first message of some subjects at or behind a sequence.
    pub(super) async fn first_from(
        &self,
        subject: &str,
        sequence: u64,
    ) -> Result<Option<Stored>, Failure> {
        self.ask_leader(json!({ "seq": sequence.max(1), "next_by_subj": subject })).await
    }

    /// The first message of a subject that the server took at a time or later.
    pub(super) async fn first_since(
        &self,
        subject: &str,
        since: Timestamp,
    ) -> Result<Option<Stored>, Failure> {
        self.ask_leader(json!({ "start_time": since, "next_by_subj": subject })).await
    }

    /// The message with a sequence.
    pub(super) async fn at(&self, sequence: u64) -> Result<Option<Stored>, Failure> {
        self.ask_leader(json!({ "seq": sequence })).await
    }

    async fn ask_leader(&self, question: serde_json::Value) -> Result<Option<Stored>, Failure> {
        let what = format!("STREAM.MSG.GET.{}", self.name);
        match self.with_stream(|| self.connection.ask::<LeadersAnswer>(&what, &question)).await {
            Ok(LeadersAnswer { message }) => {
                let message = message.read()?;
                if message
                    .created_ms()
                    .is_some_and(|created_ms| created_ms != self.incarnation.created_ms())
                {
                    self.info().await?;
                }
                Ok(Some(message))
            }
            Err(failure) if failure.is_no_message() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Messages of one subject, by their sequences in rising order, up to so many bytes, but at
    /// least one.
    pub(super) async fn messages(
        &self,
        subject: &str,
        sequences: &[u64],
        bytes_max: usize,
    ) -> Result<Found, Failure> {
        let runs = sequences.chunk_by(|one, next| next - one <= NEAR_ENOUGH);
        let reads: Vec<_> = runs.map(|run| self.run(subject, run, bytes_max)).collect();
        let mut reading = stream::iter(reads).buffered(READS_AT_ONCE);
        let mut found =
            Found { messages: Vec::with_capacity(sequences.len()), some_are_gone: false };
        let mut bytes = 0;
        while let Some((messages, is_cut)) = reading.try_next().await? {
            for message in messages {
                match message {
                    Some(message) => {
                        bytes += message.payload.len();
                        found.messages.push(message);
                    }
                    None => found.some_are_gone = true,
                }
            }
            if is_cut || bytes >= bytes_max {
                break;
            }
        }
        Ok(found)
    }

    /// The messages of a run of sequences, and whether there were too many bytes for all.
    async fn run(
        &self,
        subject: &str,
        run: &[u64],
        bytes_max: usize,
    ) -> Result<(Vec<Option<Stored>>, bool), Failure> {
        // One by itself has its sequence alone: the server then counts nothing.
        let read = if let [only] = run {
            self.one(*only)
                .await?
                .into_iter()
                .filter(|message| message.subject == subject)
                .collect()
        } else {
            let bytes_max = bytes_max.clamp(1, BYTES_MAX);
            self.several(&json!({ "seq": run[0], "next_by_subj": subject, "batch": run.len(), "max_bytes": bytes_max })).await?
        };
        let bytes: usize = read.iter().map(|message| message.payload.len()).sum();
        let mut found: BTreeMap<u64, Stored> =
            read.into_iter().map(|message| (message.sequence, message)).collect();
        // The server stops behind the message that brings it over the limit, with what else it
        // counts as bytes.
        let is_cut = found.len() < run.len() && bytes + 1_024 * found.len() >= bytes_max;
        let last = found.keys().last().copied();
        let within = run
            .iter()
            .take_while(|sequence| !is_cut || last.is_some_and(|last| **sequence <= last));
        let mut messages = Vec::with_capacity(run.len());
        for sequence in within {
            messages.push(match found.remove(sequence) {
                Some(message) => Some(message),
                // It is gone; or a replica was asked that does not have it yet.
                None => self.at(*sequence).await?.filter(|message| message.subject == subject),
            });
        }
        Ok((messages, is_cut))
    }

    /// One message by a direct request, as any replica has it.
    async fn one(&self, sequence: u64) -> Result<Option<Stored>, Failure> {
        let what = format!("DIRECT.GET.{}", self.name);
        let answer = self.connection.ask_directly(&what, &json!({ "seq": sequence })).await?;
        match answer.status.map(|status| status.as_u16()) {
            None => read_direct(answer).map(Some),
            Some(404) => Ok(None),
            Some(status) => {
                Err(Failure::MalformedReply(format!("status {status} to a direct request")))
            }
        }
    }

    /// Messages by a direct request, as any replica has them.
    pub(super) async fn several(
        &self,
        question: &serde_json::Value,
    ) -> Result<Vec<Stored>, Failure> {
        let what = format!("DIRECT.GET.{}", self.name);
        let mut answers = self.connection.ask_for_several(&what, question).await?;
        let mut messages = Vec::new();
        loop {
            let answer = self.connection.next_of(&mut answers).await?;
            match answer.status.map(|status| status.as_u16()) {
                None => messages.push(read_direct(answer)?),
                // The end; or nothing was found.
                Some(204 | 404) => return Ok(messages),
                Some(status) => {
                    return Err(Failure::MalformedReply(format!(
                        "status {status} to a direct request"
                    )));
                }
            }
        }
    }

    /// Keeps several messages, at most [`BATCH_MAX`], all or none: under sequences in a row, of
    /// which the answer tells the last.
    pub(super) async fn write_all(
        &self,
        mut writes: Vec<Write>,
        entropy: &dyn Entropy,
    ) -> Result<Ack, Failure> {
        match writes.pop() {
            Some(only) if writes.is_empty() => self.write(only).await,
            Some(last) => {
                self.write_together(writes, last, &entropy.uuid().simple().to_string()).await
            }
            None => Err(Failure::MalformedReply("there is nothing to write".to_owned())),
        }
    }

    /// Keeps one message.
    pub(super) async fn write(&self, write: Write) -> Result<Ack, Failure> {
        let Write { subject, headers, payload } = write;
        let request =
            || self.connection.request(subject.clone(), Some(headers.clone()), payload.clone());
        Ack::read(&self.with_stream(request).await?.payload)
    }

    async fn write_together(
        &self,
        before: Vec<Write>,
        last: Write,
        batch: &str,
    ) -> Result<Ack, Failure> {
        let number = |headers: &mut HeaderMap, number: usize| {
            headers.insert("Nats-Batch-Id", batch);
            headers.insert("Nats-Batch-Sequence", number.to_string());
        };
        let count = before.len() + 1;
        for (place, Write { subject, mut headers, payload }) in (1..).zip(before) {
            number(&mut headers, place);
            self.connection.send(subject, headers, payload).await?;
        }
        let Write { subject, mut headers, payload } = last;
        number(&mut headers, count);
        headers.insert("Nats-Batch-Commit", "1");
        Ack::read(&self.connection.request(subject, Some(headers), payload).await?.payload)
    }

    /// Removes the messages of a subject before a sequence; all, where there is none. How many
    /// there were.
    pub(super) async fn purge(&self, subject: &str, before: Option<u64>) -> Result<u64, Failure> {
        #[derive(Deserialize)]
        struct Purged {
            purged: u64,
        }
        let mut question = json!({ "filter": subject });
        if let Some(before) = before {
            question["seq"] = before.into();
        }
        let Purged { purged } =
            self.connection.ask(&format!("STREAM.PURGE.{}", self.name), &question).await?;
        Ok(purged)
    }

    /// Does what needs the stream; makes it, where it is gone, and tries again.
    async fn with_stream<T, Call: Future<Output = Result<T, Failure>>>(
        &self,
        call: impl Fn() -> Call,
    ) -> Result<T, Failure> {
        match call().await {
            Err(failure) if failure.is_no_stream() => {
                self.make_again().await?;
                call().await
            }
            answer => answer,
        }
    }

    /// Makes the stream where it is gone.
    pub(super) async fn make_again(&self) -> Result<(), Failure> {
        // It is large, and is seldom needed.
        Box::pin(self.streams.make_again(&self.connection)).await?;
        self.info().await.map(drop)
    }
}

/// The tries of what may fail by what others do meanwhile. Who tries bounds them in time.
#[derive(Default)]
pub(super) struct Tries {
    failed: u32,
    met_others: bool,
}

impl Tries {
    /// Whether to begin anew, after a pause where that did not help before.
    pub(super) async fn is_worth_another(&mut self, failure: &Failure) -> bool {
        let is_conflict = failure.is_conflict();
        if !(is_conflict || failure.is_momentary()) {
            return false;
        }
        self.met_others |= is_conflict;
        self.failed = self.failed.saturating_add(1);
        if self.failed > 2 {
            let pause_max_ms = if is_conflict { PAUSE_AMONG_OTHERS_MAX_MS } else { PAUSE_MAX_MS };
            tokio::time::sleep(Duration::from_millis((1 << self.failed.min(16)).min(pause_max_ms)))
                .await;
        }
        true
    }

    /// Whether another write was in the way.
    pub(super) const fn met_others(&self) -> bool {
        self.met_others
    }
}

impl LeadersMessage {
    fn read(self) -> Result<Stored, Failure> {
        let malformed = || {
            Failure::MalformedReply(format!("message {} is not as a leader shows one", self.seq))
        };
        let bytes = |text: &Option<String>| {
            BASE64.decode(text.as_deref().unwrap_or_default()).map_err(|_| malformed())
        };
        Ok(Stored {
            headers: read_headers(&bytes(&self.hdrs)?),
            payload: bytes(&self.data)?.into(),
            time: Timestamp::parse(&self.time).ok_or_else(malformed)?,
            sequence: self.seq,
            subject: self.subject,
        })
    }
}

/// Headers as they stand in a stored message: a line of version, then one each.
fn read_headers(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(bytes).split("\r\n").skip(1) {
        if let Some((name, value)) = line.split_once(':')
            && let (Ok(name), Ok(value)) = (
                name.parse::<async_nats::HeaderName>(),
                value.trim().parse::<async_nats::HeaderValue>(),
            )
        {
            headers.append(name, value);
        }
    }
    headers
}

fn read_direct(message: Message) -> Result<Stored, Failure> {
    let headers = message.headers.unwrap_or_default();
    let of = |name: &str| headers.get_last(name).map(|value| value.as_str().to_owned());
    let read = || {
        let (subject, sequence) = (of("Nats-Subject")?, of("Nats-Sequence")?.parse().ok()?);
        Some((subject, sequence, Timestamp::parse(&of("Nats-Time-Stamp")?)?))
    };
    let (subject, sequence, time) =
        read().ok_or_else(|| Failure::MalformedReply("a message without its place".to_owned()))?;
    Ok(Stored { subject, sequence, time, headers, payload: message.payload })
}
