//! `POST /api/events`: what is taken, what is refused, and what a repeat does.

use rejoin_test_support::{Connection, TestServer};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

fn post(server: &TestServer) -> RequestBuilder {
    Client::new().post(server.url("/api/events")).header("content-type", "application/json")
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn promise_4_an_acknowledged_event_is_in_the_journal() {
    let server = TestServer::start("").await;
    let id = server.publish("greeting", json!("hello")).await;
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    assert_eq!(stream.event().await.0, Some(id));
}

#[tokio::test]
async fn promise_5_a_repeat_with_the_same_key_appends_nothing_and_gets_the_first_id() {
    let server = TestServer::start("").await;
    let event = json!({ "user_id": "local", "type": "t", "payload": 1 });
    let send = async |key: &str, body: &Value| {
        answer(post(&server).header("idempotency-key", key).body(body.to_string())).await
    };
    let (status, first) = send("k1", &event).await;
    assert_eq!(status, 201);
    let (status, repeat) = send("k1", &event).await;
    assert_eq!((status, &repeat["id"], &repeat["duplicate"]), (200, &first["id"], &json!(true)));
    let (status, other_topic) = send("k1", &json!({ "user_id": "other", "type": "t" })).await;
    assert_eq!(status, 201);
    assert_eq!(other_topic.get("duplicate"), None);
    assert_eq!(send("k2", &event).await.0, 201);
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    assert_eq!(json!(stream.event().await.0), first["id"]);
    assert_ne!(json!(stream.event().await.0), first["id"]);
}

#[tokio::test]
async fn several_users_get_an_entry_each_and_nobody_gets_two() {
    let server = TestServer::start("").await;
    let (status, body) =
        server.post(&json!({ "user_ids": ["local", "u2", "local"], "type": "t" })).await;
    assert_eq!(status, 201);
    let ids = body["ids"].as_array().unwrap();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], ids[2]);
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    assert_eq!(json!(stream.event().await.0), ids[0]);
    let next = server.publish("t", json!(2)).await;
    assert_eq!(stream.event().await.0, Some(next));
}

#[tokio::test]
async fn promise_11_a_refusal_names_the_field_and_has_a_code() {
    let server = TestServer::start("server.max_body_bytes = 2048").await;
    let large = format!(r#"{{"user_id":"local","type":"t","payload":"{}"}}"#, "x".repeat(2_048));
    let cases = [
        (r#"{"user_id":"#, 400, "invalid_json", Value::Null),
        (r#"{"user_id":"local"}"#, 422, "invalid_field", json!("type")),
        (r#"{"user_id":"a\u0000b","type":"t"}"#, 422, "invalid_field", json!("user_id")),
        (r#"{"user_id":"local","type":"stream.refused"}"#, 422, "invalid_field", json!("type")),
        (r#"{"user_id":"local","type":"stream.position"}"#, 422, "invalid_field", json!("type")),
        (r#"{"user_id":"local","type":"error"}"#, 422, "invalid_field", json!("type")),
        (r#"{"user_ids":["local"],"type":"open"}"#, 422, "invalid_field", json!("type")),
        (r#"{"broadcast":true,"type":"open"}"#, 422, "invalid_field", json!("type")),
        (r#"{"user_id":"local","type":"t","colour":1}"#, 422, "invalid_event", Value::Null),
        (&large, 413, "event_too_large", Value::Null),
    ];
    for (body, status, code, field) in cases {
        let (got, problem) = answer(post(&server).body(body.to_owned())).await;
        assert_eq!(
            (got, &problem["code"], problem["field"].clone()),
            (status, &json!(code), field),
            "{problem}"
        );
        assert_eq!(problem["success"], false);
        assert!(!problem["message"].as_str().unwrap().is_empty());
    }
    let without_type = Client::new().post(server.url("/api/events")).body("{}");
    assert_eq!(answer(without_type).await.0, 415);
    let (status, problem) =
        answer(post(&server).header("idempotency-key", "has space").body("{}")).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_idempotency_key")));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_as_json() {
    let server = TestServer::start("").await;
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("DELETE", "/api/events", 405),
        ("HEAD", "/api/events", 405),
        ("POST", "/healthz", 405),
    ] {
        let response =
            Client::new().request(method.parse().unwrap(), server.url(path)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        if method != "HEAD" {
            assert_eq!(response.json::<Value>().await.unwrap()["success"], false);
        }
    }
    assert_eq!(server.connections(), 0);
}
