//! What has been appended to topics, as it can be read: the part that users' journals and messages
//! have in common.

use async_trait::async_trait;

use super::backend_error::BackendError;
use crate::domain::{
    cursor::Bounds,
    page::{Page, PageLimit},
    position::Position,
    topic::Topic,
};

/// Topics that can be read. All that a stream needs of a backend, whichever the channel.
#[async_trait]
pub trait TopicLog: Send + Sync {
    /// Reads entries after a position, oldest first.
    ///
    /// Laws:
    /// - exclusive of the position, in order, without a gap between entries, within the limit (but
    ///   at least one entry if there is one, however large);
    /// - `more` is set exactly if entries lie behind the last one;
    /// - entries over the age limit count as removed;
    /// - the bounds are as [`TopicLog::bounds`] would return them, not later than the entries.
    ///
    /// # Errors
    /// Any; reading has no effect.
    async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError>;

    /// The topic's extent.
    ///
    /// Laws:
    /// - the head never goes back while the journal's incarnation lasts, and every later entry lies
    ///   behind it;
    /// - a wiped journal has an origin behind every id it issued before;
    /// - the floor is the position after which nothing was removed, or `None` where that can't be
    ///   told.
    ///
    /// # Errors
    /// Any; asking has no effect.
    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError>;

    /// Whether the backend answers, and may be written to, within a bounded time.
    ///
    /// # Errors
    /// What an append or a read would meet.
    async fn probe(&self) -> Result<(), BackendError>;
}
