//! Redis, or Valkey: streams for what is kept, pub/sub for notifications, and scripts that do both
//! in one step.
//!
//! - **Acknowledged** means: in the stream of the server (of a cluster: of the topic's master) that
//!   ran the script, with what that server promises of a write. With `appendonly yes` and
//!   `appendfsync always` it survives a power cut; with `everysec` a power cut may cost the last
//!   second, a killed server nothing; without an append-only file a restart goes back to the last
//!   snapshot. A failover to a replica may lose what the replica did not have yet.
//! - **Prev** is stored with each entry: the id of the entry before it, read in the step that
//!   appends. The **head** is the stream's last id; Redis keeps it when entries are trimmed or the
//!   topic is purged. Entries that other programs add have no `prev`, and are hints: they are
//!   always read from the stream, which has their order.
//! - **Origin** is a key, made by the first step that needs it, and later than every id of a
//!   journal that was wiped before. In a cluster each slot has its own, since a wipe of one node
//!   leaves the others whole.
//! - **Truncation** is exact for entries of ours. A notice may come needlessly: for a topic that no
//!   event came to for longer than the age limit (its stream was removed, and nobody knows its last
//!   id); and for a cursor from just before the oldest entry, where that is another program's and
//!   something was trimmed (or the Redis is older than 7, which can't say that nothing was). A
//!   stream that another program removes (`DEL`, a shorter `EXPIRE`, an eviction) is noticed by the
//!   index of streams, which still has it: it begins again as one that has lost everything. Of a
//!   stream that only other programs write to there is no index: a cursor at an entry whose counter
//!   is 0 then looks like one at the head of an empty topic, and there is no notice.
//! - **Streams live** as long as their newest entry counts, whoever wrote it: they have no expiry,
//!   and a sweep removes those whose last id is over the age limit. Streams that only other
//!   programs write to are theirs to remove.
//! - **Ids** are the server's: they follow its clock, and go on increasing when that steps back.
//!   Their counters begin at 1.
//! - **Replicas** are never used: a new connection's server is asked whether it is the primary, a
//!   script that only reads tries a write that changes nothing, and a connection that led to a
//!   replica is dropped. In a cluster the driver follows the nodes.
//! - **Broadcasts** are kept for a minute, so that each process passes each of them on once,
//!   whatever happens to its connection.
//! - It needs Redis 6.2 or Valkey 7.2, and a role with access to the keys and channels of the
//!   prefix (`~app:* &app:*`) and these commands: `PING`, `HELLO`, `SELECT`, `EVAL`, `EVALSHA`,
//!   `PUBLISH`, `SUBSCRIBE`, `UNSUBSCRIBE`; and what scripts call: `TIME`, `GET`, `SET`, `UNLINK`,
//!   `PTTL`, `PEXPIRE`, `PERSIST`, `XADD`, `XRANGE`, `XREVRANGE`, `XLEN`, `XTRIM`, `XINFO STREAM`,
//!   `HGET`, `HSET`, `HGETALL`, `ZADD`, `ZREM`, `ZCARD`, `ZCOUNT`, `ZSCORE`, `ZRANGEBYSCORE`,
//!   `ZREMRANGEBYSCORE`, `LRANGE`, `LREM`, `RPUSH`. Without `INFO` and `CONFIG GET` nobody is
//!   warned of a server that is not safe. Exports and imports take `SCAN`, `ZSCAN` and `TYPE` as
//!   well.
//! - **A restart of the server** costs a delay: commands fail until it is back, the feed listens
//!   anew, says that it was interrupted, and each watched topic is read once. A server that neither
//!   answers nor closes is given up after [`CALL_TIMEOUT`].
//! - A batch of appends is one script, so that it is there whole or not at all, but for topics
//!   whose keys are damaged; in a cluster that holds for the events of each slot.
//! - Messages: a stream and a hash each, and an index by the producers' silence. What may be
//!   appended is decided by [`crate::domain::message::Message`] on what was read, and done if
//!   nothing has changed since; else it is tried again.

mod announcements;
mod archive;
mod checks;
mod client;
mod connection;
mod failure;
mod feed;
mod hints;
mod journal;
mod keys;
mod limits;
mod message_state;
mod messages;
mod one_server;
mod outages;
mod primary;
mod scripts;
mod setup;
mod stored_entry;
mod sweep;

use std::{path::PathBuf, time::Duration};

pub use self::{
    client::CALL_TIMEOUT,
    setup::{RedisSetupError, open},
};
use crate::adapters::backend_kit::Retention;

/// Where Redis is.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://` or `rediss://`, with user, password and database number where they are needed;
    /// for a cluster several of its nodes, with commas between.
    pub url: String,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// What all keys and channels begin with.
    pub key_prefix: String,
    /// PEM file of the authorities that sign the server's certificate; those of the system where
    /// there is none.
    pub tls_ca_file: Option<PathBuf>,
}

/// What streams outlive their newest entries by.
fn margin(replay_max_age: Duration) -> Duration {
    (replay_max_age / 8).clamp(Duration::from_secs(1), Duration::from_hours(1))
}

/// For how long a stream outlives its newest entry: longer than that counts. `None` for ever.
fn stream_life(retention: Retention) -> Option<Duration> {
    retention.replay_max_age.map(|replay_max_age| replay_max_age + margin(replay_max_age))
}
