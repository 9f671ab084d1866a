//! How the schema comes to be there, and what becomes of a journal that is tampered with.

use rejoin::{
    adapters::postgres::{self, PostgresSetupError, PrepareError},
    domain::{cursor::Continuity, position::Position},
    testing::backend_context,
};
use rejoin_test_support::PostgresServer;
use tokio::task::JoinSet;

use crate::postgres::given::{SCHEMA, appended, options, topic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_make_one_schema() {
    let server = PostgresServer::start().await;
    let mut starting = JoinSet::new();
    for _ in 0..8 {
        let options = options(server.url());
        starting.spawn(async move { postgres::open(options, &backend_context()).await });
    }
    for process in starting.join_all().await {
        appended(&process.unwrap(), "u1").await;
    }
    assert_eq!(
        server
            .run_sql(
                "SELECT string_agg(version::text, ',' ORDER BY version) FROM rejoin.migrations"
            )
            .trim(),
        "1,2,3,4,5,6,7,8"
    );
    assert_eq!(
        server
            .run_sql("SELECT count(*), count(DISTINCT ms * 1000 + n) FROM rejoin.user_events")
            .trim(),
        "8|8"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_owns_nothing_but_the_schema_is_enough() {
    let server = PostgresServer::start().await;
    server.run_sql("CREATE ROLE humble LOGIN");
    server.run_sql("REVOKE ALL ON SCHEMA public FROM PUBLIC");
    let refused = postgres::open(options(server.url_of("humble")), &backend_context()).await;
    assert!(
        matches!(refused, Err(PostgresSetupError::Prepare(PrepareError::Denied { .. }))),
        "it may make no schema"
    );
    server.run_sql(&format!("CREATE SCHEMA {SCHEMA} AUTHORIZATION humble"));
    let process =
        postgres::open(options(server.url_of("humble")), &backend_context()).await.unwrap();
    appended(&process, "u1").await;
    process.sweeper.as_ref().unwrap().sweep().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_a_later_version_and_another_encoding_are_refused() {
    let server = PostgresServer::start().await;
    postgres::open(options(server.url()), &backend_context()).await.unwrap();
    server.run_sql("INSERT INTO rejoin.migrations (version) VALUES (99)");
    let refused = postgres::open(options(server.url()), &backend_context()).await;
    assert!(matches!(
        refused,
        Err(PostgresSetupError::Prepare(PrepareError::Newer { found: 99, .. }))
    ));
    server.run_sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    let refused =
        postgres::open(options(server.url().replace("/postgres?", "/latin?")), &backend_context())
            .await;
    assert!(matches!(refused, Err(PostgresSetupError::Prepare(PrepareError::Encoding(_)))));
    let refused = postgres::open(
        options(server.url().replace("/postgres?", "/nowhere?")),
        &backend_context(),
    )
    .await;
    assert!(matches!(refused, Err(PostgresSetupError::Refused(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_6_a_journal_that_was_emptied_by_hand_is_another_one() {
    let server = PostgresServer::start().await;
    let process = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    let topic = topic("u1");
    for emptied in [
        "TRUNCATE rejoin.user_topics, rejoin.user_events",
        "TRUNCATE rejoin.user_topics",
        "DELETE FROM rejoin.journal",
        "DROP SCHEMA rejoin CASCADE",
        "SELECT rejoin.renew_origin()",
    ] {
        let before = appended(&process, "u1").await;
        server.run_sql(emptied);
        let bounds = process.journal.bounds(&topic).await.unwrap();
        assert!(bounds.origin > Position::After(before), "{emptied}");
        assert_ne!(bounds.continuity(before.into()), Continuity::Whole, "{emptied}");
        assert_eq!(
            (bounds.oldest, bounds.continuity(Position::Start)),
            (None, Continuity::Whole),
            "{emptied}"
        );
        let after = appended(&process, "u1").await;
        assert!(after > before, "{emptied}");
        let limit = rejoin::domain::page::PageLimit { entries_max: 10, bytes_max: 10_000 };
        let page = process.journal.read(&topic, before.into(), limit).await.unwrap();
        assert_eq!(
            page.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(),
            [after],
            "{emptied}"
        );
        assert_eq!(page.bounds.continuity(before.into()), Continuity::Truncated, "{emptied}");
    }
}
