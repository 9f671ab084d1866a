//! The settings of the listener and its connections.

use std::time::Duration;

/// The settings of the listener and its connections.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Most connections at once; `None` for any number.
    pub max_connections: Option<usize>,
    /// Within this time the head of a request must have arrived.
    pub request_timeout: Duration,
    /// A connection may rest for so long behind an answer.
    pub keep_alive: Duration,
    /// Most bytes of a request's head.
    pub max_header_bytes: usize,
    /// A client that takes nothing for so long is closed.
    pub write_timeout: Duration,
}
