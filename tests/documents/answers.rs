//! What is answered is as it is described: each operation's successes and, as far as a test can
//! come to them, its errors.

use std::collections::BTreeSet;

use rejoin_test_support::{Connection, TestServer, eventually, soon};
use reqwest::{Body, RequestBuilder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use crate::documents::{
    calls::{self, call, token},
    recorder::Recorder,
};

const PUBLISH: &str = "post /api/events";
const SUBSCRIBE: &str = "get /api/events";
const LOOK_ON: &str = "get /api/admin/users/{id}/events/stream";
const TEST_EVENT: &str = "post /api/admin/users/{id}/events";
const MESSAGE: &str = "/api/messages/{id}";

/// Codes that no request brings about: they need a backend that is away or damaged, a panic, or a
/// client that vanishes or takes nothing.
const OUT_OF_REACH: [&str; 6] = [
    "internal_error",
    "backend_unavailable",
    "topic_damaged",
    "incomplete_body",
    "broadcasts_full",
    "too_many_backlogs",
];
/// What is shown of one operation, for all that read a body or check a token.
const SHOWN_ONCE: [&str; 4] =
    ["request_timeout", "auth_unavailable", "draining", "message_too_large"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_is_described_and_what_is_described_is_answered() {
    let server = calls::server(
        "sse.max_concurrent_per_user = 1\nevents.replay_budget_requests_per_window = 1\nevents.stream_maxlen = 3\nmemory.max_bytes = 1048576",
    )
    .await;
    let mut recorder = Recorder::of(&server).await;
    for operation in
        ["get /healthz", "get /readyz", "get /metrics", "get /openapi.json", "get /console"]
    {
        recorder.record(operation, call(&server, operation, "", "")).await;
    }
    credentials(&server, &mut recorder).await;
    publishing(&server, &mut recorder).await;
    subscribing(&server, &mut recorder).await;
    message(&server, &mut recorder).await;
    bodies(&server, &mut recorder).await;
    operating(&server, &mut recorder).await;
    switched_off(&mut recorder).await;
    in_trouble(&mut recorder).await;
    recorder.judge();
    let unseen: BTreeSet<_> = recorder
        .unseen()
        .into_iter()
        .filter(|(_, _, code)| !OUT_OF_REACH.contains(&code.as_str()))
        .collect();
    let seen_codes: BTreeSet<&str> =
        recorder.seen.iter().map(|(_, _, code)| code.as_str()).collect();
    let shown = |code: &str| SHOWN_ONCE.contains(&code) && seen_codes.contains(code);
    // The other entrance is the same as the first, and so are calls with the user in the query.
    let again = |operation: &str| {
        operation.contains("/v1/") || operation.split('/').any(|step| step == "user")
    };
    let missing: Vec<_> =
        unseen.iter().filter(|(operation, _, code)| !shown(code) && !again(operation)).collect();
    assert!(missing.is_empty(), "described, and not seen: {missing:#?}");
}

/// Each operation that needs a token, without a good one.
async fn credentials(server: &TestServer, recorder: &mut Recorder) {
    let all = recorder.unseen();
    let guarded: BTreeSet<&String> = all
        .iter()
        .filter(|(_, status, _)| *status == 401)
        .map(|(operation, _, _)| operation)
        .collect();
    let scoped: BTreeSet<&String> = all
        .iter()
        .filter(|(_, _, code)| code == "forbidden")
        .map(|(operation, _, _)| operation)
        .collect();
    for operation in guarded {
        let id = if operation.contains("/messages/") {
            Uuid::new_v4().to_string()
        } else {
            "u1".to_owned()
        };
        let request = || call(server, operation, &id, "");
        assert_eq!(recorder.record(operation, request()).await.1["code"], "missing_credentials");
        assert_eq!(
            recorder.record(operation, request().bearer_auth("x")).await.1["code"],
            "invalid_token"
        );
        assert_eq!(
            recorder.record(operation, request().bearer_auth(calls::expired())).await.1["code"],
            "token_expired"
        );
        if scoped.contains(operation) {
            assert_eq!(
                recorder.record(operation, request().bearer_auth(calls::powerless())).await.1["code"],
                "forbidden",
                "{operation}"
            );
        }
    }
}

async fn publishing(server: &TestServer, recorder: &mut Recorder) {
    let publish = |body: Value| call(server, PUBLISH, "", "").bearer_auth(token("u1")).json(&body);
    let event = json!({ "user_id": "u1", "type": "ai.done", "payload": [1], "scope": { "kind": "source" } });
    assert_eq!(
        recorder.record(PUBLISH, publish(event.clone()).header("idempotency-key", "k")).await.0,
        201
    );
    assert_eq!(
        recorder.record(PUBLISH, publish(event).header("idempotency-key", "k")).await.0,
        200
    );
    recorder.record(PUBLISH, publish(json!({ "user_ids": ["u1", "u2"], "type": "t" }))).await;
    recorder.record(PUBLISH, publish(json!({ "broadcast": true, "type": "t" }))).await;
    recorder
        .record(
            "post /api/v1/events",
            call(server, "post /api/v1/events", "", "").bearer_auth(token("u1")).json(&json!({})),
        )
        .await;
    let lines = "{\"user_id\":\"u1\",\"type\":\"t\"}\n{\"user_ids\":[\"u1\"],\"type\":\"t\"}\n{}\nnonsense\n";
    let upload = call(server, PUBLISH, "", "")
        .bearer_auth(token("u1"))
        .header("content-type", "application/x-ndjson")
        .body(lines);
    assert_eq!(recorder.record(PUBLISH, upload).await.0, 200);
    for (query, status) in [("?results=failures", 200), ("?results=x", 400)] {
        let upload = call(server, PUBLISH, "", query)
            .bearer_auth(token("u1"))
            .header("content-type", "application/x-ndjson")
            .body(lines);
        assert_eq!(recorder.record(PUBLISH, upload).await.0, status);
    }
}

async fn subscribing(server: &TestServer, recorder: &mut Recorder) {
    for (query, code) in [
        ("?categories=x", "invalid_category"),
        ("?format=x", "invalid_format"),
        ("?errors=x", "invalid_errors"),
        ("?keepalive=x", "invalid_keepalive"),
    ] {
        let (_, answer) = recorder
            .record(SUBSCRIBE, call(server, SUBSCRIBE, "", query).bearer_auth(token("u1")))
            .await;
        assert_eq!(answer["code"], code);
    }
    recorder
        .record(
            SUBSCRIBE,
            call(server, SUBSCRIBE, "", "?categories=import").bearer_auth(calls::limited_to("ai")),
        )
        .await;
    let follow = || call(server, SUBSCRIBE, "", "").bearer_auth(token("u1"));
    let behind = || follow().header("last-event-id", "0");
    let held = Connection::of(behind().send().await.unwrap());
    assert_eq!(recorder.record(SUBSCRIBE, behind()).await.1["code"], "too_many_connections");
    drop(held);
    eventually("the slot is free", async || server.connections() == 0).await;
    assert_eq!(recorder.record(SUBSCRIBE, behind()).await.1["code"], "replay_budget_exhausted");
    assert_eq!(recorder.record(SUBSCRIBE, follow()).await.0, 200);
    eventually("the slot is free", async || server.connections() == 0).await;
}

/// What is asked of one message, and of one that there isn't.
struct Asking<'a> {
    server: &'a TestServer,
    recorder: &'a mut Recorder,
    id: String,
}

impl Asking<'_> {
    fn ask(&self, method: &str, below: &str) -> RequestBuilder {
        self.ask_of(&self.id, method, below, "")
    }

    fn ask_of(&self, id: &str, method: &str, below: &str, query: &str) -> RequestBuilder {
        call(self.server, &format!("{method} {MESSAGE}{below}"), id, query).bearer_auth(token("u1"))
    }

    fn open(&self, owner: &str) -> RequestBuilder {
        self.ask("put", "").json(&json!({ "user_id": owner, "takeover": true }))
    }

    fn append(&self, body: &Value) -> RequestBuilder {
        self.ask("post", "/events").json(body)
    }

    fn upload(&self, query: &str, lines: &'static str) -> RequestBuilder {
        let upload = self.ask_of(&self.id, "post", "/events", query);
        upload.header("content-type", "application/x-ndjson").body(lines)
    }

    async fn record(&mut self, method: &str, below: &str, request: RequestBuilder) -> (u16, Value) {
        self.recorder.record(&format!("{method} {MESSAGE}{below}"), request).await
    }

    async fn record_code(&mut self, method: &str, below: &str, request: RequestBuilder) -> Value {
        self.record(method, below, request).await.1["code"].take()
    }
}

