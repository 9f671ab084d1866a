//! What a stream says, frame by frame.

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{Connection, TestServer};
use serde_json::{Value, json};

fn position(decoded: Decoded) -> String {
    match decoded {
        Decoded::Position(id) => id,
        other => panic!("an id-only frame, not {other:?}"),
    }
}

#[tokio::test]
async fn promise_1_a_new_client_has_a_cursor_before_the_first_event() {
    let server = TestServer::start("").await;
    let mut first = Connection::open(&server.url("/api/events"), None).await;
    assert_eq!(first.expect().await, Decoded::Comment("connected".into()));
    assert_eq!(first.expect().await, Decoded::Retry(3_000));
    let head = position(first.expect().await);
    drop(first);
    let id = server.publish("greeting", json!({ "n": 1 })).await;
    let mut second = Connection::open(&server.url("/api/events"), Some(&head)).await;
    assert_eq!(second.event().await.0, Some(id));
}

#[tokio::test]
async fn promise_1_a_cursor_is_found_under_every_name_that_clients_give_it() {
    let server = TestServer::start("").await;
    let (first, second) =
        (server.publish("t", json!(1)).await, server.publish("t", json!(2)).await);
    for name in ["last_event_id", "lastEventId", "Last-Event-ID", "LASTEVENTID", "last-event-id"] {
        let mut stream =
            Connection::open(&server.url(&format!("/api/events?{name}={first}")), None).await;
        assert_eq!(stream.event().await.0.as_ref(), Some(&second), "{name}");
    }
    let mut stream =
        Connection::open(&server.url("/api/events"), Some(&format!("0, {first}, null"))).await;
    assert_eq!(stream.event().await.0, Some(second), "the greatest of several that can be read");
}

#[tokio::test]
async fn the_headers_keep_proxies_and_caches_out_of_the_way() {
    let server = TestServer::start("").await;
    let response = Connection::request(&server.url("/api/events"), None).await;
    let header = |name| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    assert_eq!(response.status(), 200);
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-store, no-transform");
    assert_eq!(header("x-accel-buffering"), "no");
    assert_eq!(header("content-encoding"), "");
    assert!(header("date").ends_with(" GMT"));
}

