//! The storm over Redis.

use async_trait::async_trait;
use rejoin_test_support::RedisServer;

use crate::{engine::Engine, storm::storm};

struct Redis(RedisServer);

#[async_trait]
impl Engine for Redis {
    fn environment(&self) -> Vec<(&'static str, String)> {
        let backends = ["REJOIN_EVENTS__BACKEND", "REJOIN_MESSAGES__BACKEND", "REJOIN_LIMITS__BACKEND"];
        backends.map(|key| (key, "redis".to_owned())).into_iter().chain([("REJOIN_REDIS__URL", self.0.url())]).collect()
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
