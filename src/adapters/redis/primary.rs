//! Whether a server is one that may be used: the primary that redis.url means, ready to be written
//! to.
//!
//! What is asked for is a write that changes nothing: a replica and a server that loads its data
//! refuse it, and a server whose memory is full does not, since it can still be read.

use std::collections::HashMap;

use redis::{Cmd, Value, aio::MultiplexedConnection};

use super::failure::Failure;

/// What kind of server the settings name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// One server, which others may copy.
    Primary,
    /// Any node of a cluster.
    ClusterNode,
}

/// A write to a key that is never there.
pub(super) fn write_nothing(probe_key: &str) -> Cmd {
    let mut trim = redis::cmd("XTRIM");
    trim.arg(probe_key).arg("MINID").arg(0);
    trim
}

/// Asks the server at the other end of a new connection.
pub(super) async fn ask_whether_usable(
    connection: &mut MultiplexedConnection,
    expected: Expected,
    probe_key: &str,
) -> Result<(), Failure> {
    if expected == Expected::Primary {
        let about: HashMap<String, Value> =
            redis::cmd("HELLO").arg(3).query_async(connection).await?;
        let is = |name: &str, values: &[&str]| {
            about.get(name).is_some_and(|value| {
                redis::from_redis_value_ref::<String>(value)
                    .is_ok_and(|value| values.contains(&&*value))
            })
        };
        if is("mode", &["cluster"]) {
            return Err(Failure::ClusterNode);
        }
        if is("mode", &["sentinel"]) {
            return Err(Failure::Sentinel);
        }
        // Also one that can be written to.
        if is("role", &["replica", "slave"]) {
            return Err(Failure::Replica);
        }
    }
    ask_whether_alive(connection, expected, probe_key).await
}

/// Asks the server at the other end of a connection that has been there for a while.
pub(super) async fn ask_whether_alive(
    connection: &mut MultiplexedConnection,
    expected: Expected,
    probe_key: &str,
) -> Result<(), Failure> {
    let Err(error) = write_nothing(probe_key).query_async::<Value>(connection).await else {
        return Ok(());
    };
    let is_elsewhere = expected == Expected::ClusterNode && error.redirect_node().is_some();
    let failure = Failure::from(error);
    // What else keeps it from writing (no room on its disk, say) does not keep it from being read.
    if !is_elsewhere && (failure.ends_connection() || matches!(failure, Failure::Silent)) {
        Err(failure)
    } else {
        Ok(())
    }
}
