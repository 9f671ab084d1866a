//! What a connection may keep a server waiting for, and for how long; and what happens when there
//! are too many.

use std::time::Duration;

use rejoin_test_support::{Connection, TestServer, eventually, soon};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
const EVENT: &str = "POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 30\r\n\r\n{\"user_id\":\"local\",\"type\":\"t\"}";
/// HTTP/2's preface, and settings that say nothing.
const HTTP2: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `GET http://localhost/healthz` as HTTP/2's first stream.
const HTTP2_HEALTH: &[u8] = b"\0\0\x17\x01\x05\0\0\0\x01\x82\x86\x04\x08/healthz\x01\x09localhost";

async fn connect(server: &TestServer, first: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    socket.write_all(first.as_bytes()).await.unwrap();
    socket
}

/// Sends a request, and reads its answer, which is JSON.
async fn ask(socket: &mut TcpStream, request: &str) -> String {
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with('}') {
        let mut piece = [0; 4_096];
        let count = soon("an answer", socket.read(&mut piece)).await.unwrap();
        assert!(count > 0, "closed behind {answer:?}");
        answer += std::str::from_utf8(&piece[..count]).unwrap();
    }
    answer
}

/// Waits until the server closes. Gives what it said before, and how long it took.
async fn closed(socket: &mut TcpStream) -> (String, Duration) {
    let (began, mut said) = (Instant::now(), Vec::new());
    // Closed or reset, either way.
    let _ = soon("the server to close", socket.read_to_end(&mut said)).await;
    (String::from_utf8_lossy(&said).into_owned(), began.elapsed())
}

#[tokio::test]
async fn a_connection_may_rest_for_its_own_time_between_requests() {
    let server =
        TestServer::start("server.request_timeout_seconds = 1\nserver.keep_alive_seconds = 6")
            .await;
    for request in [HEALTH, EVENT] {
        let mut socket = connect(&server, "").await;
        ask(&mut socket, request).await;
        sleep(Duration::from_secs(2)).await;
        let asked_at = Instant::now();
        assert!(ask(&mut socket, request).await.starts_with("HTTP/1.1 20"));
        let (said, _) = closed(&mut socket).await;
        assert!(
            said.is_empty() && asked_at.elapsed() >= Duration::from_secs(6),
            "{said:?} after {:?}",
            asked_at.elapsed()
        );
    }
}

#[tokio::test]
async fn a_connection_of_http_2_may_rest_as_long_and_no_longer() {
    let server =
        TestServer::start("server.request_timeout_seconds = 1\nserver.keep_alive_seconds = 3")
            .await;
    let mut socket = connect(&server, HTTP2).await;
    socket.write_all(HTTP2_HEALTH).await.unwrap();
    let (said, after) = closed(&mut socket).await;
    assert!(said.contains("alive") && after >= Duration::from_secs(3), "{said:?} after {after:?}");
}

#[tokio::test]
async fn promise_11_a_head_that_does_not_end_is_refused_on_new_and_on_kept_connections() {
    let server =
        TestServer::start("server.request_timeout_seconds = 1\nserver.keep_alive_seconds = 3600")
            .await;
    for first in ["", HEALTH, EVENT] {
        let mut socket = connect(&server, "").await;
        if !first.is_empty() {
            ask(&mut socket, first).await;
        }
        socket.write_all(b"GET /healthz HTTP/1.1\r\nhost").await.unwrap();
        let (said, _) = closed(&mut socket).await;
        let (head, body) =
            said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{first:?}: {said:?}"));
        assert!(head.starts_with("HTTP/1.1 408 ") && head.contains("connection: close"), "{head}");
        assert_eq!(serde_json::from_str::<Value>(body).unwrap()["code"], "request_timeout");
    }
}

#[tokio::test]
async fn promise_7_a_connection_on_which_no_request_ever_comes_is_closed() {
    let server =
        TestServer::start("server.request_timeout_seconds = 1\nserver.keep_alive_seconds = 3600")
            .await;
    for first in ["", "P", "PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n", HTTP2] {
        let mut socket = connect(&server, first).await;
        closed(&mut socket).await;
    }
}