#[tokio::test]
async fn the_envelope_is_what_the_contract_says() {
    let server = TestServer::start("").await;
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    let body = json!({ "user_id": "local", "type": "source.ingest.queued", "payload": { "a": [1] }, "scope": { "kind": "source", "id": "s1" } });
    let (status, answer) = server.post(&body).await;
    assert_eq!(status, 201);
    let (id, mut envelope) = stream.event().await;
    assert_eq!(answer, json!({ "success": true, "id": id }));
    let ts = envelope["ts"].take();
    assert_eq!(
        envelope,
        json!({ "id": id, "type": "source.ingest.queued", "ts": null, "user_id": "local", "topic": "user:local",
                "scope": { "kind": "source", "id": "s1" }, "payload": { "a": [1] }, "category": "import" })
    );
    assert!(ts.as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn the_scope_is_an_object_also_where_none_was_given() {
    let server = TestServer::start("").await;
    let mut live = Connection::open(&server.url("/api/events"), Some("0")).await;
    for scope in [json!({}), Value::Null] {
        assert_eq!(
            server.post(&json!({ "user_id": "local", "type": "t", "scope": scope })).await.0,
            201
        );
    }
    server.publish("t", json!(1)).await;
    let mut replayed = Connection::open(&server.url("/api/events"), Some("0")).await;
    for stream in [&mut live, &mut replayed] {
        for _ in 0..3 {
            assert_eq!(stream.event().await.1["scope"], json!({}));
        }
    }
}

#[tokio::test]
async fn the_named_format_is_the_default_of_v1_and_a_choice_elsewhere() {
    let server = TestServer::start("").await;
    server.publish("greeting", json!({ "text": "hello" })).await;
    for path in ["/api/v1/events?last_event_id=0", "/api/events?Last-Event-ID=0&format=named"] {
        let mut stream = Connection::open(&server.url(path), None).await;
        let event = loop {
            if let event @ Decoded::Event { .. } = stream.expect().await {
                break event;
            }
        };
        let Decoded::Event { event_type, data, .. } = event else { unreachable!() };
        assert_eq!((event_type.as_str(), data.as_str()), ("greeting", r#"{"text":"hello"}"#));
    }
    let mut stream =
        Connection::open(&server.url("/api/v1/events?last_event_id=0&format=envelope"), None).await;
    assert_eq!(stream.event().await.1["type"], "greeting");
}

#[tokio::test]
async fn promise_1_a_filtered_client_that_comes_back_has_missed_nothing() {
    let server = TestServer::start("sse.keepalive_seconds = 1").await;
    let url = server.url("/api/events?categories=ai&categories=security");
    let mut stream = Connection::open(&url, Some("0")).await;
    let hidden = server.publish("sync.done", json!(1)).await;
    server.publish("uncategorised", json!(2)).await;
    let shown = server.publish("ai.done", json!(3)).await;
    assert_eq!(stream.event().await.0.as_ref(), Some(&shown));
    let hidden_last = server.publish("sync.done", json!(4)).await;
    // The keepalive brings the cursor past what the filter hid.
    let cursor = loop {
        if let Decoded::Position(id) = stream.expect().await {
            break id;
        }
    };
    assert_eq!(cursor, hidden_last);
    let mut unfiltered = Connection::open(&server.url("/api/events"), Some("0")).await;
    assert_eq!(unfiltered.event().await.0, Some(hidden));
}

#[tokio::test]
async fn promise_6_a_cursor_that_nobody_issued_is_told_and_continues_from_the_head() {
    let server = TestServer::start("").await;
    let id = server.publish("greeting", json!(1)).await;
    for cursor in ["nonsense", "99999999999999-0", "1-2-3"] {
        let mut stream = Connection::open(&server.url("/api/events"), Some(cursor)).await;
        let (no_id, notice) = stream.event().await;
        assert_eq!(no_id, None);
        assert_eq!(
            notice,
            json!({ "type": "backlog.truncated", "payload": { "oldest_retained_id": id } }),
            "{cursor}"
        );
        assert_eq!(position(stream.expect().await), id);
    }
}

#[tokio::test]
async fn promise_6_an_id_follows_a_notice_at_once_where_nothing_is_retained_or_shown() {
    let server = TestServer::start("events.stream_maxlen = 1").await;
    let ids = [
        server.publish("n", json!(1)).await,
        server.publish("n", json!(2)).await,
        server.publish("n", json!(3)).await,
    ];
    for path in ["/api/events?categories=ai", "/api/v1/events?categories=ai"] {
        let mut stream = Connection::open(&server.url(path), Some(&ids[0])).await;
        assert_eq!(stream.event().await.0, None);
        assert_eq!(position(stream.expect().await), ids[2], "behind what the filter hides");
    }
    let purge = reqwest::Client::new().delete(server.url("/api/admin/users/local/events")).send();
    assert_eq!(purge.await.unwrap().status(), 200);
    let mut stream = Connection::open(&server.url("/api/events"), Some(&ids[0])).await;
    assert_eq!(stream.event().await.1["payload"], json!({ "oldest_retained_id": null }));
    let head = position(stream.expect().await);
    drop(stream);
    // The client dropped its old cursor at the notice, and is cut off: nothing that comes now is
    // lost.
    let id = server.publish("n", json!(4)).await;
    assert_eq!(
        Connection::open(&server.url("/api/events"), Some(&head)).await.event().await.0,
        Some(id)
    );
}

#[tokio::test]
async fn keepalives_are_events_where_the_client_wants_them() {
    let server = TestServer::start("sse.keepalive_seconds = 1").await;
    let mut stream = Connection::open(&server.url("/api/events?keepalive=event"), None).await;
    assert_eq!(stream.event().await, (None, json!({ "type": "stream.keepalive", "payload": {} })));
    assert_eq!(
        Connection::request(&server.url("/api/events?keepalive=often"), None).await.status(),
        400
    );
}

#[tokio::test]
async fn promise_6_truncation_is_told_exactly_when_an_entry_behind_the_cursor_is_gone() {
    let server = TestServer::start("events.stream_maxlen = 3").await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(server.publish("n", json!(n)).await);
    }
    let first_event = async |cursor: &str| {
        Connection::open(&server.url("/api/events"), Some(cursor)).await.event().await
    };
    assert_eq!(
        first_event(&ids[1]).await.0.as_ref(),
        Some(&ids[2]),
        "nothing behind the second is gone"
    );
    let (no_id, notice) = first_event(&ids[0]).await;
    assert_eq!(
        (no_id, &notice["type"], &notice["payload"]["oldest_retained_id"]),
        (None, &json!("backlog.truncated"), &json!(ids[2]))
    );
    assert_eq!(first_event("0").await.1["type"], "backlog.truncated");
}

#[tokio::test]
async fn promise_6_a_restart_of_the_memory_backend_is_told() {
    let server = TestServer::start("").await;
    let address = server.address();
    let cursor = server.publish("before", json!(1)).await;
    server.kill().await;
    let server = TestServer::start_at(address, "").await;
    let id = server.publish("after", json!(2)).await;
    let mut stream = Connection::open(&server.url("/api/events"), Some(&cursor)).await;
    assert_eq!(stream.event().await.1["type"], "backlog.truncated");
    assert_eq!(stream.event().await.0, Some(id));
}

#[tokio::test]
async fn payloads_come_out_as_the_publisher_wrote_them() {
    let server = TestServer::start("").await;
    let mut stream = Connection::open(&server.url("/api/events?format=named"), Some("0")).await;
    let payloads = [
        r#"{"b":1.10,"a":1e400,"a":[12345678901234567890123]}"#,
        r#""\u0000\ud800 \u2028 \/ line\nline""#,
        "\"\u{2028}\u{85}日本👩‍👩‍👧\"",
        "null",
        "\"\"",
    ];
    for payload in payloads {
        let body = format!(r#"{{"user_id":"local","type":"t","payload":{payload}}}"#);
        let request = reqwest::Client::new()
            .post(server.url("/api/events"))
            .header("content-type", "application/json")
            .body(body);
        assert_eq!(request.send().await.unwrap().status(), 201);
        let data = loop {
            if let Decoded::Event { data, .. } = stream.expect().await {
                break data;
            }
        };
        assert_eq!(data, payload);
    }
}

#[tokio::test]
async fn with_pushing_switched_off_nothing_is_kept_and_streams_say_so() {
    let server = TestServer::start("sse.push_enabled = false").await;
    assert_eq!(
        server.post(&json!({ "user_id": "local", "type": "t" })).await,
        (202, json!({ "success": true, "id": null }))
    );
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    assert_eq!(
        stream.rest().await,
        [Decoded::Retry(60_000), Decoded::Comment("push disabled".into())]
    );
}

#[tokio::test]
async fn health_and_readiness_answer() {
    let server = TestServer::start("").await;
    for path in ["/healthz", "/readyz"] {
        let response = reqwest::get(server.url(path)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.json::<Value>().await.unwrap()["success"], true);
    }
}

/// `fetch` in Node 20 takes a cut for the end of an answer that says that its connection closes.
#[tokio::test]
async fn promise_1_a_stream_that_is_cut_does_not_look_like_one_that_ended() {
    let server = TestServer::start("").await;
    let stream = reqwest::get(server.url("/api/events")).await.unwrap();
    assert_eq!(stream.headers()["transfer-encoding"], "chunked");
    assert_eq!(stream.headers().get("connection"), None);
}
