//! Uploads by Python's `http.client`, `requests` and `httpx`, which send everything before they
//! read anything.

use rejoin_test_support::{TestServer, soon};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::process::Command;

const CLIENTS: [&str; 3] = ["http.client", "requests", "httpx"];
const LINES: u64 = 100_000;
/// With as much beside, so many lines are more than the buffers between client and server hold.
const PADDING_BYTES: usize = 400;

fn event(event_type: &str) -> String {
    json!({ "user_id": "local", "type": event_type, "payload": { "pad": "x".repeat(PADDING_BYTES) } }).to_string()
}

fn chunk() -> String {
    json!({ "type": "chunk", "payload": { "pad": "x".repeat(PADDING_BYTES) } }).to_string()
}

/// What the client says of the answer.
async fn upload(client: &str, url: &str, line: &str) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/upload.py");
    let mut python = Command::new("/usr/bin/python3");
    let python = python
        .args([script, client, url, line, &LINES.to_string()])
        .env("NO_PROXY", "*")
        .kill_on_drop(true);
    let output = soon("the client", python.output()).await.unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{client} failed, or Debian's packages python3-requests and python3-httpx are missing: {complaints}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The path of a new message's events.
async fn message(server: &TestServer, id: &str) -> String {
    let path = format!("/api/messages/{id}");
    assert_eq!(
        Client::new()
            .put(server.url(&path))
            .json(&json!({ "user_id": "local" }))
            .send()
            .await
            .unwrap()
            .status(),
        201
    );
    format!("{path}/events")
}

#[tokio::test]
async fn with_the_failures_alone_they_upload_any_number_of_lines() {
    let server = TestServer::start("").await;
    let whole =
        json!({ "success": true, "lines": LINES, "taken": LINES, "duplicates": 0, "failed": 0 });
    for client in CLIENTS {
        let answer =
            upload(client, &server.url("/api/events?results=failures"), &event("bulk")).await;
        assert_eq!(
            answer,
            json!({ "status": 200, "lines": 1, "first": whole, "last": [whole] }),
            "{client}"
        );
    }
    let events = message(&server, "0d0d0d0d-0d0d-4d0d-8d0d-0d0d0d0d0d0d").await;
    let answer = upload(
        "http.client",
        &server.url(&format!("{events}?results=failures")),
        r#"{"type":"chunk","payload":{"text":"word"}}"#,
    )
    .await;
    assert_eq!(answer["first"], whole, "{answer}");
}

#[tokio::test]
async fn promise_11_without_it_the_upload_ends_early_and_says_why() {
    let server = TestServer::start("").await;
    for client in CLIENTS {
        let answer = upload(client, &server.url("/api/events"), &event("bulk")).await;
        let last = &answer["last"][1];
        assert_eq!(
            (&answer["status"], &last["code"]),
            (&json!(200), &json!("results_not_read")),
            "{client}: {answer}"
        );
        assert!(last["message"].as_str().unwrap().contains("?results=failures"), "{answer}");
        // Every line before it was taken, and told.
        assert_eq!(
            (&last["line"], &answer["last"][0]["success"]),
            (&answer["lines"], &json!(true)),
            "{client}: {answer}"
        );
        assert!(last["line"].as_u64().unwrap() < LINES, "{answer}");
    }
    let events = message(&server, "1d0d0d0d-0d0d-4d0d-8d0d-0d0d0d0d0d0d").await;
    let answer = upload("http.client", &server.url(&events), &chunk()).await;
    assert_eq!(answer["last"][1]["code"], "results_not_read", "{answer}");
    let view: Value = Client::new()
        .get(server.url(events.trim_end_matches("/events")))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        view["last_sequence_no"], answer["last"][0]["sequence_no"],
        "nothing behind it was taken"
    );
}

#[tokio::test]
async fn promise_11_failures_that_nobody_reads_end_the_upload_too() {
    let server = TestServer::start("").await;
    for client in CLIENTS {
        let answer =
            upload(client, &server.url("/api/events?results=failures"), &event("a b")).await;
        assert_eq!(
            (&answer["status"], &answer["first"]["line"]),
            (&json!(200), &json!(1)),
            "{client}: {answer}"
        );
        let [end, summary] = [&answer["last"][0], &answer["last"][1]];
        assert_eq!(end["code"], "results_not_read", "{client}: {answer}");
        let failed = end["line"].as_u64().unwrap();
        assert!(failed < LINES, "{answer}");
        assert_eq!(
            summary,
            &json!({ "success": false, "lines": failed, "taken": 0, "duplicates": 0, "failed": failed }),
            "{client}"
        );
    }
}
