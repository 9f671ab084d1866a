//! The storm over Postgres, and what processes promise together.

use async_trait::async_trait;
use rejoin_test_support::PostgresServer;

use crate::cluster::{engine::Engine, storm::storm, together};

struct Postgres(PostgresServer);

#[async_trait]
impl Engine for Postgres {
    fn environment(&self) -> Vec<(&'static str, String)> {
        let backends =
            ["REJOIN_EVENTS__BACKEND", "REJOIN_MESSAGES__BACKEND", "REJOIN_LIMITS__BACKEND"];
        backends
            .map(|key| (key, "postgres".to_owned()))
            .into_iter()
            .chain([("REJOIN_POSTGRES__URL", self.0.url())])
            .collect()
    }

    async fn kill(&mut self) {
        self.0.kill();
    }

    async fn start_again(&mut self) {
        self.0.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_to_4_and_9_and_10_three_processes_over_postgres_that_is_killed_three_times() {
    storm(&mut Postgres(PostgresServer::start().await)).await;
}

#[tokio::test]
async fn promise_1_broadcasts_reach_everybody_at_each_process_over_postgres() {
    together::broadcasts_reach_everybody(&Postgres(PostgresServer::start().await)).await;
}

#[tokio::test]
async fn going_on_from_a_capped_snapshot_is_free_at_each_process_over_postgres() {
    together::going_on_from_a_capped_snapshot_is_free(&Postgres(PostgresServer::start().await))
        .await;
}

#[tokio::test]
async fn promise_6_an_id_follows_a_notice_at_each_process_over_postgres() {
    together::an_id_follows_a_notice(&Postgres(PostgresServer::start().await)).await;
}
