//! Producing messages: from opening one to its end, and who may do what with it.
//!
//! Invariants: a message is shown to its owner, to producers, to services that read messages and
//! to admins; to anybody else it is as if it were not there (promise 8). A stop is a wish: it is
//! the producer that ends the message, so that it ends once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    expiry::expiry,
    signals::{Outcome, Signals},
};
use crate::{
    domain::{
        access::{Forbidden, MessageProducer, Principal, Scope},
        event::{Content, Event, EventType, Last, Terminal},
        idempotency_key::IdempotencyKey,
        json::Json,
        message::{AppendRefusal, MessageAppend, MessageAppended, Observed, OpenRefusal, Opened},
        topic::{MessageId, UserId},
    },
    ports::{backend_error::BackendError, clock::Clock, messages::Messages},
};

/// How often each process looks for messages that are over their time.
pub const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// Most messages that are removed in one call to the backend.
const SWEPT_AT_ONCE: usize = 500;

/// A producer's event, well-formed, before the server has added its part.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its type.
    pub event_type: EventType,
    /// What it carries.
    pub content: Content,
    /// Whether it ends the message.
    pub last: Last,
    /// Its number, if the producer counts.
    pub sequence_no: Option<u64>,
    /// Makes a repeat recognisable where there is no number.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// Why a producer, or who asks for a message, is turned down.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The principal may not produce.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There is no such message, or the principal has no business with it.
    #[error("there is no such message")]
    NoSuchMessage,
    /// It can't be opened.
    #[error(transparent)]
    Open(#[from] OpenRefusal),
    /// It does not take that.
    #[error(transparent)]
    Append(#[from] AppendRefusal),
    /// The backend could not do it.
    #[error(
        "the message backend is unavailable: try again, with the same number or Idempotency-Key"
    )]
    Backend(#[from] BackendError),
}

/// The use case.
pub struct Producing {
    messages: Arc<dyn Messages>,
    clock: Arc<dyn Clock>,
    signals: Arc<Signals>,
    /// The silence after which a producer is given up.
    producer_idle: Duration,
}

impl Producing {
    /// Producing over the given ports.
    pub fn new(
        messages: Arc<dyn Messages>,
        clock: Arc<dyn Clock>,
        signals: Arc<Signals>,
        producer_idle: Duration,
    ) -> Self {
        Self { messages, clock, signals, producer_idle }
    }

    /// The silence after which a producer is given up.
    pub const fn producer_idle(&self) -> Duration {
        self.producer_idle
    }

    /// When the producer's credentials end: what they produce after that is refused.
    pub fn expiry(&self, producer: &MessageProducer) -> Option<Instant> {
        expiry(producer.principal(), &*self.clock)
    }

    /// Opens a message of `owner`, or takes it over.
    ///
    /// # Errors
    /// [`ProduceError`].
    pub async fn open(
        &self,
        _: &MessageProducer,
        id: &MessageId,
        owner: &UserId,
        takeover: bool,
    ) -> Result<Opened, ProduceError> {
        Ok(self.messages.open(id, owner, takeover).await??)
    }

    /// Appends events in their order, up to the first that is refused.
    ///
    /// # Errors
    /// The backend's; a retry with the same numbers or keys is harmless.
    pub async fn append(
        &self,
        _: &MessageProducer,
        id: &MessageId,
        epoch: Option<u64>,
        drafts: Vec<Draft>,
    ) -> Result<Vec<Result<MessageAppended, AppendRefusal>>, BackendError> {
        let ts = self.clock.now();
        let events = drafts.len();
        let batch = drafts.into_iter().map(
            |Draft { event_type, content, last, sequence_no, idempotency_key }| {
                let event = Arc::new(Event {
                    event_type,
                    ts,
                    category: None,
                    scope: Json::empty_object(),
                    content,
                    last,
                });
                MessageAppend { event, sequence_no, idempotency_key }
            },
        );
        let answers = self.messages.append(id, epoch, batch.collect()).await.inspect_err(|_| {
            self.signals.message_appended(Outcome::Failed, events);
        })?;
        self.count(&answers);
        Ok(answers)
    }

    fn count(&self, answers: &[Result<MessageAppended, AppendRefusal>]) {
        let refused = answers.iter().filter(|answer| answer.is_err()).count();
        let duplicates = answers.iter().flatten().filter(|appended| appended.duplicate).count();
        self.signals.message_appended(Outcome::Appended, answers.len() - refused - duplicates);
        self.signals.message_appended(Outcome::Duplicate, duplicates);
        self.signals.message_appended(Outcome::Refused, refused);
    }

