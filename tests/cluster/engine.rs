//! The backend of a storm, and the power over it.

use async_trait::async_trait;

/// A server that several processes share, which keeps what it acknowledged when it is killed.
#[async_trait]
pub(crate) trait Engine: Send {
    /// The settings by which processes use it for everything.
    fn environment(&self) -> Vec<(&'static str, String)>;

    /// Kills it, as a crash does.
    async fn kill(&mut self);

    /// Starts it again with what it kept.
    async fn start_again(&mut self);
}
