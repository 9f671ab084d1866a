//! A process that is called over HTTP, and the settings of one that keeps everything in Redis.

use std::{future::Future, ops::Range, time::Duration};

use rejoin_test_support::{Connection, RedisServer, TestServer, soon};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

/// No request may take longer, whatever Redis does.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The settings of a process over a Redis, with more of them.
pub(crate) fn settings(redis_url: &str, more: &str) -> String {
    let backends =
        "events.backend = \"redis\"\nmessages.backend = \"redis\"\nlimits.backend = \"redis\"";
    format!("{backends}\nredis.url = \"{redis_url}\"\n{more}")
}

/// A process over a Redis.
pub(crate) async fn server(redis: &RedisServer, more: &str) -> (TestServer, Caller) {
    let server = TestServer::start(&settings(&redis.url(), more)).await;
    let caller = Caller::new(server.url(""));
    (server, caller)
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after_seconds: Option<u64>,
    pub(crate) body: Value,
    pub(crate) took: Duration,
}

impl Answer {
    async fn of(answer: impl Future<Output = reqwest::Result<Response>>) -> Self {
        let asked = Instant::now();
        let response = soon("an answer", answer).await.unwrap();
        let (status, took) = (response.status().as_u16(), asked.elapsed());
        let retry_after_seconds = response
            .headers()
            .get("retry-after")
            .map(|seconds| seconds.to_str().unwrap().parse().unwrap());
        // What is open has no end to wait for.
        let body = if status == 200 && response.headers()["content-type"] == "text/event-stream" {
            Value::Null
        } else {
            serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null)
        };
        Self { status, retry_after_seconds, body, took }
    }

    /// Panics unless it says, in time, that the backend is away, and when to come back.
    #[track_caller]
    pub(crate) fn assert_told_to_come_back(&self) {
        assert_eq!(
            (self.status, &self.body["code"]),
            (503, &json!("backend_unavailable")),
            "{self:?}"
        );
        assert!(self.retry_after_seconds.is_some_and(|seconds| seconds > 0), "{self:?}");
        assert!(self.took < ANSWERED_WITHIN, "{self:?}");
    }
}

/// What became of numbers that were published one after the other.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// The ids of 0, 1, 2, ..., as they were acknowledged.
    pub(crate) ids: Vec<String>,
    /// Attempts that were not acknowledged.
    pub(crate) refusals: Vec<Answer>,
}

/// One process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caller {
    base: String,
    http: Client,
}

impl Caller {
    pub(crate) fn new(base: String) -> Self {
        Self { base, http: Client::new() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    pub(crate) async fn call(&self, method: Method, path: &str) -> Answer {
        Answer::of(self.request(method, path).send()).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        Answer::of(self.request(method, path).json(&body).send()).await
    }

    /// Asks for a stream, and gives only the answer.
    pub(crate) async fn subscribe(&self, path: &str, cursor: Option<&str>) -> Answer {
        Answer::of(with_cursor(self.request(Method::GET, path), cursor).send()).await
    }

    /// Opens a user's stream.
    pub(crate) async fn follow(&self, cursor: Option<&str>) -> Connection {
        self.follow_at("/api/events", cursor).await
    }

    /// Opens a stream.
    pub(crate) async fn follow_at(&self, path: &str, cursor: Option<&str>) -> Connection {
        let response =
            soon("an answer", with_cursor(self.request(Method::GET, path), cursor).send())
                .await
                .unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap_or_default());
        Connection::of(response)
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.call(Method::GET, "/readyz").await.status == 200
    }

    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text =
            self.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    /// Publishes to user `local`, once.
    pub(crate) async fn try_publish(&self, payload: impl Into<Value>, key: Option<&str>) -> Answer {
        let body = json!({ "user_id": "local", "type": "t", "payload": payload.into() });
        let request = self.request(Method::POST, "/api/events").json(&body);
        Answer::of(
            key.into_iter()
                .fold(request, |request, key| request.header("idempotency-key", key))
                .send(),
        )
        .await
    }

    /// Publishes to user `local`, which must succeed, and gives the id.
    pub(crate) async fn publish(&self, payload: impl Into<Value>) -> String {
        let answer = self.try_publish(payload, None).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// Publishes numbers to user `local` in one request, which must succeed, and gives their ids.
    pub(crate) async fn publish_lines(&self, numbers: Range<usize>) -> Vec<String> {
        let lines: Vec<String> = numbers
            .map(|number| json!({ "user_id": "local", "type": "t", "payload": number }).to_string())
            .collect();
        let request = self
            .request(Method::POST, "/api/events")
            .header("content-type", "application/x-ndjson")
            .body(lines.join("\n"));
        let answers = soon("the answers", request.send()).await.unwrap().text().await.unwrap();
        let id = |line| {
            serde_json::from_str::<Value>(line).unwrap()["id"].as_str().map(ToOwned::to_owned)
        };
        answers.lines().map(|line| id(line).unwrap_or_else(|| panic!("{line}"))).collect()
    }

    /// Publishes 0, 1, 2, ... until it is told to stop, each with the same key until it is
    /// acknowledged.
    pub(crate) async fn publish_on(self, stop: watch::Receiver<bool>) -> Published {
        let mut published = Published::default();
        while !*stop.borrow() {
            let number = published.ids.len();
            let answer = self.try_publish(number, Some(&format!("k{number}"))).await;
            match answer.status {
                200 | 201 => published.ids.push(answer.body["id"].as_str().unwrap().to_owned()),
                _ => published.refusals.push(answer),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        published
    }
}

fn with_cursor(request: RequestBuilder, cursor: Option<&str>) -> RequestBuilder {
    cursor.into_iter().fold(request, |request, cursor| request.header("last-event-id", cursor))
}