async fn message(server: &TestServer, recorder: &mut Recorder) {
    let mut message = Asking { server, recorder, id: Uuid::new_v4().to_string() };
    produce(&mut message).await;
    read_and_end(&mut message).await;
    ask_of_no_message(&mut message).await;
}

async fn produce(message: &mut Asking<'_>) {
    assert_eq!(message.record("put", "", message.open("u1")).await.0, 201);
    assert_eq!(message.record("put", "", message.open("u1")).await.0, 200);
    let owned = message.record_code("put", "", message.open("u2")).await;
    assert_eq!(owned, "message_owned_by_another");
    let chunk =
        |text: &str| json!({ "type": "chunk", "payload": { "text": text }, "sequence_no": 0 });
    let (bare, large) = (json!({ "type": "chunk" }), "x".repeat(600_000));
    let large = json!({ "type": "chunk", "payload": large });
    let of_epoch = |epoch: &'static str| message.append(&bare).header("producer-epoch", epoch);
    let calls = [
        (message.append(&chunk("a")), 201, ""),
        (message.append(&chunk("a")), 200, ""),
        (message.append(&chunk("b")), 409, "sequence_conflict"),
        (message.append(&json!({ "type": "chunk", "sequence_no": 9 })), 409, "sequence_gap"),
        (of_epoch("1"), 409, "producer_fenced"),
        (of_epoch("x"), 400, "invalid_producer_epoch"),
        (message.append(&large), 201, ""),
        (message.append(&large), 413, "message_too_large"),
    ];
    for (request, status, code) in calls {
        let (got, answer) = message.record("post", "/events", request).await;
        assert_eq!((got, answer["code"].as_str().unwrap_or_default()), (status, code), "{answer}");
    }
    let lines = "{\"type\":\"chunk\"}\n{\"type\":\"chunk\",\"sequence_no\":7}\n";
    for (query, status) in [("", 200), ("?results=failures", 200), ("?results=x", 400)] {
        let upload = message.upload(query, lines);
        assert_eq!(message.record("post", "/events", upload).await.0, status);
    }
    let alive = || message.ask("post", "/heartbeat");
    let beats =
        [alive(), alive().header("producer-epoch", "1"), alive().header("producer-epoch", "x")];
    for beat in beats {
        message.record("post", "/heartbeat", beat).await;
    }
    for (epoch, code) in [("1", "producer_fenced"), ("x", "invalid_producer_epoch")] {
        let end = message.ask("post", "/end").header("producer-epoch", epoch);
        assert_eq!(message.record_code("post", "/end", end).await, code);
    }
}

