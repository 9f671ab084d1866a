//! The removal of users' streams that have outlived their newest entry.
//!
//! Invariants: what decides is the stream's last id, whoever wrote it, at the moment of the removal; a stream that was only
//! written to by other programs is never removed; processes take turns.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    connection::Connection,
    keys::Keys,
    messages::INDEXES_AT_ONCE,
    scripts::{OLD_STREAMS, REMOVE_OLD_STREAMS},
};
use crate::{
    domain::{
        timestamp::millis,
        topic::{Topic, UserId},
    },
    ports::backend_error::BackendError,
};

/// Most streams that one call looks at.
const STREAMS_AT_ONCE: usize = 200;

/// What removes old streams, while the process lives.
pub(super) struct Sweep {
    pub(super) connection: Arc<Connection>,
    pub(super) keys: Arc<Keys>,
    /// For how long a stream outlives its newest entry.
    pub(super) stream_life: Duration,
    /// How often old streams are looked for, by one of all processes.
    pub(super) every: Duration,
}

impl Sweep {
    /// Sweeps for as long as it is polled.
    pub(super) async fn run(self) {
        loop {
            tokio::time::sleep(self.every).await;
            // What could not be removed now is there the next time; that Redis is away is logged by its connections.
            if let Err(error) = self.in_turn().await {
                tracing::debug!(%error, "old streams could not be removed");
            }
        }
    }

    /// Removes what is old, if no other process has done so lately.
    async fn in_turn(&self) -> Result<(), BackendError> {
        let mut take_turn = redis::cmd("SET");
        // A little less than the pause, so that the process of this turn may take the next one.
        take_turn.arg(self.keys.sweep_turn()).arg(1).arg("NX").arg("PX").arg(millis(self.every * 9 / 10).max(1));
        let is_ours: Option<String> = self.connection.send("take a turn of the sweep", &take_turn).await?;
        if is_ours.is_none() {
            return Ok(());
        }
        let indexes = stream::iter(self.keys.all_users_by_newest_entry()).map(Ok);
        indexes.try_for_each_concurrent(INDEXES_AT_ONCE, async |index| self.remove_old_streams(&index).await).await
    }

    async fn remove_old_streams(&self, index: &str) -> Result<(), BackendError> {
        let life_ms = millis(self.stream_life).to_string();
        loop {
            let arguments = [life_ms.clone(), STREAMS_AT_ONCE.to_string()];
            let users: Vec<String> = self.connection.run("look for old streams", &OLD_STREAMS, &[index], &arguments).await?;
            let is_all = users.len() < STREAMS_AT_ONCE;
            let mut groups: HashMap<_, (Vec<String>, Vec<String>)> = HashMap::new();
            for user in users {
                let Ok(id) = UserId::parse(&user) else { continue };
                let topic = Topic::User(id);
                let first = || (vec![index.to_owned()], vec![life_ms.clone()]);
                let (keys, arguments) = groups.entry(self.keys.group(&topic)).or_insert_with(first);
                keys.push(self.keys.stream(&topic));
                arguments.push(user);
            }
            for (keys, arguments) in groups.values() {
                let _: u64 = self.connection.run("remove old streams", &REMOVE_OLD_STREAMS, keys, arguments).await?;
            }
            if is_all {
                return Ok(());
            }
        }
    }
}
