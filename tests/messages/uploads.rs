//! A whole answer in one request.

use rejoin_test_support::{TestServer, soon};
use reqwest::{Body, Client, Method, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::messages::server::Message;

/// An upload that a test feeds line by line, and whose results it reads one by one.
struct Upload {
    lines: mpsc::Sender<Result<String, std::io::Error>>,
    response: Response,
    unread: String,
}

impl Upload {
    async fn start(message: &Message<'_>) -> Self {
        let (lines, receiver) = mpsc::channel(8);
        let body =
            Body::wrap_stream(futures_util::stream::unfold(receiver, |mut receiver| async move {
                Some((receiver.recv().await?, receiver))
            }));
        let request = Client::new()
            .post(message.url("/events"))
            .header("content-type", "application/x-ndjson")
            .body(body);
        let response = soon("an answer", request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { lines, response, unread: String::new() }
    }

    async fn send(&self, line: &Value) {
        self.lines.send(Ok(format!("{line}\n"))).await.unwrap();
    }

    async fn result(&mut self) -> Option<Value> {
        loop {
            if let Some(line_end) = self.unread.find('\n') {
                let line: String = self.unread.drain(..=line_end).collect();
                return Some(serde_json::from_str(&line).unwrap());
            }
            let piece = soon("a result", self.response.chunk()).await.unwrap()?;
            self.unread.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }
}

async fn upload_whole(message: &Message<'_>, body: String, key: Option<&str>) -> Vec<Value> {
    let mut request = Client::new()
        .post(message.url("/events"))
        .header("content-type", "application/x-ndjson")
        .body(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let text = request.send().await.unwrap().text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn each_line_is_visible_and_answered_at_once() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    let mut reader = message.read(None).await;
    let mut upload = Upload::start(&message).await;
    for n in 0..20 {
        upload.send(&json!({ "type": "chunk", "payload": { "n": n } })).await;
        assert_eq!(
            upload.result().await.unwrap(),
            json!({ "line": n + 1, "success": true, "sequence_no": n, "stop": false })
        );
        assert_eq!(reader.event().await.1["n"], n);
    }
}

#[tokio::test]
async fn a_stop_reaches_a_producer_that_waits_for_its_model() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    let mut upload = Upload::start(&message).await;
    upload.send(&json!({ "type": "chunk" })).await;
    upload.result().await;
    assert_eq!(message.post("/stop").await.0, 200);
    assert_eq!(upload.result().await.unwrap(), json!({ "success": true, "stop": true }));
    upload.send(&json!({ "type": "end" })).await;
    assert_eq!(upload.result().await.unwrap()["stop"], true);
}

#[tokio::test]
async fn the_first_line_that_is_refused_ends_the_upload() {
    let server = TestServer::start("server.max_body_bytes = 1024").await;
    let long = format!(r#"{{"type":"chunk","payload":"{}"}}"#, "x".repeat(5_000));
    for (bad, status, code) in [
        ("nonsense", 400, "invalid_json"),
        (r#"{"type":"a b"}"#, 422, "invalid_field"),
        (r#"{"type":"chunk","sequence_no":9}"#, 409, "sequence_gap"),
        (&long, 413, "event_too_large"),
    ] {
        let message = Message::open(&server).await;
        let results = upload_whole(
            &message,
            format!("{{\"type\":\"a\"}}\n\n{bad}\n{{\"type\":\"b\"}}\n"),
            None,
        )
        .await;
        assert_eq!(results.len(), 2, "{results:?}");
        assert_eq!(
            (&results[1]["line"], &results[1]["status"], &results[1]["code"]),
            (&json!(2), &json!(status), &json!(code))
        );
        assert_eq!(message.view().await.1["last_sequence_no"], 0, "nothing behind it was taken");
    }
}

#[tokio::test]
async fn a_stop_and_the_first_failure_are_told_where_only_failures_are_wanted() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    let request = |body: &'static str| {
        message
            .request(Method::POST, "/events?results=failures")
            .header("content-type", "application/x-ndjson")
            .body(body)
    };
    let results = async |body| {
        let text = request(body).send().await.unwrap().text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let summary = |taken, failed| json!({ "success": failed == 0, "lines": taken + failed, "taken": taken, "duplicates": 0, "failed": failed });
    assert_eq!(results("{\"type\":\"a\"}\n{\"type\":\"b\"}\n").await, [summary(2, 0)]);
    assert_eq!(message.post("/stop").await.0, 200);
    let stopped = json!({ "success": true, "stop": true });
    assert_eq!(
        results("{\"type\":\"c\"}\n{\"type\":\"d\"}\n").await,
        [stopped.clone(), summary(2, 0)]
    );
    let ended = results("{\"type\":\"end\"}\n{\"type\":\"e\"}\n{\"type\":\"f\"}\n").await;
    assert_eq!(
        (&ended[0], &ended[1]["code"], &ended[1]["line"]),
        (&stopped, &json!("message_complete"), &json!(2)),
        "{ended:?}"
    );
    assert_eq!(ended[2..], [summary(1, 1)]);
}

#[tokio::test]
async fn promise_5_a_repeated_upload_appends_no_line_twice() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    let body = "{\"type\":\"chunk\"}\n".repeat(3);
    upload_whole(&message, body.clone(), Some("k")).await;
    let again = upload_whole(&message, body + "{\"type\":\"end\"}", Some("k")).await;
    let numbers: Vec<_> = again
        .iter()
        .map(|result| (result["sequence_no"].as_u64().unwrap(), result["duplicate"] == true))
        .collect();
    assert_eq!(numbers, [(0, true), (1, true), (2, true), (3, false)]);
}

#[tokio::test]
async fn an_upload_that_breaks_off_keeps_its_whole_lines() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    let mut reader = message.read(None).await;
    let mut upload = Upload::start(&message).await;
    upload.send(&json!({ "type": "chunk", "payload": { "n": 1 } })).await;
    upload.result().await;
    upload.lines.send(Ok("{\"type\":\"chu".into())).await.unwrap();
    upload.lines.send(Err(std::io::ErrorKind::BrokenPipe.into())).await.unwrap();
    assert_eq!(reader.event().await.1["n"], 1);
    drop(upload);
    message.chunk("from another producer").await;
    assert_eq!(reader.event().await.1["text"], "from another producer");
}

#[tokio::test]
async fn a_draining_server_tells_the_producer_where_it_stopped() {
    let server = TestServer::start("server.drain_seconds = 5").await;
    let message = Message::open(&server).await;
    let mut upload = Upload::start(&message).await;
    upload.send(&json!({ "type": "chunk" })).await;
    upload.result().await;
    let draining = server.drain();
    let told = async {
        let last = upload.result().await.unwrap();
        assert_eq!((&last["line"], &last["code"]), (&json!(2), &json!("draining")));
        assert_eq!(upload.result().await, None);
    };
    let (in_time, ()) = tokio::join!(draining, told);
    assert!(in_time);
}

#[tokio::test]
async fn a_body_that_streams_is_not_held() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    // More than any buffer between them: it only ends if results are sent while the body is still
    // coming.
    let line = format!("{{\"type\":\"chunk\",\"payload\":\"{}\"}}\n", "x".repeat(10_000));
    let body = Body::wrap_stream(futures_util::stream::iter(std::iter::repeat_n(
        Ok::<_, std::convert::Infallible>(line),
        2_000,
    )));
    let request = Client::new()
        .post(message.url("/events"))
        .header("content-type", "application/x-ndjson")
        .body(body);
    let response = soon("an answer", request.send()).await.unwrap();
    let results = soon("all results", response.text()).await.unwrap();
    assert_eq!(results.lines().count(), 2_000);
}
