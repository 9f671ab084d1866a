//! The storm over NATS, over one server and over a cluster whose leaders are killed, and what
//! processes promise together.

use async_trait::async_trait;
use rejoin_test_support::{NatsCluster, NatsServer};

use crate::cluster::{engine::Engine, storm::storm, together};

struct One(NatsServer);

/// A cluster, and which of its servers is dead.
struct Three(NatsCluster, Option<usize>);

fn environment(url: String, replicas: usize) -> Vec<(&'static str, String)> {
    let backends = ["REJOIN_EVENTS__BACKEND", "REJOIN_MESSAGES__BACKEND", "REJOIN_LIMITS__BACKEND"];
    let own = [("REJOIN_NATS__URL", url), ("REJOIN_NATS__REPLICAS", replicas.to_string())];
    backends.map(|key| (key, "nats".to_owned())).into_iter().chain(own).collect()
}

#[async_trait]
impl Engine for One {
    fn environment(&self) -> Vec<(&'static str, String)> {
        environment(self.0.url(), 1)
    }

    async fn kill(&mut self) {
        self.0.kill().await;
    }

    async fn start_again(&mut self) {
        self.0.start_again().await;
    }
}

#[async_trait]
impl Engine for Three {
    fn environment(&self) -> Vec<(&'static str, String)> {
        environment(self.0.urls(), 3)
    }

    /// Kills the leader of users' events.
    async fn kill(&mut self) {
        let leader = self.0.leader_of("REJOIN_EVENTS").await;
        self.0.servers[leader].kill().await;
        self.1 = Some(leader);
    }

    async fn start_again(&mut self) {
        let dead = self.1.take().expect("one was killed");
        self.0.servers[dead].start_again().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_to_4_and_9_and_10_three_processes_over_nats_that_is_killed_three_times() {
    storm(&mut One(NatsServer::start().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_to_4_and_9_and_10_three_processes_over_a_nats_cluster_whose_leader_is_killed_three_times()
 {
    storm(&mut Three(NatsCluster::start().await, None)).await;
}

#[tokio::test]
async fn promise_1_broadcasts_reach_everybody_at_each_process_over_nats() {
    together::broadcasts_reach_everybody(&One(NatsServer::start().await)).await;
}

#[tokio::test]
async fn going_on_from_a_capped_snapshot_is_free_at_each_process_over_nats() {
    together::going_on_from_a_capped_snapshot_is_free(&One(NatsServer::start().await)).await;
}

#[tokio::test]
async fn promise_6_an_id_follows_a_notice_at_each_process_over_nats() {
    together::an_id_follows_a_notice(&One(NatsServer::start().await)).await;
}
