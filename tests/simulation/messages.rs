//! Messages of a world: what one process has of the port, and what really happened.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use rejoin::{
    domain::{
        cursor::Bounds,
        message::{AppendRefusal, MessageAppend, MessageAppended, Observed, OpenRefusal, Opened},
        page::{Page, PageLimit},
        position::Position,
        topic::{MessageId, Topic, UserId},
    },
    ports::{backend_error::BackendError, messages::Messages, topic_log::TopicLog},
};

use crate::{
    backend::{Backend, FaultyJournal},
    faults::Faults,
};

/// What was appended to each message, in the order of its numbers: type and payload.
#[derive(Default)]
pub(crate) struct Appends(Mutex<HashMap<MessageId, Vec<(String, String)>>>);

impl Appends {
    pub(crate) fn of(&self, id: &MessageId) -> Vec<(String, String)> {
        self.0.lock().unwrap().get(id).cloned().unwrap_or_default()
    }

    fn was_opened(&self, id: &MessageId) -> bool {
        self.0.lock().unwrap().contains_key(id)
    }

    fn open(&self, id: MessageId) {
        self.0.lock().unwrap().entry(id).or_default();
    }

    /// What a backend has accepted comes next in its message.
    fn accept(
        &self,
        id: MessageId,
        batch: &[MessageAppend],
        answers: &[Result<MessageAppended, AppendRefusal>],
    ) {
        let mut appends = self.0.lock().unwrap();
        let events = appends.entry(id).or_default();
        for (append, appended) in
            batch.iter().zip(answers).filter_map(|(append, answer)| Some((append, answer.ok()?)))
        {
            let event = (
                append.event.event_type.as_str().to_owned(),
                append.event.content.payload().unwrap().as_str().to_owned(),
            );
            let number = usize::try_from(appended.sequence_no).unwrap();
            if appended.duplicate {
                assert_eq!(
                    events.get(number),
                    Some(&event),
                    "promise 5: a repeat of {number} is another event"
                );
            } else {
                assert_eq!(number, events.len(), "numbers have a hole or a repeat");
                assert!(
                    !events.last().is_some_and(|(last, _)| last == "end" || last == "error"),
                    "{event:?} follows the end"
                );
                events.push(event);
            }
        }
    }
}

/// One process's way to the messages.
pub(crate) struct FaultyMessages {
    backend: Arc<Backend>,
    faults: Arc<Faults>,
    log: Arc<FaultyJournal>,
}

impl FaultyMessages {
    pub(crate) fn new(backend: Arc<Backend>, faults: Arc<Faults>, log: Arc<FaultyJournal>) -> Self {
        Self { backend, faults, log }
    }

    async fn call<T: std::fmt::Debug, Calling: Future<Output = Result<T, BackendError>>>(
        &self,
        what: &str,
        call: impl FnOnce() -> Calling,
    ) -> Result<T, BackendError> {
        self.faults.delay_journal().await;
        self.faults.request()?;
        let answer = call().await?;
        self.backend.history.note(what, &answer);
        self.faults.delay_journal().await;
        self.faults.answer(answer)
    }
}

#[async_trait]
impl Messages for FaultyMessages {
    async fn open(
        &self,
        id: &MessageId,
        owner: &UserId,
        takeover: bool,
    ) -> Result<Result<Opened, OpenRefusal>, BackendError> {
        let open = async || {
            let journal = self.backend.journal();
            // An id is used once in a world: what is gone stays gone.
            if self.backend.appends.was_opened(id) && journal.observe(id).await?.is_none() {
                return Ok(Err(OpenRefusal::Another));
            }
            self.backend.appends.open(id.clone());
            journal.open(id, owner, takeover).await
        };
        self.call("opened", open).await
    }

    async fn append(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Result<Vec<Result<MessageAppended, AppendRefusal>>, BackendError> {
        let append = async || {
            let journal = self.backend.journal();
            let answers = Messages::append(&*journal, id, epoch, batch.clone()).await?;
            self.backend.appends.accept(id.clone(), &batch, &answers);
            let now = journal.observe(id).await?;
            let is_fenced = epoch.zip(now).is_some_and(|(epoch, now)| epoch != now.message.epoch);
            assert!(
                !is_fenced || answers.iter().all(Result::is_err),
                "a producer that was taken over from has appended"
            );
            Ok(answers)
        };
        self.call("appended to a message", append).await
    }

    async fn heartbeat(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
    ) -> Result<Result<Observed, AppendRefusal>, BackendError> {
        self.call("heartbeat", async || self.backend.journal().heartbeat(id, epoch).await).await
    }

    async fn request_stop(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        self.call("stop requested", async || self.backend.journal().request_stop(id).await).await
    }

    async fn observe(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        self.call("observed", async || self.backend.journal().observe(id).await).await
    }

    async fn delete(&self, id: &MessageId) -> Result<bool, BackendError> {
        self.call("deleted", async || self.backend.journal().delete(id).await).await
    }

    async fn sweep(
        &self,
        silent_for: Duration,
        messages_max: usize,
    ) -> Result<usize, BackendError> {
        self.call("swept", async || self.backend.journal().sweep(silent_for, messages_max).await)
            .await
    }
}

#[async_trait]
impl TopicLog for FaultyMessages {
    async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        self.log.read(topic, after, limit).await
    }

    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        self.log.bounds(topic).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.log.probe().await
    }
}
