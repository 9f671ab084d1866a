//! Subscribing to a message: who may, and what is left of it for them.
//!
//! Invariant: another user's message and one that is not there are answered alike (promise 8),
//! also in time, before anything is taken.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    connection_record::ConnectionRecord,
    refusal::Refusal,
    subscriptions::{Subscribed, Subscriptions},
};
use crate::domain::{
    access::Principal,
    category::CategoryFilter,
    cursor::Cursor,
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
    /// Opens the stream of one of the principal's own messages. A reader may be faster than its
    /// producer, so it waits a while for the message to be opened.
    ///
    /// # Errors
    /// [`Refusal`]; the client's cursor is as good as before.
    pub async fn open_message(
        &self,
        principal: &Principal,
        id: MessageId,
        cursor: Cursor,
        style: StreamStyle,
    ) -> Result<Subscribed, Refusal> {
        let user = principal.reader()?;
        let until = Instant::now() + self.options.open_wait;
        let (mut pause, mut waiting) = (OPEN_POLL_FIRST, None);
        let observed = loop {
            if let Some(draining) = self.draining() {
                return Ok(draining);
            }
            if let Some(observed) = self.own_message(user, id).await? {
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
        if has_all(cursor, &observed) {
            return Ok(Subscribed::MessageOver);
        }
        let reader = self.take_slot(user).await?;
        let now = Instant::now().into_std();
        let policy = &self.options.policy;
        let session = Session::open_message(
            id,
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
        Ok(Subscribed::Stream(subscription))
    }

    /// The message, if there is one and it is the user's.
    async fn own_message(&self, user: &UserId, id: MessageId) -> Result<Option<Observed>, Refusal> {
        let observed = self.shared.messages.observe(id).await?;
        Ok(observed.filter(|observed| observed.message.owner == *user))
    }
}

/// Whether the client has taken the message's terminal event.
fn has_all(cursor: Cursor, observed: &Observed) -> bool {
    let last = observed.message.last_sequence_no().map(EventId::sequence);
    observed.message.end.is_some() && matches!(cursor, Cursor::After(id) if Some(id) == last)
}
