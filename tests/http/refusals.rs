//! Promise 11 for uploads that are refused: the sender can read the refusal, though it sends all
//! before it reads.

use std::{fmt::Write as _, process::Stdio};

use rejoin::{
    domain::access::Scope,
    testing::{settings_with_tokens, token},
};
use rejoin_test_support::{Connection, PATIENCE, TestServer, soon};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

/// More than sockets hold between a client and a server.
const LARGE: usize = 8 * 1024 * 1024;
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A request that is refused before its body was read to the end.
#[derive(Clone, Serialize)]
struct Case {
    name: String,
    method: &'static str,
    path: &'static str,
    headers: Map<String, Value>,
    bytes: usize,
    chunked: bool,
    status: u16,
    code: &'static str,
}

impl Case {
    fn new(
        method: &'static str,
        path: &'static str,
        media_type: &str,
        token: Option<&str>,
        (status, code): (u16, &'static str),
    ) -> Self {
        let mut headers = Map::from_iter([("Content-Type".to_owned(), json!(media_type))]);
        headers.extend(
            token.map(|token| ("Authorization".to_owned(), json!(format!("Bearer {token}")))),
        );
        let name = format!("{method} {path} {media_type}");
        Self { name, method, path, headers, bytes: LARGE, chunked: false, status, code }
    }

    /// The same with a declared length, and in chunks.
    fn both_ways(self) -> [Self; 2] {
        let chunked =
            Self { name: format!("{} in chunks", self.name), chunked: true, ..self.clone() };
        [self, chunked]
    }

    /// The request as bytes, with this header beside its own.
    fn to_bytes(&self, header: &str) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nhost: localhost\r\n{header}", self.method, self.path);
        for (name, value) in &self.headers {
            write!(head, "{name}: {}\r\n", value.as_str().unwrap()).unwrap();
        }
        let framing = if self.chunked {
            "transfer-encoding: chunked".to_owned()
        } else {
            format!("content-length: {}", self.bytes)
        };
        let mut bytes = format!("{head}{framing}\r\n\r\n").into_bytes();
        let body = vec![b' '; self.bytes];
        if self.chunked {
            for chunk in body.chunks(64 * 1024) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&body);
        }
        bytes
    }
}

/// A server that refuses with all these, and what has to live for it to do so.
struct Refusing {
    server: TestServer,
    cases: Vec<Case>,
    _stream: Connection,
}

impl Refusing {
    /// By credentials, path, method, media type, size, and the cap on a user's streams.
    async fn for_its_reasons() -> Self {
        let server = TestServer::start(&settings_with_tokens(
            "auth.query_token = true\nsse.max_concurrent_per_user = 1",
        ))
        .await;
        let (reader, publisher) = (token(Some("u1"), &[]), token(None, &[Scope::EventsPublish]));
        let stream =
            Connection::open(&server.url(&format!("/api/events?access_token={reader}")), None)
                .await;
        let events = "/api/events";
        let cases = [
            Case::new("POST", events, JSON, None, (401, "missing_credentials")),
            Case::new("POST", events, NDJSON, None, (401, "missing_credentials")),
            Case::new("POST", events, JSON, Some(&reader), (403, "forbidden")),
            Case::new("POST", events, NDJSON, Some(&reader), (403, "forbidden")),
            Case::new("POST", "/api/nothing", NDJSON, Some(&publisher), (404, "not_found")),
            Case::new("PUT", events, NDJSON, Some(&publisher), (405, "method_not_allowed")),
            Case::new("POST", events, JSON, Some(&publisher), (413, "event_too_large")),
            Case::new(
                "POST",
                events,
                "text/plain",
                Some(&publisher),
                (415, "unsupported_media_type"),
            ),
            Case::new("GET", events, JSON, Some(&reader), (429, "too_many_connections")),
        ];
        Self {
            server,
            cases: cases.into_iter().flat_map(Case::both_ways).collect(),
            _stream: stream,
        }
    }