    /// Ends a message for a producer that has no terminal event of its own. A message that has
    /// ended stays as it is, and the answer is that of a repeat.
    ///
    /// # Errors
    /// [`ProduceError`]; a retry is harmless.
    pub async fn end(
        &self,
        producer: &MessageProducer,
        id: &MessageId,
        epoch: Option<u64>,
        terminal: Terminal,
    ) -> Result<MessageAppended, ProduceError> {
        let draft = Draft {
            event_type: terminal.into(),
            content: Content::Nothing,
            last: Last::AsItsType,
            sequence_no: None,
            idempotency_key: None,
        };
        let answer = self.append(producer, id, epoch, vec![draft]).await?.pop();
        match answer.unwrap_or(Err(AppendRefusal::Unknown)) {
            Err(AppendRefusal::Complete) => self.ended(id).await,
            answer => Ok(answer?),
        }
    }

    /// The answer for a message that has ended already.
    async fn ended(&self, id: &MessageId) -> Result<MessageAppended, ProduceError> {
        let Observed { message, .. } =
            self.messages.observe(id).await?.ok_or(AppendRefusal::Unknown)?;
        let sequence_no = message.last_sequence_no().ok_or(AppendRefusal::Unknown)?;
        Ok(MessageAppended { sequence_no, duplicate: true, stop_requested: message.stop_requested })
    }

    /// The producer lives.
    ///
    /// # Errors
    /// [`ProduceError`].
    pub async fn heartbeat(
        &self,
        _: &MessageProducer,
        id: &MessageId,
        epoch: Option<u64>,
    ) -> Result<Observed, ProduceError> {
        Ok(self.messages.heartbeat(id, epoch).await??)
    }

    /// The message, for its owner, a producer, a service that reads messages or an admin.
    ///
    /// # Errors
    /// [`ProduceError`].
    pub async fn view(
        &self,
        principal: &Principal,
        id: &MessageId,
    ) -> Result<Observed, ProduceError> {
        const MAY_LOOK: [Scope; 3] = [Scope::MessagesPublish, Scope::MessagesRead, Scope::Admin];
        self.message_for(principal, id, &MAY_LOOK).await
    }

    /// The message, for its owner or who has one of these scopes.
    async fn message_for(
        &self,
        principal: &Principal,
        id: &MessageId,
        scopes: &[Scope],
    ) -> Result<Observed, ProduceError> {
        let observed = self.messages.observe(id).await?.ok_or(ProduceError::NoSuchMessage)?;
        let is_owner = principal.user.as_ref() == Some(&observed.message.owner);
        let has_scope = scopes.iter().any(|scope| principal.require(*scope).is_ok());
        if is_owner || has_scope { Ok(observed) } else { Err(ProduceError::NoSuchMessage) }
    }

    /// The owner, or a producer, wants no more of the message.
    ///
    /// # Errors
    /// [`ProduceError`].
    pub async fn stop(
        &self,
        principal: &Principal,
        id: &MessageId,
    ) -> Result<Observed, ProduceError> {
        const MAY_STOP: [Scope; 2] = [Scope::MessagesPublish, Scope::Admin];
        self.message_for(principal, id, &MAY_STOP).await?;
        self.messages.request_stop(id).await?.ok_or(ProduceError::NoSuchMessage)
    }

    /// Whether a stop was asked for.
    ///
    /// # Errors
    /// The backend's.
    pub async fn stop_requested(
        &self,
        _: &MessageProducer,
        id: &MessageId,
    ) -> Result<bool, BackendError> {
        let observed = self.messages.observe(id).await?;
        Ok(observed.is_some_and(|observed| observed.message.stop_requested))
    }

    /// Removes a message.
    ///
    /// # Errors
    /// [`ProduceError`].
    pub async fn delete(&self, _: &MessageProducer, id: &MessageId) -> Result<(), ProduceError> {
        let removed = self.messages.delete(id).await?;
        if removed { Ok(()) } else { Err(ProduceError::NoSuchMessage) }
    }

    /// Removes messages whose time is over, for as long as it is polled.
    pub async fn keep_retention(self: Arc<Self>, retention: Duration) {
        let mut sweeps = tokio::time::interval(SWEEP_EVERY);
        loop {
            sweeps.tick().await;
            let removed = self.sweep(retention).await;
            if removed > 0 {
                tracing::info!(removed, "messages over their retention were removed");
            }
        }
    }

    /// Removes all messages that are over their time now, or as many as could be. Returns how many.
    pub async fn sweep(&self, retention: Duration) -> usize {
        let mut removed = 0;
        while let Ok(some @ 1..) = self.messages.sweep(retention, SWEPT_AT_ONCE).await {
            removed += some;
        }
        removed
    }
}
