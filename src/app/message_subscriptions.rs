//! Subscribing to a message: who may, and what is left of it for them.
//!
//! Invariant: another user's message and one that is not there are answered alike (promise 8),
//! also in time, before anything is taken.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    connection_record::ConnectionRecord,
    reader::Reader,
    refusal::Refusal,
    subscriptions::{Subscribed, Subscriptions},
};
use crate::domain::{
    access::{Forbidden, Principal, Scope},
    category::CategoryFilter,
    cursor::{Cursor, MessageStart},
    frame::StreamStyle,
    message::Observed,
    position::EventId,
    session::Session,
    timestamp::Timestamp,
    topic::{MessageId, UserId},
};

/// First and longest pause before a backend is asked again for a message that is not there yet.
const OPEN_POLL_FIRST: Duration = Duration::from_millis(50);
const OPEN_POLL_LONGEST: Duration = Duration::from_millis(500);

impl Subscriptions {
    /// Opens the stream of a message: of the principal's own, or of anyone's for a service that
    /// may read all. A reader may be faster than its producer, so it waits a while for the message
    /// to be opened.
    ///
    /// # Errors
    /// [`Refusal`]; the client's cursor is as good as before.
    pub async fn open_message(
        &self,
        principal: &Principal,
        id: &MessageId,
        request: MessageRequest,
    ) -> Result<MessageSubscribed, Refusal> {
        let MessageRequest { start, style, waits, wants_finished } = request;
        let reader = MessageReader::of(principal)?;
        let wait = if waits { self.options.open_wait } else { Duration::ZERO };
        let until = Instant::now() + wait;
        let (mut pause, mut waiting) = (OPEN_POLL_FIRST, None);
        let observed = loop {
            if let Some(draining) = self.draining() {
                return Ok(MessageSubscribed { subscribed: draining, last_sequence_no: None });
            }
            if let Some(observed) = self.readable_message(reader, id).await? {
                break observed;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refusal::NoSuchMessage);
            }
            waiting.get_or_insert_with(|| self.shared.signals.reader_waits());
            sleep(pause.min(left)).await;
            pause = OPEN_POLL_LONGEST.min(pause * 2);
        };
        let cursor = start.cursor(observed.message.next_sequence_no);
        let last_sequence_no = observed.message.last_sequence_no();
        if has_all(cursor, &observed) || (observed.message.end.is_some() && !wants_finished) {
            return Ok(MessageSubscribed { subscribed: Subscribed::MessageOver, last_sequence_no });
        }
        let owner = &observed.message.owner;
        let reader = if reader.user == Some(owner) {
            self.take_slot(owner).await?
        } else {
            Reader::Service(owner.clone())
        };
        let now = Instant::now().into_std();
        let policy = &self.options.policy;
        let session = Session::open_message(
            id.clone(),
            style,
            cursor,
            policy,
            observed.silent_for,
            now,
            self.expiry(principal),
        );
        let record = ConnectionRecord::of(cursor, &CategoryFilter::All);
        let mut subscription = self.follow(reader, session, record).await?;
        // A message has no age limit.
        subscription.begin(Timestamp::from_ms(0)).await?;
        let subscribed = Subscribed::Stream(subscription);
        Ok(MessageSubscribed { subscribed, last_sequence_no })
    }

    /// The message, if there is one and this reader may read it.
    async fn readable_message(
        &self,
        reader: MessageReader<'_>,
        id: &MessageId,
    ) -> Result<Option<Observed>, Refusal> {
        let observed = self.shared.messages.observe(id).await?;
        Ok(observed.filter(|observed| reader.may_read(&observed.message.owner)))
    }
}

/// What a reader of a message asks for.
#[derive(Clone, Debug)]
pub struct MessageRequest {
    /// Where it wants to begin.
    pub start: MessageStart,
    /// How it wants the stream written.
    pub style: StreamStyle,
    /// Whether it waits for a message that is not there yet.
    pub waits: bool,
    /// Whether it wants a message that has ended, or only to know that it has.
    pub wants_finished: bool,
}

/// What a reader of a message got.
pub struct MessageSubscribed {
    /// The stream, or what there is instead.
    pub subscribed: Subscribed,
    /// The number of the last event that the message had then, if there was one.
    pub last_sequence_no: Option<u64>,
}

/// Whose messages a principal may read.
#[derive(Clone, Copy)]
struct MessageReader<'a> {
    user: Option<&'a UserId>,
    reads_all: bool,
}

impl<'a> MessageReader<'a> {
    fn of(principal: &'a Principal) -> Result<Self, Forbidden> {
        let reads_all = principal.require(Scope::MessagesRead).is_ok();
        let user = if reads_all { principal.user.as_ref() } else { Some(principal.reader()?) };
        Ok(Self { user, reads_all })
    }

    fn may_read(self, owner: &UserId) -> bool {
        self.reads_all || self.user == Some(owner)
    }
}

/// Whether the client has taken the message's terminal event.
fn has_all(cursor: Cursor, observed: &Observed) -> bool {
    let last = observed.message.last_sequence_no().map(EventId::sequence);
    observed.message.end.is_some() && matches!(cursor, Cursor::After(id) if Some(id) == last)
}
