//! What the server says of a stream.

use async_nats::jetstream::stream::Config;
use serde::Deserialize;

/// What is known of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    pub(super) config: Config,
    pub(super) created: String,
    pub(super) state: State,
    #[serde(default)]
    pub(super) cluster: Option<Cluster>,
    /// The server's time.
    #[serde(default)]
    pub(super) ts: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cluster {
    #[serde(default)]
    pub(super) leader: Option<String>,
}

/// Some of a stream's subjects.
pub(super) struct Subjects {
    pub(super) subjects: Vec<String>,
    /// How many there are in all.
    pub(super) total: u64,
}
