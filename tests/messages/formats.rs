//! What readers of a message get in each format, where they begin, and how it ends.

use rejoin_test_support::{TestServer, soon};
use reqwest::Method;
use serde_json::json;

use crate::messages::server::{Message, answer};

/// What a reader gets until the stream ends: its status and its text, without the greeting.
async fn read(message: &Message<'_>, query: &str, last_event_id: Option<&str>) -> (u16, String) {
    let mut request = message.request(Method::GET, &format!("/events{query}"));
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let response = soon("an answer", request.send()).await.unwrap();
    let status = response.status().as_u16();
    let text = soon("the end of the stream", response.text()).await.unwrap();
    (status, text.trim_start_matches(": connected\nretry: 3000\n").to_owned())
}

#[tokio::test]
async fn each_format_shows_payloads_texts_and_the_end() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    for event in [
        json!({ "type": "start", "payload": { "n": 1 } }),
        json!({ "type": "html", "data": "<p>\r\n</p>\r", "event": "patch" }),
        json!({ "type": "text", "data": "plain" }),
    ] {
        assert_eq!(message.append(event).await.0, 201);
    }
    assert_eq!(message.post("/end").await.0, 200);
    for (query, expected) in [
        (
            "",
            "data: {\"type\":\"start\",\"n\":1}\nid: 0\n\n\
             data: {\"type\":\"html\",\"data\":\"<p>\\r\\n</p>\\r\",\"event\":\"patch\"}\nid: 1\n\n\
             data: {\"type\":\"text\",\"data\":\"plain\"}\nid: 2\n\ndata: {\"type\":\"end\"}\nid: 3\n\n",
        ),
        (
            "?format=named",
            "event: start\ndata: {\"n\":1}\nid: 0\n\nevent: html\ndata: <p>\ndata: </p>\ndata: \nid: 1\n\n\
             event: text\ndata: plain\nid: 2\n\nevent: end\ndata: {}\nid: 3\n\n",
        ),
        (
            "?format=data",
            "data: {\"n\":1}\nid: 0\n\nevent: patch\ndata: <p>\ndata: </p>\ndata: \nid: 1\n\n\
             data: plain\nid: 2\n\nid: 3\n\ndata: [DONE]\n\n",
        ),
    ] {
        assert_eq!(read(&message, query, None).await, (200, expected.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn a_message_ends_once_by_a_call_or_by_its_last_event() {
    let server = TestServer::start("").await;
    let by_call = Message::open(&server).await;
    let end = |status: &str| {
        let body = json!({ "status": status });
        answer(by_call.request(Method::POST, "/end").json(&body))
    };
    let first = end("failed").await;
    assert_eq!(first, (200, json!({ "success": true, "sequence_no": 0, "stop": false })));
    let again = end("complete").await;
    assert_eq!((again.0, &again.1["duplicate"]), (200, &json!(true)), "nothing changes");
    assert_eq!(by_call.view().await.1["status"], "failed");
    assert_eq!(by_call.append(json!({ "type": "t" })).await.1["code"], "message_complete");
    assert_eq!(read(&by_call, "", None).await.1, "data: {\"type\":\"error\"}\nid: 0\n\n");

    for (last, status) in [
        (json!({ "type": "response.completed", "last": true }), "complete"),
        (json!({ "type": "response.failed", "last": true, "status": "failed" }), "failed"),
        (json!({ "type": "error" }), "failed"),
        (json!({ "type": "end", "payload": { "n": 1 } }), "complete"),
    ] {
        let message = Message::open(&server).await;
        let not_yet = json!({ "type": "error", "last": false });
        assert_eq!(message.append(not_yet).await.0, 201);
        assert_eq!(message.append(last).await.0, 201);
        assert_eq!(message.view().await.1["status"], status);
        assert!(read(&message, "", None).await.1.ends_with("id: 1\n\n"), "the stream closes");
        assert_eq!(read(&message, "", Some("1")).await.0, 204, "its id says that it has all");
    }
}

#[tokio::test]
async fn a_reader_begins_behind_what_it_has_or_with_what_it_wants() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    for n in 0..4 {
        message.append(json!({ "type": "t", "payload": n })).await;
    }
    message.end().await;
    for (query, header, first) in [
        ("?starting_after=1", None, 2),
        ("?starting_after=x", None, 0),
        ("?start_index=2", None, 2),
        ("?start_index=0", None, 0),
        ("?start_index=-2", None, 3),
        ("?start_index=-99", None, 0),
        ("?start_index=x", None, 0),
        ("?start_index=1&starting_after=2", None, 3),
        ("?start_index=1&starting_after=2", Some("0"), 1),
        ("?lastEventId=3&starting_after=0", None, 4),
    ] {
        let (status, text) = read(&message, &format!("{query}&format=data"), header).await;
        let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
        assert_eq!(status, 200, "{query}");
        assert_eq!(ids.first().copied(), Some(&*first.to_string()), "{query} {header:?}");
    }
    for query in ["?starting_after=4", "?start_index=5"] {
        assert_eq!(read(&message, query, None).await.0, 204, "{query}");
    }
}

#[tokio::test]
async fn a_uuid_in_any_spelling_is_the_same_message_and_other_texts_are_others() {
    let server = TestServer::start("messages.open_wait_seconds = 0").await;
    let url = |id: &str| server.url(&format!("/api/messages/{id}"));
    let put =
        |id: &str| answer(reqwest::Client::new().put(url(id)).json(&json!({ "user_id": "local" })));
    assert_eq!(put("67e55044-10b1-426f-9247-bb680e5fe0c8").await.0, 201);
    for spelling in ["67E55044-10B1-426F-9247-BB680E5FE0C8", "67e5504410b1426f9247bb680e5fe0c8"] {
        let (status, message) = put(spelling).await;
        assert_eq!(status, 200, "{spelling}");
        assert_eq!(message["message_id"], "67e55044-10b1-426f-9247-bb680e5fe0c8");
    }
    for id in ["chatcmpl-9x:1", "CHATCMPL-9X:1", "resp_1.2", "a%3Ab", &"x".repeat(128)] {
        assert_eq!(put(id).await.0, 201, "{id}");
        assert_eq!(put(id).await.0, 200, "{id}");
    }
    assert_eq!(put("a:b").await.0, 200, "an escape is the character that it stands for");
}
