//! Connections are bounded, and nobody starves anybody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rejoin::{
    adapters::postgres::Postgres,
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
#[expect(clippy::disallowed_methods, reason = "how long something took is what is tested here")]
async fn promise_7_a_burst_of_reconnects_exhausts_nothing_and_starves_no_publish() {
    const BURST: usize = 2_000;
    let server = PostgresServer::start().await;
    let process = Arc::new(Postgres::open(options(server.url())).await.unwrap());
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
    let mut slowest = Duration::ZERO;
    while !reads.is_empty() {
        let began = Instant::now();
        appended(&process, "publisher").await;
        slowest = slowest.max(began.elapsed());
        while reads.try_join_next().is_some_and(|read| read.is_ok()) {}
    }
    let connections = server.run_sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rejoin%'");
    assert!(connections.trim().parse::<usize>().unwrap() <= 12, "{connections}");
    assert!(slowest < Duration::from_secs(1), "a publish took {slowest:?} beside the burst");
}
