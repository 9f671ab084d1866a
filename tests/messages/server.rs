//! A server, and the shortest way to produce on it.

use rejoin_test_support::{Connection, TestServer};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

/// A message on a server that authenticates nobody: everybody is user `local`.
pub(crate) struct Message<'a> {
    pub(crate) server: &'a TestServer,
    pub(crate) id: Uuid,
}

/// The path of a message, or of something below it.
pub(crate) fn path(id: Uuid, below: &str) -> String {
    format!("/api/messages/{id}{below}")
}

/// Sends a request, and gives its status and its JSON.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
}

impl<'a> Message<'a> {
    /// Opens a new message.
    pub(crate) async fn open(server: &'a TestServer) -> Self {
        Self::open_as(server, Uuid::new_v4()).await
    }

    /// Opens a new message under an id that somebody may wait for.
    pub(crate) async fn open_as(server: &'a TestServer, id: Uuid) -> Self {
        let message = Self { server, id };
        let (status, answer) = message.put(json!({ "user_id": "local" })).await;
        assert_eq!((status, &answer["status"]), (201, &json!("streaming")), "{answer}");
        message
    }

    pub(crate) fn url(&self, below: &str) -> String {
        self.server.url(&path(self.id, below))
    }

    pub(crate) fn request(&self, method: Method, below: &str) -> RequestBuilder {
        Client::new().request(method, self.url(below))
    }

    pub(crate) async fn put(&self, body: Value) -> (u16, Value) {
        answer(self.request(Method::PUT, "").json(&body)).await
    }

    pub(crate) async fn post(&self, below: &str) -> (u16, Value) {
        answer(self.request(Method::POST, below)).await
    }

    pub(crate) async fn view(&self) -> (u16, Value) {
        answer(self.request(Method::GET, "")).await
    }

    /// Appends one event.
    pub(crate) async fn append(&self, body: Value) -> (u16, Value) {
        answer(self.request(Method::POST, "/events").json(&body)).await
    }

    /// Appends a chunk of text, which must be taken.
    pub(crate) async fn chunk(&self, text: &str) {
        let (status, answer) =
            self.append(json!({ "type": "chunk", "payload": { "text": text } })).await;
        assert_eq!(status, 201, "{answer}");
    }

    pub(crate) async fn end(&self) {
        assert_eq!(self.append(json!({ "type": "end" })).await.0, 201);
    }

    pub(crate) async fn read(&self, last_event_id: Option<&str>) -> Connection {
        Connection::open(&self.url("/events"), last_event_id).await
    }
}