#[tokio::test]
async fn promise_10_connections_without_a_request_do_not_hold_up_a_stop() {
    let server = TestServer::start("server.drain_seconds = 40").await;
    let mut resting = connect(&server, "").await;
    ask(&mut resting, HEALTH).await;
    let mut sockets = vec![resting];
    for first in ["", "P", "PRI", HTTP2] {
        sockets.push(connect(&server, first).await);
    }
    // All have been accepted when a later one is answered.
    server.publish("t", json!(1)).await;
    let began = Instant::now();
    assert!(soon("the drain", server.drain()).await);
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    for mut socket in sockets {
        closed(&mut socket).await;
    }
}

#[tokio::test]
async fn promise_10_a_head_that_does_not_end_makes_no_drain_late() {
    for (settings, at_most) in [
        ("server.drain_seconds = 40\nserver.request_timeout_seconds = 1", Duration::from_secs(20)),
        ("server.drain_seconds = 2\nserver.request_timeout_seconds = 60", Duration::from_secs(2)),
    ] {
        let server = TestServer::start(settings).await;
        let _half = connect(&server, "GET /healthz HTTP/1.1\r\nhost").await;
        server.publish("t", json!(1)).await;
        let began = Instant::now();
        assert!(soon("the drain", server.drain()).await, "{settings}");
        assert!(began.elapsed() < at_most, "{settings}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn promise_10_a_refused_upload_that_goes_on_makes_no_drain_late() {
    let server = TestServer::start("server.drain_seconds = 2").await;
    let head = "POST /api/nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n";
    let mut upload = connect(&server, "").await;
    assert!(ask(&mut upload, head).await.starts_with("HTTP/1.1 404 "));
    let going_on = tokio::spawn(async move {
        while upload.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(soon("the drain", server.drain()).await);
    soon("the upload's end", going_on).await.unwrap();
}

/// A server that has as many connections as it may have, and the streams that they are.
async fn full() -> (TestServer, Vec<Connection>) {
    let server = TestServer::start("server.max_connections = 2").await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(Connection::open(&server.url("/api/events"), None).await);
    }
    (server, streams)
}

#[tokio::test]
async fn promise_11_over_the_limit_of_connections_health_is_told_and_all_else_refused() {
    let (server, mut streams) = full().await;
    let clients =
        [Client::builder().pool_max_idle_per_host(0), Client::builder().http2_prior_knowledge()];
    for client in clients.map(|client| client.build().unwrap()) {
        for _ in 0..20 {
            for path in ["/healthz", "/readyz", "/metrics"] {
                let response =
                    soon("an answer", client.get(server.url(path)).send()).await.unwrap();
                assert_eq!(response.status(), 200, "{path}");
            }
        }
        for path in ["/api/events", "/api/admin/status", "/nothing"] {
            let response = soon("an answer", client.get(server.url(path)).send()).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), response.headers().contains_key("retry-after")),
                (503, true),
                "{path}"
            );
            assert_eq!(response.json::<Value>().await.unwrap()["code"], "server_full");
        }
    }
    let mut socket = connect(&server, HEALTH).await;
    let (said, _) = closed(&mut socket).await;
    assert!(
        said.starts_with("HTTP/1.1 200 ") && said.contains("connection: close"),
        "closed behind one answer: {said}"
    );
    streams.pop();
    let event = json!({ "user_id": "local", "type": "t" });
    eventually("room again", async || server.post(&event).await.0 == 201).await;
}

#[tokio::test]
async fn health_is_told_though_silent_connections_wait_over_the_limit() {
    let (server, _streams) = full().await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(connect(&server, "").await);
    }
    let health = reqwest::get(server.url("/healthz"));
    assert_eq!(soon("an answer", health).await.unwrap().status(), 200);
}

#[tokio::test]
async fn listeners_of_their_own_tell_over_the_limit_what_they_tell_otherwise() {
    let server =
        TestServer::start("server.max_connections = 1\nserver.ops_listen = \"127.0.0.1:0\"").await;
    let _stream = Connection::open(&server.url("/api/events"), None).await;
    let get =
        async |url: String| soon("an answer", reqwest::get(url)).await.unwrap().status().as_u16();
    assert_eq!(get(server.url("/healthz")).await, 200);
    assert_eq!(get(server.url("/metrics")).await, 503);
    assert_eq!(get(server.ops_url("/metrics")).await, 200);
}
