//! Clients that read slowly or not at all cost no more than others, and are closed in the end
//! (promise 7).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rejoin::{
    adapters::auth::mint::TokenRequest,
    domain::{access::Scope, topic::UserId},
    testing::{mint, settings_with_tokens},
};
use rejoin_test_support::{Connection, ServerProcess, TestServer, eventually};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// A client with a small receive buffer, which has asked for its events.
async fn subscribe(address: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    socket.write_all(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    socket
}

async fn publish_large(server: &TestServer, times: usize) {
    let payload = "x".repeat(100_000);
    for _ in 0..times {
        server.publish("large", json!(payload)).await;
    }
}

#[tokio::test]
async fn promise_7_a_client_that_never_reads_is_closed_after_the_write_timeout() {
    let server = TestServer::start("server.write_timeout_seconds = 1").await;
    let _stalled = subscribe(server.address()).await;
    eventually("it is connected", async || server.connections() == 1).await;
    publish_large(&server, 100).await;
    eventually("it is closed", async || server.connections() == 0).await;
}

#[tokio::test]
async fn promise_7_a_client_that_reads_a_byte_a_second_is_closed_too() {
    let server = TestServer::start("server.write_timeout_seconds = 2").await;
    let mut slow = subscribe(server.address()).await;
    eventually("it is connected", async || server.connections() == 1).await;
    let reading = tokio::spawn(async move {
        let mut read = 0;
        while slow.read_u8().await.is_ok() {
            read += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        read
    });
    publish_large(&server, 100).await;
    eventually("it is closed", async || server.connections() == 0).await;
    reading.abort();
}

#[tokio::test]
async fn a_token_that_ends_while_its_client_takes_nothing_is_reported_as_that() {
    let server =
        TestServer::start(&settings_with_tokens("server.write_timeout_seconds = 60")).await;
    let token = |ttl_seconds| {
        let request = TokenRequest {
            user: UserId::parse("u1").ok(),
            scopes: [Scope::EventsPublish].into(),
            ttl: Duration::from_secs(ttl_seconds),
            ..TokenRequest::default()
        };
        mint(&request)
    };
    let (reader, publisher) = (token(5), token(3_600));
    let mut stalled = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "GET /api/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {reader}\r\n\r\n"
    );
    stalled.write_all(head.as_bytes()).await.unwrap();
    eventually("it is connected", async || server.connections() == 1).await;
    let event = json!({ "user_id": "u1", "type": "large", "payload": "x".repeat(900_000) });
    for _ in 0..20 {
        let publish = reqwest::Client::new()
            .post(server.url("/api/events"))
            .bearer_auth(&publisher)
            .json(&event);
        assert_eq!(publish.send().await.unwrap().status(), 201);
    }
    let ended =
        |reason| format!("rejoin_streams_ended_total{{channel=\"user\",reason=\"{reason}\"}}");
    eventually("its token has ended", async || {
        server.metric(&ended("token_expired")).await == Some(1.0)
    })
    .await;
    assert_eq!(server.metric(&ended("stalled")).await, None);
    let mut received = Vec::new();
    let _ = stalled.read_to_end(&mut received).await;
    assert!(
        !received.ends_with(b": token expired\n\r\n0\r\n\r\n"),
        "it could not be told, since it took nothing"
    );
}

#[tokio::test]
async fn promise_1_a_slow_client_falls_back_to_the_journal_and_misses_nothing() {
    // The ring holds next to nothing, so whoever pauses is behind it.
    let server =
        Arc::new(TestServer::start("hub.ring_entries_max = 4\nevents.stream_maxlen = 5000").await);
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    let payload = "x".repeat(2_000);
    let publishing = {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            for n in 0..2_000 {
                server.publish("n", json!([n, payload])).await;
            }
        })
    };
    for n in 0..2_000 {
        assert_eq!(stream.event().await.1["payload"][0], n);
        if n % 200 == 0 {
            // Not a wait for luck: this is the slowness under test.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    publishing.await.unwrap();
}

#[tokio::test]
async fn promise_7_stalled_clients_do_not_make_the_process_grow() {
    let environment = [
        ("SSE_MAX_CONCURRENT_PER_USER", "0"),
        ("REJOIN_MEMORY__MAX_BYTES", "16777216"),
        ("REJOIN_HUB__RINGS_MAX_BYTES", "4194304"),
    ];
    let process = ServerProcess::start(env!("CARGO_BIN_EXE_rejoin"), &environment).await;
    let mut stalled = Vec::new();
    for _ in 0..200 {
        stalled.push(subscribe(process.address()).await);
    }
    let url = format!("http://{}/api/events", process.address());
    let (delivered, mut healthy) =
        (Arc::new(AtomicUsize::new(0)), Connection::open(&url, None).await);
    let counting = tokio::spawn({
        let delivered = Arc::clone(&delivered);
        async move {
            while healthy.event().await.0.is_some() {
                delivered.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let line =
        format!("{}\n", json!({ "user_id": "local", "type": "n", "payload": "x".repeat(10_000) }));
    let publish = async |round: usize| {
        let request = reqwest::Client::new()
            .post(&url)
            .header("content-type", "application/x-ndjson")
            .body(line.repeat(200));
        assert_eq!(
            request.send().await.unwrap().text().await.unwrap().matches("true").count(),
            200
        );
        eventually("a healthy client is served all the while", async || {
            delivered.load(Ordering::Relaxed) == (round + 1) * 200
        })
        .await;
    };
    // The first 20 MB fill what is bounded: the journal, the rings, and what each stalled client
    // was being written.
    for round in 0..10 {
        publish(round).await;
    }
    let filled = process.resident_kib();
    for round in 10..40 {
        publish(round).await;
    }
    let grown = process.resident_kib().saturating_sub(filled);
    // 60 MB went by for each of 200 clients; queues would hold 12 GB by now.
    assert!(grown < 32 * 1_024, "{grown} KiB more after three times as much");
    counting.abort();
    drop(stalled);
}
