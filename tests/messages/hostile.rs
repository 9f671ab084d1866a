//! Requests that nobody should send, and what they are told.

use rejoin_test_support::TestServer;
use reqwest::{Client, Method};
use serde_json::json;
use uuid::Uuid;

use crate::messages::server::{Message, answer, path};

#[tokio::test]
async fn promise_11_every_refusal_is_a_status_a_code_and_a_message() {
    let server =
        TestServer::start("server.max_body_bytes = 1024\nmessages.open_wait_seconds = 0").await;
    let message = Message::open(&server).await;
    let open = message.url("");
    let events = message.url("/events");
    let unknown = |below: &str| server.url(&path(Uuid::nil(), below));
    let long = format!(r#"{{"type":"t","payload":"{}"}}"#, "x".repeat(5_000));
    let cases: Vec<(Method, String, &str, u16, &str)> = vec![
        (Method::GET, server.url("/api/messages/a%20b"), "", 400, "invalid_message_id"),
        (Method::GET, server.url("/api/messages/%ff/events"), "", 400, "invalid_message_id"),
        (
            Method::GET,
            server.url(&format!("/api/messages/{}/events", "x".repeat(129))),
            "",
            400,
            "invalid_message_id",
        ),
        (
            Method::PUT,
            server.url("/api/messages/not%2Fan-id"),
            "{\"user_id\":\"u\"}",
            400,
            "invalid_message_id",
        ),
        (Method::GET, unknown(""), "", 404, "message_not_found"),
        (Method::GET, unknown("/events"), "", 404, "message_not_found"),
        (Method::POST, unknown("/events"), r#"{"type":"chunk"}"#, 404, "message_not_found"),
        (Method::POST, unknown("/heartbeat"), "", 404, "message_not_found"),
        (Method::POST, unknown("/stop"), "", 404, "message_not_found"),
        (Method::DELETE, unknown(""), "", 404, "message_not_found"),
        (Method::PUT, open.clone(), "{}", 422, "invalid_field"),
        (Method::PUT, open.clone(), "nonsense", 400, "invalid_json"),
        (Method::PUT, open.clone(), r#"{"user_id":"a\u0000b"}"#, 422, "invalid_field"),
        (Method::PATCH, open, "{}", 405, "method_not_allowed"),
        (
            Method::POST,
            events.clone(),
            r#"{"type":"t","payload":{"type":"end"}}"#,
            422,
            "invalid_field",
        ),
        (Method::POST, events.clone(), r#"{"type":"backlog.truncated"}"#, 422, "invalid_field"),
        (
            Method::POST,
            events.clone() + "?results=some",
            r#"{"type":"chunk"}"#,
            400,
            "invalid_results",
        ),
        (Method::POST, events.clone(), &long, 413, "event_too_large"),
        (Method::HEAD, events, "", 405, ""),
    ];
    for (method, url, body, status, code) in cases {
        let request = Client::new()
            .request(method.clone(), &url)
            .header("content-type", "application/json")
            .body(body.to_owned());
        let (got, answer) = answer(request).await;
        assert_eq!(got, status, "{method} {url}: {answer}");
        if !code.is_empty() {
            assert_eq!(
                (&answer["code"], &answer["success"]),
                (&json!(code), &json!(false)),
                "{method} {url}"
            );
            assert!(!answer["message"].as_str().unwrap().is_empty());
        }
    }
    let bad_headers = [
        ("producer-epoch", "x", "invalid_producer_epoch"),
        ("producer-epoch", "-1", "invalid_producer_epoch"),
        ("idempotency-key", "a b", "invalid_idempotency_key"),
    ];
    for (name, value, code) in bad_headers {
        let request = Client::new()
            .post(message.url("/events"))
            .header(name, value)
            .json(&json!({ "type": "chunk" }));
        assert_eq!(answer(request).await.1["code"], code);
    }
    let untyped = Client::new().post(message.url("/events")).body(r#"{"type":"chunk"}"#);
    assert_eq!(answer(untyped).await.1["code"], "unsupported_media_type");
    assert_eq!(
        message.view().await.1["last_sequence_no"],
        json!(null),
        "nothing of all that was taken"
    );
}

#[tokio::test]
async fn a_payload_comes_out_as_it_went_in() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    let mut reader = message.read(None).await;
    for (payload, data) in [
        (
            r#"{"n":1.0,"s":"\u0000\r\n","big":123456789012345678901234567890}"#,
            r#"{"type":"chunk","n":1.0,"s":"\u0000\r\n","big":123456789012345678901234567890}"#,
        ),
        (r#""text""#, r#"{"type":"chunk","payload":"text"}"#),
    ] {
        let body = format!(r#"{{"type":"chunk","payload":{payload}}}"#);
        let request = Client::new()
            .post(message.url("/events"))
            .header("content-type", "application/json")
            .body(body);
        assert_eq!(answer(request).await.0, 201);
        loop {
            if let rejoin::domain::frame_decoder::Decoded::Event { data: got, .. } =
                reader.expect().await
            {
                assert_eq!(got, data);
                break;
            }
        }
    }
}

#[tokio::test]
async fn promise_11_what_an_event_can_not_carry_and_an_end_can_not_be_is_named() {
    let server = TestServer::start("messages.open_wait_seconds = 0").await;
    let message = Message::open(&server).await;
    for (below, body, field) in [
        ("/events", json!({ "type": "t", "payload": 1, "data": "x" }), "data"),
        ("/events", json!({ "type": "t", "data": ["x"] }), "data"),
        ("/events", json!({ "type": "t", "data": "x", "event": "a\nb" }), "event"),
        ("/events", json!({ "type": "t", "event": "a" }), "event"),
        ("/events", json!({ "type": "t", "last": "yes" }), "last"),
        ("/events", json!({ "type": "t", "status": "failed" }), "status"),
        ("/end", json!({ "status": "stale" }), "status"),
    ] {
        let (status, problem) = answer(message.request(Method::POST, below).json(&body)).await;
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{body}: {problem}");
    }
    let formats = message.request(Method::GET, "/events?format=envelope");
    assert_eq!(answer(formats).await.1["code"], "invalid_format");
    let unknown = Client::new().post(server.url(&path(Uuid::nil(), "/end")));
    assert_eq!(answer(unknown).await.0, 404);
}
