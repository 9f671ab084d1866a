//! One process sweeps for all.

use rejoin::{adapters::postgres, testing::backend_context};
use rejoin_test_support::PostgresServer;

use crate::postgres::given::options;

/// Old rows, for several batches.
const FILL: &str = "INSERT INTO rejoin.user_events
    SELECT 'u', n, 1, n - 1, 1, n, 0, 'x', NULL, NULL, '{}' FROM generate_series(1, 2500) n";

fn old_rows(server: &PostgresServer) -> usize {
    server.run_sql("SELECT count(*) FROM rejoin.user_events").trim().parse().unwrap()
}

#[tokio::test]
async fn who_has_the_turn_sweeps_and_who_hangs_loses_it() {
    let server = PostgresServer::start().await;
    let process = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    let another = |ends: &str| {
        server.run_sql("DELETE FROM rejoin.turns");
        server.run_sql(&format!(
            "INSERT INTO rejoin.turns VALUES ('sweep', gen_random_uuid(), rejoin.now_ms() + {ends})"
        ));
        server.run_sql(FILL);
    };
    another("30000");
    process.sweeper.as_ref().unwrap().sweep().await.unwrap();
    assert_eq!(old_rows(&server), 2_500, "another process is at it");
    server.run_sql("TRUNCATE rejoin.user_events");
    for (ends, why) in
        [("-1", "it hung"), ("86400000", "it had its turn before the clock stepped back")]
    {
        another(ends);
        process.sweeper.as_ref().unwrap().sweep().await.unwrap();
        assert_eq!(old_rows(&server), 0, "{why}");
        assert_eq!(
            server.run_sql("SELECT count(*) FROM rejoin.turns").trim(),
            "0",
            "the turn is given back"
        );
    }
}
