//! Snapshots that are larger than one connection may have.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{Connection, EventClient, Seen, TestServer, soon};
use serde_json::json;

#[tokio::test]
async fn promise_1_a_capped_snapshot_arrives_in_parts_while_events_go_on() {
    let server = Arc::new(TestServer::start("").await);
    for n in 0..450 {
        server.publish("n", json!(n)).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let live = {
        let (server, done) = (Arc::clone(&server), Arc::clone(&done));
        tokio::spawn(async move {
            let mut n = 450;
            while !done.load(Ordering::Relaxed) {
                server.publish("n", json!(n)).await;
                n += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            n
        })
    };
    let mut client = EventClient::new(server.url("/api/events")).with_cursor("0");
    soon("the whole backlog", client.follow_until(|seen| seen.len() >= 450)).await;
    assert_eq!(client.connections, 3, "two capped parts, and one that goes live");
    done.store(true, Ordering::Relaxed);
    let published = live.await.unwrap();
    soon("what was published meanwhile", client.follow_until(|seen| seen.len() >= published)).await;
    let payloads = client.seen.iter().map(|seen| match seen {
        Seen::Event(_, envelope) => envelope["payload"].as_u64().unwrap(),
        Seen::Control(control) => panic!("{control}"),
    });
    assert_eq!(payloads.collect::<Vec<_>>(), (0..published as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_capped_part_ends_by_asking_the_client_back() {
    let server = TestServer::start("events.replay_max_per_request = 2").await;
    for n in 0..3 {
        server.publish("n", json!(n)).await;
    }
    let all = Connection::open(&server.url("/api/events"), Some("0")).await.rest().await;
    let tail = &all[all.len() - 2..];
    assert_eq!(tail, [Decoded::Retry(100), Decoded::Comment("snapshot capped".into())]);
    assert_eq!(all.iter().filter(|decoded| matches!(decoded, Decoded::Event { .. })).count(), 2);
}

#[tokio::test]
async fn a_snapshot_of_exactly_the_cap_goes_live() {
    let server = TestServer::start("events.replay_max_per_request = 2").await;
    for n in 0..2 {
        server.publish("n", json!(n)).await;
    }
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    stream.event().await;
    stream.event().await;
    let id = server.publish("n", json!(2)).await;
    assert_eq!(stream.event().await.0, Some(id));
}
