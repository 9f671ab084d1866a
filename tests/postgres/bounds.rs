//! Connections are bounded, and nobody starves anybody.

use std::{sync::Arc, time::Duration};

use rejoin::{
    adapters::postgres::{self, PostgresOptions},
    domain::{page::PageLimit, position::Position},
    ports::backend_error::BackendErrorKind,
    testing::backend_context,
};
use rejoin_test_support::PostgresServer;
use tokio::task::JoinSet;

use crate::postgres::given::{append, appended, options, topic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_7_a_burst_of_reconnects_exhausts_nothing_and_starves_no_publish() {
    const BURST: usize = 2_000;
    let server = PostgresServer::start().await;
    // The burst takes its time where other tests run beside it.
    let options = PostgresOptions { timeout: Duration::from_mins(1), ..options(server.url()) };
    let process = Arc::new(postgres::open(options, &backend_context()).await.unwrap());
    for user in 0..50 {
        let batch = (0..200).map(|_| append(&format!("u{user}"), None)).collect();
        process.journal.append(batch).await.unwrap();
    }
    let mut reads = JoinSet::new();
    for number in 0..BURST {
        let process = Arc::clone(&process);
        reads.spawn(async move {
            let limit = PageLimit { entries_max: 200, bytes_max: 1 << 20 };
            let page = process
                .journal
                .read(&topic(&format!("u{}", number % 50)), Position::Start, limit)
                .await
                .unwrap();
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
    let connections = server
        .run_sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rejoin%'");
    assert!(connections.trim().parse::<usize>().unwrap() <= 12, "{connections}");
    // Whoever waited behind the burst would have published once or twice.
    assert!(published > 20, "{published} publishes beside {BURST} reads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_for_appends_is_not_ready_and_is_when_one_was_taken() {
    let server = PostgresServer::start().await;
    let process = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    appended(&process, "u").await;
    // As a full disk does it: a small change of a row still finds room in its page.
    server.run_sql(
        "CREATE FUNCTION rejoin.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
        END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON rejoin.user_events FOR EACH ROW EXECUTE FUNCTION rejoin.no_room()",
    );
    process.journal.probe().await.unwrap();
    let refused = process.journal.append(vec![append("u", None)]).await.unwrap_err();
    assert_eq!(refused.kind, BackendErrorKind::Full);
    assert!(refused.source.unwrap().to_string().contains("No space left on device"));
    assert!(process.journal.probe().await.is_err());
    let limit = PageLimit { entries_max: 10, bytes_max: 1 << 20 };
    assert_eq!(
        process.journal.read(&topic("u"), Position::Start, limit).await.unwrap().entries.len(),
        1,
        "reading goes on"
    );
    server.run_sql("DROP FUNCTION rejoin.no_room() CASCADE");
    appended(&process, "u").await;
    process.journal.probe().await.unwrap();
}
