//! Rows that somebody deletes by SQL: whoever has not read what they held is told.

use rejoin::{
    adapters::postgres,
    domain::{cursor::Continuity, page::PageLimit, position::Position},
    testing::backend_context,
};
use rejoin_test_support::PostgresServer;

use crate::postgres::given::{appended, options, topic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_6_a_topic_whose_rows_were_deleted_is_truncated_and_stays_so_when_it_goes_on() {
    let server = PostgresServer::start().await;
    let process = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    let limit = PageLimit { entries_max: 10, bytes_max: 1 << 20 };
    let statements = [
        "DELETE FROM rejoin.user_events WHERE user_id = 'u1'",
        "DELETE FROM rejoin.user_topics WHERE user_id = 'u1'",
        "DELETE FROM rejoin.user_events; DELETE FROM rejoin.user_topics",
        "DELETE FROM rejoin.user_topics; DELETE FROM rejoin.user_events",
    ];
    for deleted in statements {
        let (topic, other) = (topic("u1"), topic("u2"));
        let read = [appended(&process, "u1").await, appended(&process, "u1").await];
        let newest = appended(&process, "u1").await;
        appended(&process, "u2").await;
        process.journal.bounds(&other).await.unwrap();
        server.run_sql(deleted);
        let bounds = process.journal.bounds(&topic).await.unwrap();
        assert_eq!(bounds.oldest, None, "{deleted}");
        for cursor in read {
            assert_eq!(bounds.continuity(cursor.into()), Continuity::Truncated, "{deleted}");
        }
        assert_eq!(
            bounds.continuity(newest.into()),
            Continuity::Whole,
            "nothing behind the newest is gone: {deleted}"
        );
        let after = appended(&process, "u1").await;
        let page = process.journal.read(&topic, newest.into(), limit).await.unwrap();
        assert_eq!(
            page.entries.iter().map(|entry| (entry.id, entry.prev)).collect::<Vec<_>>(),
            [(after, Some(newest.into()))]
        );
        for cursor in read {
            assert_eq!(
                page.bounds.continuity(cursor.into()),
                Continuity::Truncated,
                "{deleted}, and it went on"
            );
        }
        assert_eq!(page.bounds.continuity(Position::Start), Continuity::Truncated, "{deleted}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_of_an_empty_topic_names_no_entry() {
    let server = PostgresServer::start().await;
    let process = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    for look in ["before anything was asked", "again", "when its row was deleted"] {
        let Position::After(head) = process.journal.bounds(&topic("u1")).await.unwrap().head else {
            panic!("a time")
        };
        assert_eq!(head.minor(), Some(0), "{look}");
        if look == "again" {
            server.run_sql("DELETE FROM rejoin.user_topics");
        }
    }
    let first = appended(&process, "u1").await;
    assert!(first.minor() >= Some(1), "an entry's counter begins at 1");
}
