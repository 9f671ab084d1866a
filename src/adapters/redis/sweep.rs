//! The removal of users' streams that have outlived their newest entry.
//!
//! Invariants: what decides is the stream's last id, whoever wrote it, at the moment of the
//! removal; a stream that was only written to by other programs is never removed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::{
    connection::Connection,
    keys::Keys,
    messages::INDEXES_AT_ONCE,
    scripts::{OLD_STREAMS, REMOVE_OLD_STREAMS, TURN},
};
use crate::{
    adapters::backend_kit::sweep::{Sweep, Turn},
    domain::{
        timestamp::millis,
        topic::{Topic, UserId},
    },
    ports::backend_error::BackendError,
};

/// Most streams that one call looks at.
const STREAMS_AT_ONCE: usize = 200;

/// How old streams are removed.
pub(super) struct RedisSweep {
    pub(super) connection: Arc<Connection>,
    pub(super) keys: Arc<Keys>,
    /// For how long a stream outlives its newest entry.
    pub(super) stream_life: Duration,
}

#[async_trait]
impl Sweep for RedisSweep {
    async fn take_turn(&self, holder: Uuid, lasts: Duration) -> Result<bool, BackendError> {
        let arguments = [holder.to_string(), millis(lasts).to_string()];
        self.connection
            .run("take a turn of the sweep", &TURN, &[self.keys.sweep_turn()], &arguments)
            .await
    }

    async fn end_turn(&self, holder: Uuid) -> Result<(), BackendError> {
        self.take_turn(holder, Duration::ZERO).await.map(drop)
    }

    async fn remove(&self, turn: &mut Turn<'_>) -> Result<(), BackendError> {
        for indexes in self.keys.all_users_by_newest_entry().chunks(INDEXES_AT_ONCE) {
            let mut left = indexes.to_vec();
            while !left.is_empty() && turn.next_batch().await? {
                let removals = stream::iter(left).map(|index| self.remove_old_streams(index));
                let more: Vec<Option<String>> =
                    removals.buffer_unordered(INDEXES_AT_ONCE).try_collect().await?;
                left = more.into_iter().flatten().collect();
            }
        }
        Ok(())
    }
}

impl RedisSweep {
    /// Removes some of an index's old streams; gives it back where it has more.
    async fn remove_old_streams(&self, index: String) -> Result<Option<String>, BackendError> {
        let life_ms = millis(self.stream_life).to_string();
        let arguments = [life_ms.clone(), STREAMS_AT_ONCE.to_string()];
        let users: Vec<String> = self
            .connection
            .run("look for old streams", &OLD_STREAMS, &[&index], &arguments)
            .await?;
        let is_all = users.len() < STREAMS_AT_ONCE;
        let mut groups: HashMap<_, (Vec<String>, Vec<String>)> = HashMap::new();
        for user in users {
            let Ok(id) = UserId::parse(&user) else { continue };
            let topic = Topic::User(id);
            let first = || (vec![index.clone()], vec![life_ms.clone()]);
            let (keys, arguments) = groups.entry(self.keys.group(&topic)).or_insert_with(first);
            keys.push(self.keys.stream(&topic));
            arguments.push(user);
        }
        for (keys, arguments) in groups.values() {
            let _: u64 = self
                .connection
                .run("remove old streams", &REMOVE_OLD_STREAMS, keys, arguments)
                .await?;
        }
        Ok((!is_all).then_some(index))
    }
}
