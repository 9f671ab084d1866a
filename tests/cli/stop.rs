//! How the server's program ends when its drain does not go well: not as if nothing had been.

use std::net::SocketAddr;

use rejoin_test_support::{Connection, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::cli::program::{Finished, Running, command};

async fn serve(drain_seconds: &str) -> (Running, SocketAddr) {
    let mut serve = command(&["serve", "--memory"]);
    serve
        .env("REJOIN_SERVER__LISTEN", "127.0.0.1:0")
        .env("REJOIN_SERVER__DRAIN_SECONDS", drain_seconds);
    let running = Running::of(&mut serve);
    let address = running.address().await;
    (running, address)
}

/// A request whose body does not come to its end, on a server that has taken it up.
async fn unfinished_request(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = "POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: 1000\r\n\r\n";
    let event = "{\"user_id\":\"local\",\"type\":\"t\"}\n";
    socket.write_all(format!("{head}{event}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("\"line\":1") {
        let mut piece = [0; 4_096];
        let count = soon("the first line's result", socket.read(&mut piece)).await.unwrap();
        answer += std::str::from_utf8(&piece[..count]).unwrap();
    }
    socket
}

#[track_caller]
fn assert_failed(finished: &Finished, words: &str) {
    assert_eq!(finished.code, Some(1), "{}", finished.err);
    assert!(finished.err.contains("ERROR") && finished.err.contains(words), "{}", finished.err);
}

#[tokio::test]
async fn promise_10_a_drain_that_cuts_something_off_is_reported_and_exits_with_1() {
    let (server, address) = serve("1").await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = "POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    // It has been taken up when it is told to go on.
    let mut answer = [0; 21];
    soon("leave to send the body", socket.read_exact(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 100 Continue"));
    server.signal("TERM").await;
    let finished = server.ended().await;
    assert_failed(&finished, "stopped late");
    assert!(finished.err.contains("cut_off=1"), "{}", finished.err);
}

#[tokio::test]
async fn promise_10_a_second_signal_ends_the_drain_and_exits_with_1() {
    for signal in ["TERM", "INT"] {
        let (server, address) = serve("60").await;
        let _stream = Connection::open(&format!("http://{address}/api/events"), None).await;
        server.signal("TERM").await;
        server.tells("draining").await;
        server.signal(signal).await;
        assert_failed(&server.ended().await, "second signal");
    }
}

#[tokio::test]
async fn promise_10_a_client_that_does_not_take_notice_of_the_end_of_its_upload_does_not_make_the_drain_late()
 {
    let (server, address) = serve("2").await;
    let _upload = unfinished_request(address).await;
    server.signal("TERM").await;
    let finished = server.ended().await;
    assert_eq!(finished.code, Some(0), "{}", finished.err);
}
