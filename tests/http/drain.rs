//! How a server stops.

use std::{collections::BTreeSet, time::Duration};

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{Connection, ServerProcess, TestServer, eventually, soon};
use serde_json::json;
use tokio::time::Instant;

#[tokio::test]
async fn promise_10_clients_are_told_spread_over_the_drain_window_with_different_delays() {
    let server =
        TestServer::start("server.drain_seconds = 2\nsse.max_concurrent_per_user = 0").await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(Connection::open(&server.url("/api/events"), None).await);
    }
    let started = Instant::now();
    let draining = tokio::spawn(server.drain());
    let (mut ended_at, mut delays) = (Vec::new(), BTreeSet::new());
    for stream in streams
        .into_iter()
        .map(|mut stream| tokio::spawn(async move { (stream.rest().await, Instant::now()) }))
        .collect::<Vec<_>>()
    {
        let (all, at) = stream.await.unwrap();
        let [.., Decoded::Retry(delay), Decoded::Comment(reason)] = &all[..] else {
            panic!("{all:?}")
        };
        assert_eq!(reason, "draining");
        delays.insert(*delay);
        ended_at.push(at - started);
    }
    assert!(draining.await.unwrap(), "all was over in time");
    ended_at.sort_unstable();
    assert!(ended_at[39] > ended_at[0] + Duration::from_millis(500), "all at once: {ended_at:?}");
    assert!(delays.len() > 20, "{delays:?}");
}

#[tokio::test]
async fn a_draining_server_is_not_ready_and_asks_new_clients_back() {
    let server = TestServer::start("server.drain_seconds = 10").await;
    let (ready, events) = (server.url("/readyz"), server.url("/api/events"));
    let _open = Connection::open(&events, None).await;
    let _draining = tokio::spawn(server.drain());
    eventually("not ready", async || {
        reqwest::get(&ready).await.is_ok_and(|response| response.status() == 503)
    })
    .await;
    // Not by a status: an `EventSource` would give up for good.
    let asked_back = Connection::open(&events, None).await.rest().await;
    assert!(
        matches!(&asked_back[..], [Decoded::Retry(_), Decoded::Comment(reason)] if reason == "draining"),
        "{asked_back:?}"
    );
}

#[tokio::test]
async fn promise_10_the_program_drains_on_sigterm_and_on_sigint_and_exits_with_0() {
    for signal in ["TERM", "INT"] {
        let process = ServerProcess::start(
            env!("CARGO_BIN_EXE_rejoin"),
            &[("REJOIN_SERVER__DRAIN_SECONDS", "1")],
        )
        .await;
        let url = format!("http://{}/api/events", process.address());
        let mut stream = Connection::open(&url, None).await;
        let event = json!({ "user_id": "local", "type": "t", "payload": 1 });
        assert_eq!(
            reqwest::Client::new().post(&url).json(&event).send().await.unwrap().status(),
            201
        );
        process.signal(signal).await;
        let all = soon("the stream's end", stream.rest()).await;
        assert!(all.iter().any(|decoded| matches!(decoded, Decoded::Event { .. })), "{all:?}");
        assert_eq!(all.last(), Some(&Decoded::Comment("draining".into())));
        assert_eq!(process.ended().await.code(), Some(0), "SIG{signal}");
    }
}
