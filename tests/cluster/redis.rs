//! The storm over Redis, and what processes promise together.

use async_trait::async_trait;
use rejoin_test_support::RedisServer;

use crate::cluster::{engine::Engine, storm::storm, together};

struct Redis(RedisServer);

#[async_trait]
impl Engine for Redis {
    fn environment(&self) -> Vec<(&'static str, String)> {
        let backends =
            ["REJOIN_EVENTS__BACKEND", "REJOIN_MESSAGES__BACKEND", "REJOIN_LIMITS__BACKEND"];
        backends
            .map(|key| (key, "redis".to_owned()))
            .into_iter()
            .chain([("REJOIN_REDIS__URL", self.0.url())])
            .collect()
    }

    async fn kill(&mut self) {
        self.0.kill().await;
    }

    async fn start_again(&mut self) {
        self.0.start_again().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_to_4_and_9_and_10_three_processes_over_redis_that_is_killed_three_times() {
    storm(&mut Redis(RedisServer::start().await)).await;
}

#[tokio::test]
async fn promise_1_broadcasts_reach_everybody_at_each_process_over_redis() {
    together::broadcasts_reach_everybody(&Redis(RedisServer::start().await)).await;
}

#[tokio::test]
async fn going_on_from_a_capped_snapshot_is_free_at_each_process_over_redis() {
    together::going_on_from_a_capped_snapshot_is_free(&Redis(RedisServer::start().await)).await;
}

#[tokio::test]
async fn promise_6_an_id_follows_a_notice_at_each_process_over_redis() {
    together::an_id_follows_a_notice(&Redis(RedisServer::start().await)).await;
}