    /// Because it has as many connections as it may.
    async fn for_want_of_room() -> Self {
        let server = TestServer::start("server.max_connections = 1").await;
        let stream = Connection::open(&server.url("/api/events"), None).await;
        let cases = [JSON, NDJSON].map(|media_type| {
            Case::new("POST", "/api/events", media_type, None, (503, "server_full"))
        });
        Self {
            server,
            cases: cases.into_iter().flat_map(Case::both_ways).collect(),
            _stream: stream,
        }
    }

    async fn every_kind() -> [Self; 2] {
        [Self::for_its_reasons().await, Self::for_want_of_room().await]
    }
}

/// Sends all, and only then reads all.
async fn send_then_read(server: &TestServer, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    soon("the server to take it all", socket.write_all(request))
        .await
        .expect("the server takes it all");
    let mut answer = Vec::new();
    soon("an answer", socket.read_to_end(&mut answer))
        .await
        .expect("an answer that is not cut off");
    String::from_utf8(answer).unwrap()
}

fn assert_refused(answer: &str, case: &Case) {
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{}: {answer:?}", case.name));
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", case.status)), "{}: {head}", case.name);
    assert!(head.contains("\r\nconnection: close"), "{}: {head}", case.name);
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["code"], case.code, "{}", case.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_11_a_refusal_is_readable_by_who_sends_all_before_reading() {
    for refusing in Refusing::every_kind().await {
        for case in &refusing.cases {
            assert_refused(&send_then_read(&refusing.server, &case.to_bytes("")).await, case);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_11_a_refusal_is_readable_by_pythons_clients() {
    for refusing in Refusing::every_kind().await {
        let cases = serde_json::to_vec(&refusing.cases).unwrap();
        for client in ["http.client", "requests", "httpx", "httpx-http2"] {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/refused_uploads.py");
            let mut python = Command::new("/usr/bin/python3")
                .args([script, client, &refusing.server.url("")])
                .stdin(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            python.stdin.take().unwrap().write_all(&cases).await.unwrap();
            let ended = tokio::time::timeout(5 * PATIENCE, python.wait()).await;
            let status = ended.expect("the Python client hangs").unwrap();
            assert!(
                status.success(),
                "{client}: see above (needs Debian's packages python3-requests, python3-httpx, python3-h2)"
            );
        }
    }
}

#[tokio::test]
async fn promise_11_a_client_that_asks_before_it_sends_is_not_told_to_go_on() {
    for refusing in Refusing::every_kind().await {
        // How large a body in chunks is shows only when it comes.
        for case in refusing.cases.iter().filter(|case| case.status != 413 || !case.chunked) {
            let request = case.to_bytes("expect: 100-continue\r\n");
            let head_ends =
                request.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            let mut socket = TcpStream::connect(refusing.server.address()).await.unwrap();
            socket.write_all(&request[..head_ends]).await.unwrap();
            socket.shutdown().await.unwrap();
            let mut answer = String::new();
            soon("an answer", socket.read_to_string(&mut answer)).await.unwrap();
            assert_refused(&answer, case);
        }
    }
}

#[tokio::test]
async fn a_small_request_that_is_refused_leaves_its_connection_open() {
    let Refusing { server, cases, _stream } = Refusing::for_its_reasons().await;
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    for case in cases.into_iter().filter(|case| case.status != 413 && !case.chunked) {
        let case = Case { bytes: 100, ..case };
        let request = case.to_bytes("");
        // The body comes late: not with the head, and after the answer.
        socket.write_all(&request[..request.len() - 50]).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with('}') {
            let mut piece = [0; 4_096];
            let count = soon("an answer", socket.read(&mut piece)).await.unwrap();
            assert!(count > 0, "{}: closed behind {answer:?}", case.name);
            answer += std::str::from_utf8(&piece[..count]).unwrap();
        }
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {} ", case.status))
                && !answer.contains("connection: close"),
            "{}: {answer}",
            case.name
        );
        socket.write_all(&request[request.len() - 50..]).await.unwrap();
    }
}
