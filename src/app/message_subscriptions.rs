//! Subscribing to a message: who may, and what is left of it for them.
//!
//! Invariant: somebody else's message and one that is not there are answered alike (promise 8), before anything is taken.

use std::sync::Arc;

use tokio::time::Instant;

use super::subscriptions::{Refusal, Subscribed, Subscriptions};
use crate::domain::{
    access::Principal,
    cursor::Cursor,
    message::Observed,
    position::EventId,
    session::Session,
    timestamp::Timestamp,
    topic::{MessageId, Topic},
};

impl Subscriptions {
    /// Opens the stream of one of the principal's own messages.
    ///
    /// # Errors
    /// [`Refusal`]; the client's cursor is as good as before.
    pub async fn open_message(&self, principal: &Principal, id: MessageId, cursor: Cursor) -> Result<Subscribed, Refusal> {
        let user = principal.reader()?;
        if let Some(draining) = self.draining() {
            return Ok(draining);
        }
        let topic = Topic::Message(id);
        let observed = self.sources.of(&topic).availability.observe(self.messages.observe(id).await)?;
        let observed = observed.filter(|observed| observed.message.owner == *user).ok_or(Refusal::NoSuchMessage)?;
        if has_all(cursor, &observed) {
            return Ok(Subscribed::MessageOver);
        }
        let place = self.take_place(user, &topic).await?;
        let now = Instant::now().into_std();
        let (policy, producer_idle) = (&self.options.policy, self.options.producer_idle);
        let session = Session::open_message(id, cursor, policy, producer_idle, observed.silent_for, now, self.expiry(principal));
        let mut subscription = self.subscription(place, session);
        subscription.messages = Some(Arc::clone(&self.messages));
        // A message has no age limit, and its reader is not held to a budget: the answer is all it can get.
        self.begin(&mut subscription, Timestamp::from_ms(0), None).await?;
        Ok(Subscribed::Stream(subscription))
    }
}

/// Whether the client has taken the message's terminal event.
fn has_all(cursor: Cursor, observed: &Observed) -> bool {
    let last = observed.message.last_sequence_no().map(EventId::sequence);
    observed.message.end.is_some() && matches!(cursor, Cursor::After(id) if Some(id) == last)
}