async fn read_and_end(message: &mut Asking<'_>) {
    message.record("get", "", message.ask("get", "")).await;
    let mut held = Connection::of(message.ask("get", "/events").send().await.unwrap());
    held.expect().await;
    let refused = message.record_code("get", "/events", message.ask("get", "/events")).await;
    assert_eq!(refused, "too_many_connections");
    drop(held);
    eventually("the slot is free", async || message.server.connections() == 0).await;
    for query in ["?errors=x", "?keepalive=x", "?format=x"] {
        let refused = message.ask_of(&message.id, "get", "/events", query);
        message.record("get", "/events", refused).await;
    }
    assert_eq!(message.record("get", "/events", message.ask("get", "/events")).await.0, 200);
    message.record("post", "/stop", message.ask("post", "/stop")).await;
    // The answer's end is heard by a producer that goes on, in the middle of an upload too.
    let upload = message.upload("", "{\"type\":\"end\"}\n");
    let (_, last) = message.record("post", "/events", upload).await;
    let cursor = last["sequence_no"].to_string();
    let over = message.ask("get", "/events").header("last-event-id", cursor);
    assert_eq!(message.record("get", "/events", over).await.0, 204);
    for (method, below, request) in [
        ("post", "/events", message.append(&json!({ "type": "t" }))),
        ("post", "/heartbeat", message.ask("post", "/heartbeat")),
        ("put", "", message.open("u1")),
    ] {
        assert_eq!(message.record_code(method, below, request).await, "message_complete");
    }
    let again = message.ask("post", "/end").json(&json!({ "status": "failed" }));
    assert_eq!(message.record("post", "/end", again).await.0, 200);
    message.record("delete", "", message.ask("delete", "")).await;
}

