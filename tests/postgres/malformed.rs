//! Rows that are no events: somebody else wrote them.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use rejoin::{
    adapters::backend_kit::{BackendContext, Ports},
    adapters::postgres,
    domain::{
        event::Entry,
        page::{Page, PageLimit},
        position::Position,
        topic::Topic,
    },
    ports::feed::Signal,
    testing::backend_context,
};
use rejoin_test_support::PostgresServer;

use crate::postgres::given::{appended, options, topic};

/// A process, and what it was told of.
async fn process(server: &PostgresServer) -> (Ports, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    let on_malformed = Arc::new(
        move |malformed: rejoin::adapters::backend_kit::stored_page::MalformedEntry<'_>| {
            noted.lock().unwrap().push(malformed.to_string());
        },
    );
    let context = BackendContext { on_malformed, ..backend_context() };
    (postgres::open(options(server.url()), &context).await.unwrap(), told)
}

async fn read(
    process: &Ports,
    topic: &Topic,
    after: Position,
    entries_max: usize,
    bytes_max: usize,
) -> Page {
    process.journal.read(topic, after, PageLimit { entries_max, bytes_max }).await.unwrap()
}

/// Spoils the rows of a topic that are meant.
fn spoil(server: &PostgresServer, which: &str) {
    server.run_sql(&format!("UPDATE rejoin.user_events SET event_type = 'no type', payload = to_json(repeat('x', 5000)) WHERE {which}"));
}

fn follows_in_order(entries: &[Entry], mut from: Position) {
    for Entry { id, prev, .. } in entries {
        assert!(
            prev.is_some_and(|prev| prev <= from),
            "{id} follows {prev:?}, which a reader at {from:?} would take for a gap"
        );
        from = (*id).into();
    }
}

#[tokio::test]
async fn what_is_no_event_is_passed_over_and_told_and_is_no_gap() {
    let server = PostgresServer::start().await;
    let (process, told) = process(&server).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(appended(&process, "u").await);
    }
    spoil(&server, "ordinal IN (1, 3, 4)");
    let page = read(&process, &topic("u"), Position::Start, 10, 1 << 20).await;
    assert_eq!(
        page.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [ids[1], ids[4], ids[5]]
    );
    assert!(!page.more);
    follows_in_order(&page.entries, ids[0].into());
    assert_eq!(told.lock().unwrap().len(), 3);
    assert!(
        told.lock().unwrap()[0].starts_with(&format!("entry {} of user:u is no event: ", ids[0])),
        "{told:?}"
    );
    let page = read(&process, &topic("u"), ids[1].into(), 10, 1 << 20).await;
    follows_in_order(&page.entries, ids[1].into());
}

#[tokio::test]
async fn a_row_without_a_scope_is_an_event_with_an_empty_one() {
    let server = PostgresServer::start().await;
    let (process, told) = process(&server).await;
    for _ in 0..3 {
        appended(&process, "u").await;
    }
    // As rows are that were written before a scope was always there, and by other programs.
    server.run_sql("UPDATE rejoin.user_events SET scope = NULL WHERE ordinal = 1");
    server.run_sql(
        "UPDATE rejoin.user_events SET scope = 'null', event_type = 'error' WHERE ordinal = 2",
    );
    let page = read(&process, &topic("u"), Position::Start, 10, 1 << 20).await;
    assert_eq!(
        page.entries.iter().map(|entry| entry.event.scope.as_str()).collect::<Vec<_>>(),
        ["{}"; 3]
    );
    assert!(told.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_page_of_what_is_no_event_hides_nothing() {
    let server = PostgresServer::start().await;
    let (process, _) = process(&server).await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(appended(&process, "u").await);
    }
    spoil(&server, "ordinal BETWEEN 2 AND 9");
    for (entries_max, bytes_max) in [(3, 1 << 20), (100, 100), (100, 1 << 20)] {
        let (mut from, mut found, mut more) = (Position::Start, Vec::new(), true);
        while more {
            let page = read(&process, &topic("u"), from, entries_max, bytes_max).await;
            follows_in_order(&page.entries, from.max(page.bounds.floor.unwrap()));
            found.extend(page.entries.iter().map(|entry| entry.id));
            (from, more) = (found.last().map_or(from, |last| (*last).into()), page.more);
        }
        assert_eq!(
            found,
            [&ids[..1], &ids[9..]].concat(),
            "{entries_max} entries, {bytes_max} bytes"
        );
    }
    spoil(&server, "ordinal > 9");
    let page = read(&process, &topic("u"), ids[0].into(), 3, 1 << 20).await;
    assert_eq!((page.entries.len(), page.more), (0, false), "nothing else is there");
}

#[tokio::test]
async fn the_feed_tells_that_something_is_there_and_who_reads_learns_what() {
    let server = PostgresServer::start().await;
    let (process, _) = process(&server).await;
    let (topic, mut signals) = (topic("u"), process.feed.signals());
    process.feed.watch(&topic).await.unwrap();
    server.run_sql(
        "CREATE FUNCTION rejoin.spoilt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.event_type = 'no type'; RETURN NEW; END $$;
        CREATE TRIGGER spoils BEFORE INSERT ON rejoin.user_events FOR EACH ROW EXECUTE FUNCTION rejoin.spoilt();",
    );
    let spoilt = appended(&process, "u").await;
    server.run_sql("DROP TRIGGER spoils ON rejoin.user_events");
    let whole = appended(&process, "u").await;
    let mut seen = Vec::new();
    while !seen.iter().any(|entry: &Entry| entry.id == whole) {
        if let Signal::Appended(told, entry) = signals.next().await.unwrap() {
            assert_eq!(told, topic);
            seen.push(entry);
        }
    }
    assert!(seen.iter().all(|entry| entry.id != spoilt));
}
