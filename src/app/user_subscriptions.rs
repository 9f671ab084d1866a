//! Subscribing to a user's events: as a client of theirs, or as an operator who looks on.
//!
//! Invariant: the user is the principal's own; to name another needs the scope `admin`, asked for here.

use tokio::time::Instant;

use super::{
    reader::Reader,
    subscriptions::{Place, Refusal, SubscribeRequest, Subscribed, Subscriptions},
};
use crate::domain::{
    access::{Principal, Scope},
    category::CategoryFilter,
    session::Session,
    topic::{Topic, UserId},
};

impl Subscriptions {
    /// Opens the stream of the principal's own events.
    ///
    /// # Errors
    /// [`Refusal`]; the client's cursor is as good as before.
    pub async fn open(&self, principal: &Principal, request: SubscribeRequest) -> Result<Subscribed, Refusal> {
        let user = principal.reader()?;
        let filter = CategoryFilter::resolve(request.categories.clone(), principal.categories.as_ref())?;
        if let Some(nothing) = self.nothing_to_follow() {
            return Ok(nothing);
        }
        let place = self.take_place(user, &Topic::User(user.clone())).await?;
        self.begin_at(place, &request, filter, principal).await
    }

    /// Opens a stream of `user`'s events for an operator. It takes no slot of theirs and nothing of their budget, and stays
    /// when their connections are closed; in all else it is a stream as any other.
    ///
    /// # Errors
    /// [`Refusal`]; the operator's cursor is as good as before.
    pub async fn open_for_operator(&self, operator: &Principal, user: &UserId, request: SubscribeRequest) -> Result<Subscribed, Refusal> {
        operator.require(Scope::Admin)?;
        let filter = CategoryFilter::resolve(request.categories.clone(), operator.categories.as_ref())?;
        if let Some(nothing) = self.nothing_to_follow() {
            return Ok(nothing);
        }
        let place = self.place(Reader::Operator(user.clone()), &Topic::User(user.clone())).await?;
        self.begin_at(place, &request, filter, operator).await
    }

    async fn begin_at(
        &self,
        place: Place,
        request: &SubscribeRequest,
        filter: CategoryFilter,
        principal: &Principal,
    ) -> Result<Subscribed, Refusal> {
        let topic = Topic::User(place.reader.user().clone());
        let spender = place.reader.spender().cloned();
        let SubscribeRequest { cursor, style, .. } = *request;
        let now = Instant::now().into_std();
        let categories = filter.clone();
        let session = Session::open(topic, style, cursor, filter, &self.options.policy, now, self.expiry(principal));
        let mut subscription = self.subscription(place, session);
        subscription.note_request(cursor, &categories);
        self.begin(&mut subscription, self.oldest_ts(), spender.as_ref()).await?;
        Ok(Subscribed::Stream(subscription))
    }

    fn nothing_to_follow(&self) -> Option<Subscribed> {
        if self.options.push_enabled { self.draining() } else { Some(Subscribed::PushDisabled) }
    }
}
