//! A cluster of three of which one server is dead, or two.

use std::time::Duration;

use rejoin::{
    adapters::nats::NatsOptions, domain::position::Position, ports::backend_error::BackendErrorKind,
};
use rejoin_test_support::{NatsCluster, eventually};

use crate::nats::{
    access::assert_works,
    given::{append, appended, options, payloads, try_open},
};

fn replicated(cluster: &NatsCluster) -> NatsOptions {
    NatsOptions { replicas: 3, ..options(cluster.urls()) }
}

/// With one of three dead, be it the leader of users' events or another one, everything works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_are_enough() {
    let mut cluster = NatsCluster::start().await;
    let ports = try_open(&replicated(&cluster)).await.unwrap();
    appended(&ports, "u9", 0..3).await;
    let leader = cluster.leader_of("REJOIN_EVENTS").await;
    for dead in [leader, (leader + 1) % 3] {
        cluster.servers[dead].kill().await;
        for stream in ["EVENTS", "MESSAGES", "ANNOUNCEMENTS", "LIMITS"] {
            cluster.leader_of(&format!("REJOIN_{stream}")).await;
        }
        eventually("the process writes again", async || ports.journal.probe().await.is_ok()).await;
        eventually("the process appends again", async || {
            ports.journal.append(vec![append("u8", 0)]).await.is_ok()
        })
        .await;
        assert_eq!(payloads(&ports, "u9", Position::Start).await, ["0", "1", "2"]);
        assert_works(&replicated(&cluster)).await;
        cluster.servers[dead].start_again().await;
    }
}

/// Without a quorum nothing is acknowledged, and nothing that was is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_4_and_9_a_lost_quorum_costs_a_delay() {
    let mut cluster = NatsCluster::start().await;
    let ports = try_open(&replicated(&cluster)).await.unwrap();
    let ids = appended(&ports, "u1", 0..3).await;
    let leader = cluster.leader_of("REJOIN_EVENTS").await;
    let dead = [(leader + 1) % 3, (leader + 2) % 3];
    for dead in dead {
        cluster.servers[dead].kill().await;
    }
    let answered =
        tokio::time::timeout(Duration::from_secs(10), ports.journal.append(vec![append("u1", 3)]))
            .await;
    let error = answered.expect("no call hangs").expect_err("there is no quorum");
    let kinds =
        [BackendErrorKind::Unavailable, BackendErrorKind::Timeout, BackendErrorKind::Disconnected];
    assert!(kinds.contains(&error.kind), "{error:?}");
    for dead in dead {
        cluster.servers[dead].start_again().await;
    }
    cluster.leader_of("REJOIN_EVENTS").await;
    eventually("the process appends again", async || {
        ports.journal.append(vec![append("u2", 0)]).await.is_ok()
    })
    .await;
    let kept = payloads(&ports, "u1", ids[0].into()).await;
    // What was tried meanwhile may be there, since its publisher was told that nobody knows.
    assert!(kept == ["1", "2"] || kept == ["1", "2", "3"], "{kept:?}");
}
