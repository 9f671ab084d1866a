//! HTTP/2 answers that a client asks for and does not take (promise 7).

use std::time::Duration;

use bytes::Bytes;
use h2::{
    Ping, Reason, RecvStream,
    client::{self, Builder, SendRequest},
};
use http::Request;
use rejoin_test_support::{Connection, ServerProcess, TestServer, eventually, soon};
use serde_json::json;
use tokio::{net::TcpStream, task::JoinHandle, time::Instant};

/// A client that lets so many bytes of each answer pass, and no more unless the test says so. It
/// answers pings.
struct Client {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(address: std::net::SocketAddr, window: u32) -> Self {
        let (requests, driver) = Self::handshake(address, window).await;
        Self { requests, driver: tokio::spawn(driver) }
    }

    async fn handshake(
        address: std::net::SocketAddr,
        window: u32,
    ) -> (SendRequest<Bytes>, client::Connection<TcpStream>) {
        let socket = TcpStream::connect(address).await.unwrap();
        Builder::new().initial_window_size(window).handshake(socket).await.unwrap()
    }

    /// Asks, and returns the answer's body once its head has come.
    async fn get(&mut self, path: &str) -> RecvStream {
        let request = Request::get(format!("http://localhost{path}")).body(()).unwrap();
        let mut requests = self.requests.clone().ready().await.unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        let response = soon("the head of an answer", response).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body()
    }
}

/// Waits until the server resets an answer, without taking anything of it.
async fn reset(body: &mut RecvStream) -> Option<Reason> {
    loop {
        match soon("the answer's end", body.data()).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return error.reason(),
            None => return None,
        }
    }
}

#[tokio::test]
async fn promise_7_an_answer_of_which_its_client_takes_nothing_is_reset() {
    let server =
        TestServer::start("server.write_timeout_seconds = 1\nserver.keep_alive_seconds = 3600")
            .await;
    for window in [0, 1, 1_000] {
        let mut client = Client::connect(server.address(), window).await;
        let mut stalled = client.get("/openapi.json").await;
        assert_eq!(reset(&mut stalled).await, Some(Reason::CANCEL), "window {window}");
        // The connection serves on.
        let mut other = client.get("/healthz").await;
        let mut taken = 0;
        while let Some(data) = soon("an answer", other.data()).await {
            let Ok(data) = data else { break };
            taken += data.len();
            other.flow_control().release_capacity(data.len()).unwrap();
        }
        assert!(taken > 0 || window == 0, "window {window}");
        assert!(!client.driver.is_finished());
    }
}

#[tokio::test]
async fn promise_7_a_stream_of_which_its_client_takes_nothing_is_reset_and_its_slot_is_free() {
    let server =
        TestServer::start("server.write_timeout_seconds = 1\nsse.keepalive_seconds = 1").await;
    for window in [0, 200] {
        let mut client = Client::connect(server.address(), window).await;
        let mut stream = client.get("/api/events").await;
        assert_eq!(server.connections(), 1);
        server.publish("t", json!("x".repeat(10_000))).await;
        eventually("its slot is free", async || server.connections() == 0).await;
        assert_eq!(reset(&mut stream).await, Some(Reason::CANCEL), "window {window}");
    }
}

#[tokio::test]
async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let server = TestServer::start("server.write_timeout_seconds = 2").await;
    let whole = reqwest::get(server.url("/openapi.json")).await.unwrap().bytes().await.unwrap();
    let mut client = Client::connect(server.address(), 16_384).await;
    let mut body = client.get("/openapi.json").await;
    let (mut taken, began) = (Vec::new(), Instant::now());
    while let Some(data) = soon("more of the answer", body.data()).await {
        let data = data.unwrap();
        taken.extend_from_slice(&data);
        // The slowness under test: it takes longer than the write timeout altogether.
        tokio::time::sleep(Duration::from_millis(700)).await;
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert!(
        taken == whole && began.elapsed() > Duration::from_secs(2),
        "{} bytes in {:?}",
        taken.len(),
        began.elapsed()
    );
}

#[tokio::test]
async fn promise_7_pings_do_not_keep_a_connection_without_a_request() {
    let server =
        TestServer::start("server.request_timeout_seconds = 1\nserver.keep_alive_seconds = 4")
            .await;
    for asks_first in [false, true] {
        let (mut requests, mut driver) = Client::handshake(server.address(), 65_535).await;
        let mut pings = driver.ping_pong().unwrap();
        let driver = tokio::spawn(driver);
        if asks_first {
            requests = requests.ready().await.unwrap();
            let (response, _) = requests
                .send_request(Request::get("http://localhost/healthz").body(()).unwrap(), true)
                .unwrap();
            assert_eq!(soon("an answer", response).await.unwrap().status(), 200);
        }
        let began = Instant::now();
        let pinging = async {
            while pings.ping(Ping::opaque()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        soon("the connection's end", pinging).await;
        let lived = began.elapsed();
        assert!(
            !asks_first || lived >= Duration::from_millis(3_500),
            "a resting connection is kept: {lived:?}"
        );
        driver.abort();
        drop(requests);
    }
}

#[tokio::test]
async fn health_is_told_over_the_limit_though_others_do_not_take_their_answers() {
    let server =
        TestServer::start("server.max_connections = 1\nserver.write_timeout_seconds = 3600").await;
    let _stream = Connection::open(&server.url("/api/events"), None).await;
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let (requests, driver) =
            soon("a place over the limit", Client::handshake(server.address(), 0)).await;
        let mut client = Client { requests, driver: tokio::spawn(driver) };
        let request = Request::get("http://localhost/metrics").body(()).unwrap();
        client.requests = soon("it is ready", client.requests.ready()).await.unwrap();
        let answer = client.requests.send_request(request, true).unwrap().0;
        stalled.push((client, answer));
    }
    let health = reqwest::get(server.url("/healthz"));
    assert_eq!(soon("an answer", health).await.unwrap().status(), 200);
}

#[tokio::test]
async fn promise_7_the_answers_of_a_connection_are_bounded_in_bytes() {
    let process = ServerProcess::start(env!("CARGO_BIN_EXE_rejoin"), &[]).await;
    let url = format!("http://{}/api/events", process.address());
    let line =
        format!("{}\n", json!({ "user_id": "local", "type": "t", "payload": "x".repeat(100_000) }));
    let upload = reqwest::Client::new()
        .post(&url)
        .header("content-type", "application/x-ndjson")
        .body(line.repeat(50));
    assert_eq!(upload.send().await.unwrap().text().await.unwrap().matches("true").count(), 50);
    let before = process.resident_kib();
    let mut answers = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(process.address(), 0).await;
        for _ in 0..200 {
            let request = Request::get("http://localhost/api/admin/users/local/events?limit=50")
                .body(())
                .unwrap();
            client.requests = client.requests.ready().await.unwrap();
            answers.push(client.requests.send_request(request, true).unwrap().0);
        }
        clients.push(client);
    }
    // The server is at it. What it would hold without a bound it would have made within this time
    // several times over.
    for _ in 0..30 {
        let grown = process.resident_kib().saturating_sub(before);
        assert!(
            grown < 200 * 1_024,
            "{grown} KiB for answers that nobody takes: 3,200 MiB would be all of them"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let health = reqwest::get(format!("http://{}/healthz", process.address()));
    assert_eq!(soon("other clients are served", health).await.unwrap().status(), 200);
    drop((answers, clients));
}
