//! Events for everybody reach each process's feed once and in order, also where it was cut off; who
//! would have too much kept for that is refused.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use rejoin::{
    adapters::postgres,
    domain::{
        event::{Content, Event},
        json::Json,
        topic::UserId,
    },
    ports::{backend_error::BackendErrorKind, feed::Signal},
    testing::backend_context,
};
use rejoin_test_support::{CuttingProxy, PostgresServer, eventually, soon};
use tokio::task::JoinSet;

use crate::postgres::given::{event, options, topic};

fn saying(payload: &str) -> Arc<Event> {
    Arc::new(Event {
        content: Content::Payload(Json::parse(payload).unwrap()),
        ..(*event()).clone()
    })
}

/// The payloads of the next broadcasts.
async fn hear(signals: &mut BoxStream<'static, Signal>, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < count {
        if let Signal::Broadcast(event) = soon("a broadcast", signals.next()).await.unwrap() {
            heard.push(event.content.payload().unwrap().as_str().to_owned());
        }
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_a_broadcast_reaches_a_process_that_was_cut_off() {
    let server = PostgresServer::start().await;
    let proxy = CuttingProxy::start_uncut(server.address()).await;
    let writer = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    let cut = postgres::open(
        options(format!("postgres://postgres@{}/postgres?sslmode=disable", proxy.address())),
        &backend_context(),
    )
    .await
    .unwrap();
    let (mut signals, user) = (cut.feed.signals(), UserId::parse("u").unwrap());
    writer.feed.broadcast(saying("0")).await.unwrap();
    assert_eq!(hear(&mut signals, 1).await, ["0"]);
    for round in 0..3 {
        proxy.unplug();
        eventually("the feed to be cut off", async || cut.feed.watch(&topic("u")).await.is_err())
            .await;
        // More than are read at once.
        let said: Vec<String> =
            (1..=100).map(|number| (round * 1000 + number).to_string()).collect();
        for payload in &said {
            writer.feed.broadcast(saying(payload)).await.unwrap();
        }
        writer.feed.close_connections(&user).await.unwrap();
        proxy.plug_in();
        assert_eq!(hear(&mut signals, said.len()).await, said);
        loop {
            match soon("the closing", signals.next()).await.unwrap() {
                Signal::CloseConnections(told) => break assert_eq!(told, user),
                Signal::Interrupted => {}
                other => panic!("{other:?} comes again"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_3_broadcasts_come_once_and_in_one_order_while_feeds_are_cut() {
    const EACH: usize = 40;
    let server = PostgresServer::start().await;
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(Arc::new(
            postgres::open(options(server.url()), &backend_context()).await.unwrap(),
        ));
    }
    let mut feeds: Vec<_> = processes.iter().map(|process| process.feed.signals()).collect();
    let mut saying_all = JoinSet::new();
    for (number, process) in processes.iter().enumerate() {
        let process = Arc::clone(process);
        saying_all.spawn(async move {
            for n in 0..EACH {
                process.feed.broadcast(saying(&format!("\"{number} {n}\""))).await.unwrap();
            }
        });
    }
    for _ in 0..4 {
        server.run_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rejoin feed'");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    saying_all.join_all().await;
    let mut orders = BTreeSet::new();
    for feed in &mut feeds {
        let heard = hear(feed, 3 * EACH).await;
        assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), 3 * EACH, "each comes once");
        orders.insert(heard);
    }
    assert_eq!(orders.len(), 1, "all hear them in one order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_7_who_broadcasts_too_much_at_once_is_refused_until_it_is_older() {
    let server = PostgresServer::start().await;
    let process = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    let mut signals = process.feed.signals();
    let large = saying(&format!("\"{}\"", "x".repeat(1 << 20)));
    let mut taken = 0;
    let refused = loop {
        match process.feed.broadcast(Arc::clone(&large)).await {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
        assert!(taken < 17, "{taken} MiB are kept");
    };
    assert!(taken >= 14, "{taken} MiB are not much");
    assert_eq!(refused.kind, BackendErrorKind::BroadcastsFull);
    process.feed.close_connections(&UserId::parse("u").unwrap()).await.unwrap();
    assert_eq!(hear(&mut signals, taken).await.len(), taken, "what was taken is heard");
    server.run_sql(
        "CREATE OR REPLACE FUNCTION rejoin.now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS $$
            SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint + 61000 $$",
    );
    process.feed.broadcast(large).await.unwrap();
    // The sweep that comes by itself may be at it.
    eventually("the closing and the latest event are left", async || {
        process.sweeper.as_ref().unwrap().sweep().await.unwrap();
        server.run_sql("SELECT count(*) FROM rejoin.announcements").trim() == "2"
    })
    .await;
}
