//! Clients that leave, and clients that send what nobody asked for: both are noticed while their
//! streams rest.

use std::time::Duration;

use rejoin_test_support::{TestServer, eventually, soon};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Nothing but the client's leave tells the server: there is no write in all this time.
const SETTINGS: &str = "sse.keepalive_seconds = 3600";

/// Every way to ask for a stream over HTTP/1.
const REQUESTS: [(&str, &str); 5] = [
    ("HTTP/1.1", "GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("HTTP/1.0", "GET /api/events HTTP/1.0\r\nhost: localhost\r\n\r\n"),
    (
        "HTTP/1.0, kept alive",
        "GET /api/events HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n",
    ),
    ("a body", "GET /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nbody"),
    (
        "a body in chunks",
        "GET /api/events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ),
];

async fn subscribe(server: &TestServer, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut socket, "connected").await;
    socket
}

async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        let mut piece = [0; 4_096];
        let count = soon(text, socket.read(&mut piece)).await.unwrap();
        assert!(count > 0, "ended after {read:?}");
        read += std::str::from_utf8(&piece[..count]).unwrap();
    }
    read
}

#[tokio::test]
async fn promise_7_a_client_that_leaves_frees_its_slot_at_once_however_it_asked() {
    let server = TestServer::start(SETTINGS).await;
    for (name, request) in REQUESTS {
        let socket = subscribe(&server, request).await;
        assert_eq!(server.connections(), 1, "{name}");
        drop(socket);
        eventually(name, async || server.connections() == 0).await;
    }
    // Nine page loads, each closing the stream of the one before: eight is the cap.
    for (name, request) in REQUESTS {
        for _ in 0..9 {
            drop(subscribe(&server, request).await);
        }
        eventually(name, async || server.connections() == 0).await;
    }
}

#[tokio::test]
async fn a_stream_is_the_same_however_its_client_asked() {
    let server = TestServer::start("").await;
    for (name, request) in REQUESTS {
        let mut socket = subscribe(&server, request).await;
        server.publish("t", json!(name)).await;
        let event = read_until(&mut socket, "\n\n").await;
        assert!(event.contains(&json!(name).to_string()), "{name}: {event}");
    }
    let mut old = TcpStream::connect(server.address()).await.unwrap();
    old.write_all(REQUESTS[1].1.as_bytes()).await.unwrap();
    let mut text = read_until(&mut old, "stream.position").await;
    assert!(server.drain().await);
    soon("its end", old.read_to_string(&mut text)).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.0 200 OK\r\n") && !head.contains("transfer-encoding"),
        "{head}"
    );
    assert!(
        body.starts_with(": connected\n") && body.trim_end().ends_with(": draining"),
        "no chunks, and the farewell: {body}"
    );
}

#[tokio::test]
async fn a_body_that_does_not_end_begins_no_stream_and_holds_no_slot() {
    let server = TestServer::start(SETTINGS).await;
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    socket
        .write_all(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf")
        .await
        .unwrap();
    let answer = read_until(&mut socket, "}").await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"),
        "{answer}"
    );
    eventually("its slot is free", async || server.connections() == 0).await;
}

#[tokio::test]
async fn promise_7_a_client_that_sends_without_end_behind_its_request_is_closed() {
    let server = TestServer::start(SETTINGS).await;
    for (name, request) in REQUESTS {
        // A little does no harm.
        let mut socket = subscribe(&server, request).await;
        socket.write_all(&vec![b'x'; 32 * 1024]).await.unwrap();
        assert!(
            timeout(Duration::from_millis(200), socket.read(&mut [0; 4_096])).await.is_err()
                || server.connections() == 1,
            "{name}"
        );
        assert_eq!(server.connections(), 1, "{name}");
        let sending = async { while socket.write_all(&[b'x'; 4_096]).await.is_ok() {} };
        soon("it is closed", sending).await;
        eventually(name, async || server.connections() == 0).await;
    }
}
