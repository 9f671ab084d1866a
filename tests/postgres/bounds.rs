//! Connections are bounded, and nobody starves anybody.

use std::{sync::Arc, time::Duration};

use rejoin::{
    adapters::postgres::{Postgres, PostgresOptions},
    domain::position::Position,
    ports::{
        journal::Journal,
        topic_log::{PageLimit, TopicLog},
    },
};
use rejoin_test_support::PostgresServer;
use tokio::task::JoinSet;

use crate::given::{append, appended, options, topic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_7_a_burst_of_reconnects_exhausts_nothing_and_starves_no_publish() {
    const BURST: usize = 2_000;
    let server = PostgresServer::start().await;
    // The burst takes its time where other tests run beside it.
    let options = PostgresOptions { call_timeout: Duration::from_mins(1), ..options(server.url()) };
    let process = Arc::new(Postgres::open(options).await.unwrap());
    for user in 0..50 {
        let batch = (0..200).map(|_| append(&format!("u{user}"), None)).collect();
        process.journal.append(batch).await.unwrap();
    }
    let mut reads = JoinSet::new();
    for number in 0..BURST {
        let process = Arc::clone(&process);
        reads.spawn(async move {
            let limit = PageLimit { entries_max: 200, bytes_max: 1 << 20 };
            let page = process.journal.read(&topic(&format!("u{}", number % 50)), Position::Start, limit).await.unwrap();
            assert!(page.entries.len() >= 200);
        });
    }
    let mut published = 0;
    while !reads.is_empty() {
        appended(&process, "publisher").await;
        published += 1;
        let mut overtaking = 0;
        while let Some(read) = reads.try_join_next() {
            read.unwrap();
            overtaking += 1;
        }
        assert!(overtaking < BURST / 4, "a publish waited for {overtaking} reads");
    }
    let connections = server.run_sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rejoin%'");
    assert!(connections.trim().parse::<usize>().unwrap() <= 12, "{connections}");
    // Whoever waited behind the burst would have published once or twice.
    assert!(published > 20, "{published} publishes beside {BURST} reads");
}