async fn ask_of_no_message(message: &mut Asking<'_>) {
    let other = Uuid::new_v4().to_string();
    for (method, below) in [
        ("get", ""),
        ("delete", ""),
        ("get", "/events"),
        ("post", "/heartbeat"),
        ("post", "/stop"),
        ("post", "/end"),
    ] {
        for (id, code) in [(other.as_str(), "message_not_found"), ("x%20y", "invalid_message_id")] {
            let request = message.ask_of(id, method, below, "");
            assert_eq!(message.record_code(method, below, request).await, code);
        }
    }
    for (method, below, id, body) in [
        ("put", "", "x%20y", json!({})),
        ("post", "/events", "x%20y", json!({})),
        ("post", "/events", other.as_str(), json!({ "type": "t" })),
    ] {
        let request = message.ask_of(id, method, below, "").json(&body);
        message.record(method, below, request).await;
    }
}

/// What is wrong with a body, on each operation that reads one.
async fn bodies(server: &TestServer, recorder: &mut Recorder) {
    let large = format!("{{\"type\":\"{}\"}}", "x".repeat(1_100_000));
    for operation in [
        PUBLISH,
        TEST_EVENT,
        "put /api/messages/{id}",
        "post /api/messages/{id}/events",
        "post /api/messages/{id}/end",
    ] {
        let lacking = if operation.ends_with("/end") { "{\"status\":1}" } else { "{}" };
        for (body, code) in [
            ("{", "invalid_json"),
            ("[]", "invalid_event"),
            (lacking, "invalid_field"),
            (large.as_str(), "event_too_large"),
        ] {
            let request =
                call(server, operation, &Uuid::new_v4().to_string(), "").bearer_auth(token("u1"));
            let request = request.header("content-type", "application/json").body(body.to_owned());
            assert_eq!(recorder.record(operation, request).await.1["code"], code);
        }
        let untyped = call(server, operation, &Uuid::new_v4().to_string(), "")
            .bearer_auth(token("u1"))
            .body("{}");
        assert_eq!(recorder.record(operation, untyped).await.1["code"], "unsupported_media_type");
        let compressed = call(server, operation, &Uuid::new_v4().to_string(), "")
            .bearer_auth(token("u1"))
            .json(&json!({}));
        let compressed = compressed.header("content-encoding", "gzip");
        assert_eq!(recorder.record(operation, compressed).await.1["code"], "unsupported_encoding");
    }
    for operation in [PUBLISH, TEST_EVENT, "post /api/messages/{id}/events"] {
        let request = call(server, operation, &Uuid::new_v4().to_string(), "")
            .bearer_auth(token("u1"))
            .header("idempotency-key", "a b");
        // A test event is one, so that its body has to say that it is JSON.
        let request = request.header("content-type", "application/json");
        assert_eq!(recorder.record(operation, request).await.1["code"], "invalid_idempotency_key");
    }
}

