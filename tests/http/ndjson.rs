//! Many events in one request.

use futures_util::StreamExt;
use rejoin_test_support::{Connection, TestServer, soon};
use reqwest::{Body, Client};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

async fn upload(server: &TestServer, body: impl Into<Body>, key: Option<&str>) -> Vec<Value> {
    let mut request = Client::new()
        .post(server.url("/api/events"))
        .header("content-type", "application/x-ndjson")
        .body(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn each_line_has_its_result_in_order() {
    let server = TestServer::start("server.max_body_bytes = 1024").await;
    let long = format!(r#"{{"user_id":"local","type":"t","payload":"{}"}}"#, "x".repeat(5_000));
    let body = [
        r#"{"user_id":"local","type":"a"}"#,
        "",
        "nonsense\r",
        &long,
        r#"{"user_ids":["local","u2"],"type":"b"}"#,
        r#"{"user_id":"local","type":"c"}"#,
    ];
    let results = upload(&server, body.join("\n"), None).await;
    let shown: Vec<_> = results
        .iter()
        .map(|result| {
            (
                result["line"].as_u64().unwrap(),
                result["success"].as_bool().unwrap(),
                result["status"].as_u64(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (1, true, None),
            (2, false, Some(400)),
            (3, false, Some(413)),
            (4, true, None),
            (5, true, None)
        ]
    );
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    for (event_type, id) in
        [("a", &results[0]["id"]), ("b", &results[3]["ids"][0]), ("c", &results[4]["id"])]
    {
        let (got, envelope) = stream.event().await;
        assert_eq!((&json!(got), &envelope["type"]), (id, &json!(event_type)));
    }
}

#[tokio::test]
async fn the_failures_alone_come_with_a_summary() {
    let server = TestServer::start("").await;
    let body = "{\"user_id\":\"local\",\"type\":\"a\"}\n\nnonsense\n{\"user_id\":\"local\",\"type\":\"b\"}\n";
    for (duplicates, query) in [(0, "results=failures"), (2, "results=all&results=failures")] {
        let request = Client::new()
            .post(server.url(&format!("/api/events?{query}")))
            .header("content-type", "application/x-ndjson");
        let text = request
            .header("idempotency-key", "k")
            .body(body)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let results: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            (&results[0]["line"], &results[0]["code"]),
            (&json!(2), &json!("invalid_json")),
            "{text}"
        );
        assert_eq!(
            results[1..],
            [
                json!({ "success": false, "lines": 3, "taken": 2, "duplicates": duplicates, "failed": 1 })
            ]
        );
    }
    for body in [body, r#"{"user_id":"local","type":"a"}"#] {
        let request = Client::new()
            .post(server.url("/api/events?results=none"))
            .header("content-type", "application/x-ndjson");
        let refused = request.body(body).send().await.unwrap();
        assert_eq!(refused.status(), 400);
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "invalid_results");
    }
}

#[tokio::test]
async fn promise_5_a_repeated_upload_appends_no_line_twice() {
    let server = TestServer::start("").await;
    let body = "{\"user_id\":\"local\",\"type\":\"t\"}\n".repeat(3);
    let first = upload(&server, body.clone(), Some("k")).await;
    let again = upload(&server, body + "{\"user_id\":\"local\",\"type\":\"new\"}", Some("k")).await;
    let ids =
        |results: &[Value]| results.iter().map(|result| result["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first), ids(&again[..3]));
    assert!(again[..3].iter().all(|result| result["duplicate"] == true));
    assert_eq!(again[3].get("duplicate"), None);
    assert_ne!(first[0]["id"], first[1]["id"]);
}

#[tokio::test]
async fn a_line_is_visible_and_answered_while_the_request_goes_on() {
    let server = TestServer::start("").await;
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    let (lines, mut receiver) = mpsc::channel::<String>(1);
    let body = Body::wrap_stream(
        futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
            .map(Ok::<_, std::io::Error>),
    );
    let request = Client::new()
        .post(server.url("/api/events"))
        .header("content-type", "application/x-ndjson")
        .body(body);
    let send = async |n: u32| {
        lines
            .send(format!("{{\"user_id\":\"local\",\"type\":\"t\",\"payload\":{n}}}\n"))
            .await
            .unwrap();
    };
    let (response, ()) = soon("the answer's head, before the request's end", async {
        tokio::join!(request.send(), send(0))
    })
    .await;
    let mut results = response.unwrap().bytes_stream();
    for n in 0..3 {
        if n > 0 {
            send(n).await;
        }
        assert_eq!(stream.event().await.1["payload"], n);
        let result: Value =
            serde_json::from_slice(&soon("its result", results.next()).await.unwrap().unwrap())
                .unwrap();
        assert_eq!(result["line"], n + 1);
    }
    drop(lines);
    assert!(soon("the end", results.next()).await.is_none());
}

#[tokio::test]
async fn promise_11_a_body_that_breaks_off_is_no_success() {
    let server = TestServer::start("").await;
    for query in ["", "?results=failures"] {
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        let head = format!(
            "POST /api/events{query} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: 1000\r\n\r\n"
        );
        socket
            .write_all(
                format!("{head}{{\"user_id\":\"local\",\"type\":\"t\"}}\n{{\"user_id\":")
                    .as_bytes(),
            )
            .await
            .unwrap();
        // It sends no more, and still listens.
        socket.shutdown().await.unwrap();
        let mut answer = String::new();
        soon("the answer", socket.read_to_string(&mut answer)).await.unwrap();
        assert!(
            answer.contains(r#"{"line":2,"status":400,"success":false"#)
                && answer.contains("incomplete_body"),
            "{answer}"
        );
        assert!(!answer.contains(r#""success":true,"lines""#), "{answer}");
    }
}

#[tokio::test]
async fn half_a_line_of_a_body_that_breaks_off_is_not_published() {
    let server = TestServer::start("").await;
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let head = "POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: 1000\r\n\r\n";
    let lines =
        "{\"user_id\":\"local\",\"type\":\"whole\"}\n{\"user_id\":\"local\",\"type\":\"half\"}";
    socket.write_all(format!("{head}{lines}").as_bytes()).await.unwrap();
    assert_eq!(stream.event().await.1["type"], "whole");
    drop(socket);
    server.publish("next", Value::Null).await;
    assert_eq!(stream.event().await.1["type"], "next");
}
