//! A cluster of Redis, which all laws share: each has what begins with a prefix of its own.

use std::time::Duration;

use async_trait::async_trait;
use rejoin::{
    adapters::{backend_kit::BackendContext, redis::RedisOptions},
    domain::{message::MESSAGE_EVENTS_MAX, topic::MessageId},
};
use rejoin_test_support::RedisCluster;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::contract::{
    backend::{Backend, Fixture, Options, Process},
    redis::{TRIM_SLACK_ENTRIES, process, redis_options, wipe_prefix},
};

pub(crate) struct RedisClusterFixture;

struct PartOfCluster {
    cluster: &'static RedisCluster,
    options: RedisOptions,
    context: BackendContext,
}

async fn cluster() -> &'static RedisCluster {
    static CLUSTER: OnceCell<RedisCluster> = OnceCell::const_new();
    CLUSTER.get_or_init(RedisCluster::start).await
}

#[async_trait]
impl Fixture for RedisClusterFixture {
    async fn open(&self, options: Options) -> Box<dyn Backend> {
        let (cluster, prefix) = (cluster().await, format!("{}:", Uuid::new_v4().simple()));
        Box::new(PartOfCluster {
            cluster,
            options: redis_options(cluster.urls(), true, prefix),
            context: options.context(),
        })
    }

    fn property_cases(&self) -> u32 {
        2
    }

    fn time_tolerance(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[async_trait]
impl Backend for PartOfCluster {
    async fn process(&self) -> Process {
        process(&self.options, &self.context).await
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn trim_slack_entries(&self) -> usize {
        TRIM_SLACK_ENTRIES
    }

    async fn wipe(&self) {
        for node in self.cluster.nodes() {
            wipe_prefix(node, &self.options.key_prefix).await;
        }
    }

    async fn fill_message(&self, id: &MessageId, room: u64) {
        let (key, next) = (
            format!("{}message-state:{{{id}}}", self.options.key_prefix),
            (MESSAGE_EVENTS_MAX - room).to_string(),
        );
        for node in self.cluster.nodes() {
            if !node.ask::<Vec<String>>(redis::cmd("KEYS").arg(&key)).await.is_empty() {
                node.command(&["HSET", &key, "next_sequence_no", &next]).await;
            }
        }
    }

    async fn lose_topic(&self, user_id: &str) {
        let stream = format!("{}user:{{{user_id}}}:stream", self.options.key_prefix);
        for node in self.cluster.nodes() {
            for key in node.ask::<Vec<String>>(redis::cmd("KEYS").arg(&stream)).await {
                node.command(&["DEL", &key]).await;
            }
        }
    }
}
