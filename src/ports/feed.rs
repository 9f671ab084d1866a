//! The backend's way to notify a process that a topic has grown: a hint, never the truth.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::backend_error::BackendError;
use crate::domain::{
    event::{Entry, Event},
    topic::{Topic, UserId},
};

/// A process's subscription to the backend's change notifications. There is one for the whole
/// process, never one per connection.
#[async_trait]
pub trait Feed: Send + Sync {
    /// What the feed hears, in order, for as long as the process lives. It is taken once.
    ///
    /// Laws:
    /// - an entry appended after [`Feed::watch`] returned is signalled, or [`Signal::Interrupted`]
    ///   comes instead;
    /// - signals of a topic come in the order of its entries, unless they are hints;
    /// - what is not watched costs nothing.
    fn signals(&self) -> BoxStream<'static, Signal>;

    /// Begins to listen to a topic. Watching what is already watched is harmless.
    ///
    /// # Errors
    /// The feed is not connected, so that an append could go unheard.
    async fn watch(&self, topic: &Topic) -> Result<(), BackendError>;

    /// Stops listening to a topic: what is appended after this returned is not signalled. To stop
    /// without a listener is harmless.
    async fn unwatch(&self, topic: &Topic);

    /// Has every process's feed signal a broadcast. It is not journaled.
    ///
    /// Law: every process that listens by now signals it once, in the order of the broadcasts, also
    /// one whose feed is cut meanwhile, or that does not come to its signals.
    ///
    /// # Errors
    /// Not all processes will hear of it, or none.
    async fn broadcast(&self, event: Arc<Event>) -> Result<(), BackendError>;

    /// Asks every process's feed to end a user's connections.
    ///
    /// # Errors
    /// Not all processes heard it, or none. To try again is harmless.
    async fn close_connections(&self, user: &UserId) -> Result<(), BackendError>;
}

/// What a feed hears.
#[derive(Clone, Debug)]
pub enum Signal {
    /// An entry was appended.
    Appended(Topic, Entry),
    /// A topic has grown, as the journal will show.
    Grown(Topic),
    /// A broadcast.
    Broadcast(Arc<Event>),
    /// A user's connections are to end, in either channel.
    CloseConnections(UserId),
    /// Signals before this one may be missing, of any topic. From here on the feed is whole again.
    Interrupted,
}
