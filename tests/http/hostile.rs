//! Rubbish, and what it gets: a clear status, and a process that lives.

use std::time::Duration;

use rejoin_test_support::{TestServer, soon};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Sends bytes, and reads the answer until the server closes or has nothing to add.
pub(crate) async fn raw(server: &TestServer, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    // A server that has read enough may answer and close before all is sent.
    let _ = socket.write_all(request).await;
    let _ = socket.shutdown().await;
    let mut answer = Vec::new();
    let _ = soon("an answer", socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(body: &[u8], headers: &str) -> Vec<u8> {
    let mut request = format!(
        "POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

#[tokio::test]
async fn hostile_requests_get_a_clear_status_and_the_process_lives() {
    let server = TestServer::start("server.request_timeout_seconds = 2").await;
    let nested = format!(r#"{{"user_id":"local","type":"t","payload":{}"#, "[".repeat(900_000));
    let deep = format!(
        r#"{{"user_id":"local","type":"t","payload":{}{}}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let huge_header = format!("x-padding: {}\r\n", "x".repeat(200_000));
    let many_headers: String = "x-again: 1\r\n".repeat(2_000);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), "400"),
        ("nonsense", b"hello\r\n\r\n".to_vec(), "400"),
        ("another version", b"GET / HTTP/9.9\r\n\r\n".to_vec(), "400"),
        ("a huge header", post(b"{}", &huge_header), "431"),
        ("a head of 100,000 bytes", post(b"{}", &format!("x-padding: {}\r\n", "x".repeat(100_000))), "431"),
        ("a header over the limit", post(b"{}", &format!("x-padding: {}\r\n", "x".repeat(65_500))), "431"),
        ("many headers over the limit", post(b"{}", &format!("x-padding: {}\r\n", "x".repeat(1_000)).repeat(65)), "431"),
        ("too many headers", post(b"{}", &many_headers), "431"),
        // Whether hyper sees the target's end before its buffer is full depends on how the bytes
        // arrive.
        ("a huge target", format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(70_000)).into_bytes(), "414 or 431"),
        ("a header within the limit", post(br#"{"user_id":"local","type":"t"}"#, &format!("x-padding: {}\r\n", "x".repeat(65_000))), "201"),
        ("NUL in a header", post(b"{}", "x: a\0b\r\n"), "400"),
        ("two lengths", b"POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx".to_vec(), "400"),
        ("an empty body", post(b"", ""), "400"),
        ("invalid UTF-8", post(b"{\"user_id\":\"\xff\xfe\",\"type\":\"t\"}", ""), "400"),
        ("half a surrogate as an id", post(br#"{"user_id":"\ud800","type":"t"}"#, ""), "422"),
        ("unclosed nesting", post(nested.as_bytes(), ""), "400"),
        ("deep nesting", post(deep.as_bytes(), ""), "422"),
        ("a NUL in an id", post(br#"{"user_id":"a\u0000","type":"t"}"#, ""), "422"),
        ("a line break in a type", post(b"{\"user_id\":\"a\",\"type\":\"a\\nid: 7\"}", ""), "422"),
        ("a body over the limit", post(&vec![b' '; 1_048_577], ""), "413"),
        ("an endless length", b"POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 18446744073709551615\r\n\r\n{".to_vec(), "431"),
        ("a chunk that lies", b"POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".to_vec(), "400"),
        ("a broken percent escape", b"GET /api/events?categories=%zz%f HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_vec(), "400"),
        ("odd bytes in the cursor", b"HEAD /api/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nlast-event-id: \xff\xfe\r\n\r\n".to_vec(), "405"),
        ("a path that climbs", b"GET /api/../../etc/passwd HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_vec(), "404"),
    ];
    for (name, request, status) in cases {
        let answer = raw(&server, &request).await;
        let first_line = answer.lines().next().unwrap_or_default();
        let expected = status
            .split(" or ")
            .any(|status| first_line.starts_with(&format!("HTTP/1.1 {status} ")));
        assert!(expected, "{name}: {first_line:?}");
        server.publish("alive", json!(name)).await;
    }
}

#[tokio::test]
async fn a_request_that_trickles_in_is_given_up() {
    let server = TestServer::start("server.request_timeout_seconds = 1").await;
    for beginning in [
        "P",
        "GET /api/events HTTP/1.1\r\nhost:",
        "PR",
        "POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        socket.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Closed or reset: given up either way.
        let _ = soon("the server gives up", socket.read_to_end(&mut answer)).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
            "{beginning:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn http_1_0_and_requests_behind_a_stream_do_no_harm() {
    let server = TestServer::start("sse.keepalive_seconds = 1").await;
    let mut old = TcpStream::connect(server.address()).await.unwrap();
    old.write_all(b"GET /api/events HTTP/1.0\r\n\r\n").await.unwrap();
    let mut pipelined = TcpStream::connect(server.address()).await.unwrap();
    pipelined
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    for (name, socket) in [("1.0", &mut old), ("pipelined", &mut pipelined)] {
        let mut answer = String::new();
        while !answer.contains(": keepalive") {
            let mut buffer = [0; 4_096];
            let count = soon("more of the stream", socket.read(&mut buffer)).await.unwrap();
            assert!(count > 0, "{name} ended: {answer}");
            answer += &String::from_utf8_lossy(&buffer[..count]);
        }
        assert_eq!(name == "1.0", !answer.contains("transfer-encoding: chunked"), "{answer}");
        assert!(answer.contains(": connected"), "{answer}");
    }
    tokio::time::timeout(Duration::from_secs(5), server.publish("alive", json!(1))).await.unwrap();
}
