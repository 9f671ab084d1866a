//! An upload does not outlive its token.

use std::{convert::Infallible, time::Duration};

use futures_util::StreamExt;
use rejoin::{
    adapters::auth::mint::TokenRequest,
    domain::{access::Scope, topic::UserId},
    testing::{mint, settings_with_tokens},
};
use rejoin_test_support::{Connection, TestServer, soon};
use reqwest::{Body, Client, Response};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

const MESSAGE: &str = "/api/messages/0d0d0d0d-0d0d-4d0d-8d0d-0d0d0d0d0d0d";

/// With the leeway, a token of a second lives for one or two.
async fn server() -> TestServer {
    TestServer::start(&settings_with_tokens("auth.jwt.leeway_seconds = 1")).await
}

fn token(ttl: Duration) -> String {
    let scopes = [Scope::EventsPublish, Scope::MessagesPublish].into();
    mint(&TokenRequest { user: UserId::parse("u1").ok(), scopes, ttl, ..TokenRequest::default() })
}

fn lasting() -> String {
    token(Duration::from_mins(10))
}

struct Upload {
    lines: mpsc::Sender<String>,
    response: Response,
    unread: Vec<u8>,
}

impl Upload {
    async fn start(server: &TestServer, path: &str, token: &str) -> Self {
        let (lines, mut receiver) = mpsc::channel::<String>(1);
        let body = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
            .map(Ok::<_, Infallible>);
        let request = Client::new()
            .post(server.url(path))
            .header("content-type", "application/x-ndjson")
            .bearer_auth(token);
        let response =
            soon("the head", request.body(Body::wrap_stream(body)).send()).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { lines, response, unread: Vec::new() }
    }

    async fn send(&self) {
        // Refused once the server has ended the upload.
        let _ = self.lines.send("{\"user_id\":\"u1\",\"type\":\"t\"}\n".to_owned()).await;
    }

    async fn result(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            self.unread.extend(soon("a result", self.response.chunk()).await.ok()??);
        }
    }
}

fn assert_expired(result: &Value, line: u64) {
    let shown = (&result["line"], &result["status"], &result["code"]);
    assert_eq!(shown, (&json!(line), &json!(401), &json!("token_expired")), "{result}");
}

#[tokio::test]
async fn a_quiet_upload_is_told_when_its_token_ends() {
    let server = server().await;
    let open = Client::new()
        .put(server.url(MESSAGE))
        .bearer_auth(lasting())
        .json(&json!({ "user_id": "u1" }));
    assert_eq!(open.send().await.unwrap().status(), 201);
    for path in ["/api/events".to_owned(), format!("{MESSAGE}/events")] {
        for query in ["", "?results=failures"] {
            let began = Instant::now();
            let mut upload =
                Upload::start(&server, &format!("{path}{query}"), &token(Duration::from_secs(1)))
                    .await;
            assert_expired(&upload.result().await.unwrap(), 1);
            assert!(began.elapsed() < Duration::from_secs(30));
            if query.is_empty() {
                assert_eq!(upload.result().await, None, "the answer ends");
            } else {
                assert_eq!(upload.result().await.unwrap()["failed"], 1);
            }
        }
    }
}

#[tokio::test]
async fn lines_behind_the_end_of_the_token_are_not_published() {
    let server = server().await;
    let mut upload = Upload::start(&server, "/api/events", &token(Duration::from_secs(1))).await;
    let mut taken = 0_u64;
    let last = loop {
        upload.send().await;
        let result = upload.result().await.unwrap();
        if result["success"] == false {
            break result;
        }
        taken += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_expired(&last, taken + 1);
    upload.send().await;
    assert!(taken > 0);
    let marker = json!({ "user_id": "u1", "type": "marker" });
    let publish =
        Client::new().post(server.url("/api/events")).bearer_auth(lasting()).json(&marker);
    assert_eq!(publish.send().await.unwrap().status(), 201);
    let stream = Client::new()
        .get(server.url("/api/events?last_event_id=0"))
        .bearer_auth(lasting())
        .send()
        .await
        .unwrap();
    let mut stream = Connection::of(stream);
    let mut seen = 0;
    while stream.event().await.1["type"] != "marker" {
        seen += 1;
    }
    assert_eq!(seen, taken);
}