async fn operating(server: &TestServer, recorder: &mut Recorder) {
    let operations = [
        "get /api/admin/status",
        "get /api/admin/users/{id}",
        "get /api/admin/users/{id}/events",
        "get /api/admin/users/{id}/events/stream",
        "delete /api/admin/users/{id}/events",
        "delete /api/admin/users/{id}/connections",
    ];
    let export = "get /api/admin/export";
    assert_eq!(
        recorder.record(export, call(server, export, "", "").bearer_auth(token("root"))).await.0,
        200
    );
    let limited = call(server, export, "", "").bearer_auth(calls::operator_limited_to("ai"));
    assert_eq!(recorder.record(export, limited).await.1["code"], "forbidden");
    for operation in operations {
        assert_eq!(
            recorder
                .record(operation, call(server, operation, "u1", "").bearer_auth(token("root")))
                .await
                .0,
            200
        );
        if operation.contains("{id}") {
            let refused = recorder
                .record(operation, call(server, operation, "%ff", "").bearer_auth(token("root")))
                .await;
            assert_eq!(refused.1["code"], "invalid_user_id");
            let by_query = operation.replace("/users/{id}", "/user");
            for (query, status) in [("?user_id=..", 200), ("?user_id=%ff", 400)] {
                let request = call(server, &by_query, "", query).bearer_auth(token("root"));
                assert_eq!(
                    recorder.record(&by_query, request).await.0,
                    status,
                    "{by_query}{query}"
                );
            }
        }
    }
    for query in ["?categories=x", "?format=x", "?errors=x", "?keepalive=x"] {
        let request = call(server, LOOK_ON, "u1", query).bearer_auth(token("root"));
        assert_eq!(recorder.record(LOOK_ON, request).await.0, 400);
    }
    let limited = call(server, LOOK_ON, "u1", "?categories=import")
        .bearer_auth(calls::operator_limited_to("ai"));
    assert_eq!(recorder.record(LOOK_ON, limited).await.1["code"], "category_not_allowed");
    let publish = || call(server, TEST_EVENT, "u9", "").bearer_auth(token("root"));
    for status in [201, 200] {
        let request =
            publish().header("idempotency-key", "k").json(&json!({ "type": "t", "payload": 1 }));
        assert_eq!(recorder.record(TEST_EVENT, request).await.0, status);
    }
    assert_eq!(
        recorder
            .record(TEST_EVENT, call(server, TEST_EVENT, "%ff", "").bearer_auth(token("root")))
            .await
            .0,
        400
    );
    let message = "get /api/admin/messages/{id}";
    for id in ["x%20y".to_owned(), Uuid::new_v4().to_string()] {
        recorder.record(message, call(server, message, &id, "").bearer_auth(token("root"))).await;
    }
    let id = Uuid::new_v4().to_string();
    call(server, "put /api/messages/{id}", &id, "")
        .bearer_auth(token("u1"))
        .json(&json!({ "user_id": "u1" }))
        .send()
        .await
        .unwrap();
    assert_eq!(
        recorder.record(message, call(server, message, &id, "").bearer_auth(token("root"))).await.0,
        200
    );
    for query in ["?after=x", "?limit=0"] {
        let request = call(server, "get /api/admin/users/{id}/events", "u1", query)
            .bearer_auth(token("root"));
        assert_eq!(recorder.record("get /api/admin/users/{id}/events", request).await.0, 400);
    }
}

async fn switched_off(recorder: &mut Recorder) {
    let server = calls::server("sse.push_enabled = false").await;
    let publish = call(&server, PUBLISH, "", "")
        .bearer_auth(token("u1"))
        .json(&json!({ "user_id": "u1", "type": "t" }));
    assert_eq!(recorder.record(PUBLISH, publish).await.0, 202);
    let publish = call(&server, TEST_EVENT, "u1", "")
        .bearer_auth(token("root"))
        .json(&json!({ "type": "t" }));
    assert_eq!(recorder.record(TEST_EVENT, publish).await.0, 202);
}

/// What needs a server in trouble.
async fn in_trouble(recorder: &mut Recorder) {
    let slow = TestServer::start("server.request_timeout_seconds = 1").await;
    let never =
        Body::wrap_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request =
        call(&slow, PUBLISH, "", "").header("content-type", "application/json").body(never);
    assert_eq!(recorder.record(PUBLISH, request).await.1["code"], "request_timeout");
    let busy = TestServer::start("").await;
    let held = half_a_request(&busy).await;
    let url = busy.url("/readyz");
    let ready = || reqwest::Client::new().get(&url);
    let draining = tokio::spawn(busy.drain());
    eventually("it drains", async || ready().send().await.unwrap().status() == 503).await;
    assert_eq!(recorder.record("get /readyz", ready()).await.1["code"], "draining");
    drop(held);
    draining.await.unwrap();
    // Nobody listens on port 1.
    let keyless = TestServer::start(
        "auth.mode = \"jwt\"\nauth.jwt.jwks_url = \"http://127.0.0.1:1/jwks.json\"",
    )
    .await;
    // A token that names a key which has to be fetched.
    let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJzdWIiOiJ1MSIsImV4cCI6NDEwMjQ0NDgwMH0.eA";
    assert_eq!(
        recorder.record(SUBSCRIBE, call(&keyless, SUBSCRIBE, "", "").bearer_auth(token)).await.1["code"],
        "auth_unavailable"
    );
}

/// A request that has arrived but for its body: a drain waits for it.
async fn half_a_request(server: &TestServer) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let head = "POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    soon("the server asks for the body", socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    socket
}
