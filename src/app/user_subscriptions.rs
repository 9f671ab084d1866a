//! Subscribing to a user's events: as a client of theirs, or as an operator who looks on.
//!
//! Invariant: the user is the principal's own; to name another takes an [`Operator`].

use tokio::time::Instant;

use super::{
    connection_record::ConnectionRecord,
    reader::Reader,
    refusal::Refusal,
    subscriptions::{SubscribeRequest, Subscribed, Subscriptions},
};
use crate::domain::{
    access::{Operator, Principal},
    category::CategoryFilter,
    session::Session,
    topic::{Topic, UserId},
};

impl Subscriptions {
    /// Opens the stream of the principal's own events.
    ///
    /// # Errors
    /// [`Refusal`]; the client's cursor is as good as before.
    pub async fn open(
        &self,
        principal: &Principal,
        request: SubscribeRequest,
    ) -> Result<Subscribed, Refusal> {
        let user = principal.reader()?;
        let filter =
            CategoryFilter::resolve(request.categories.clone(), principal.categories.as_ref())?;
        if let Some(nothing) = self.nothing_to_follow() {
            return Ok(nothing);
        }
        let reader = self.take_slot(user).await?;
        self.begin(reader, &request, filter, principal).await
    }

    /// Opens a stream of `user`'s events for an operator. It takes no slot of theirs and nothing of
    /// their budget, and stays when their connections are closed; in all else it is a stream as any
    /// other.
    ///
    /// # Errors
    /// [`Refusal`]; the operator's cursor is as good as before.
    pub async fn open_for_operator(
        &self,
        operator: &Operator,
        user: &UserId,
        request: SubscribeRequest,
    ) -> Result<Subscribed, Refusal> {
        let operator = operator.principal();
        let filter =
            CategoryFilter::resolve(request.categories.clone(), operator.categories.as_ref())?;
        if let Some(nothing) = self.nothing_to_follow() {
            return Ok(nothing);
        }
        self.begin(Reader::Operator(user.clone()), &request, filter, operator).await
    }

    async fn begin(
        &self,
        reader: Reader,
        request: &SubscribeRequest,
        filter: CategoryFilter,
        principal: &Principal,
    ) -> Result<Subscribed, Refusal> {
        let topic = Topic::User(reader.user().clone());
        let (cursor, style) = (request.cursor, request.style.clone());
        let record = ConnectionRecord::of(cursor, &filter);
        let now = Instant::now().into_std();
        let session = Session::open(
            topic,
            style,
            cursor,
            filter,
            &self.options.policy,
            now,
            self.expiry(principal),
        );
        let mut subscription = self.follow(reader, session, record).await?;
        subscription.begin(self.oldest_ts()).await?;
        Ok(Subscribed::Stream(subscription))
    }

    fn nothing_to_follow(&self) -> Option<Subscribed> {
        if self.options.push_enabled { self.draining() } else { Some(Subscribed::PushDisabled) }
    }
}
