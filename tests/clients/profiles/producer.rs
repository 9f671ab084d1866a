//! A server with the settings of an example, and a model that publishes there.

use std::{net::SocketAddr, sync::Mutex};

use rejoin_test_support::{CuttingProxy, ServerProcess, eventually};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// A server that keeps what it has on disk, so that it can come back.
pub(super) struct Server {
    example: &'static str,
    environment: &'static [(&'static str, &'static str)],
    folder: TempDir,
    /// Where it listens, and the process.
    running: Mutex<(SocketAddr, Option<ServerProcess>)>,
    http: Client,
}

impl Server {
    pub(super) async fn start(example: &'static str) -> Self {
        Self::start_with(example, &[]).await
    }

    /// A server to which a producer is silent after a second.
    pub(super) async fn start_impatient(example: &'static str) -> Self {
        Self::start_with(example, &[("REJOIN_MESSAGES__PRODUCER_IDLE_SECONDS", "1")]).await
    }

    async fn start_with(
        example: &'static str,
        environment: &'static [(&'static str, &'static str)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = begin(example, environment, &folder).await;
        let running = Mutex::new((process.address(), Some(process)));
        Self { example, environment, folder, running, http: Client::new() }
    }

    /// Where it listens now.
    pub(super) fn address(&self) -> SocketAddr {
        self.running.lock().unwrap().0
    }

    /// The URL of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Ends the server by a signal, starts it again, and leads a proxy there.
    pub(super) async fn restart(&self, signal: &str, proxy: &CuttingProxy) {
        let process = self.running.lock().unwrap().1.take().unwrap();
        process.signal(signal).await;
        process.ended().await;
        let process = begin(self.example, self.environment, &self.folder).await;
        proxy.retarget(process.address());
        *self.running.lock().unwrap() = (process.address(), Some(process));
    }

    /// Asks for an answer to be stopped, as a reader does.
    pub(super) async fn stop(&self, id: &str) {
        let answer = self.call(Method::POST, &format!("{id}/stop"), &json!({})).await;
        assert_eq!(answer["stop"], true, "{answer}");
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = self.url(&format!("/api/messages/{path}"));
        let response = self.http.request(method, url).json(body).send().await.unwrap();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["success"], true, "{answer}");
        answer
    }
}

async fn begin(example: &str, environment: &[(&str, &str)], folder: &TempDir) -> ServerProcess {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    let settings = format!("{}/examples/{example}/rejoin.toml", env!("CARGO_MANIFEST_DIR"));
    command
        .args(["serve", "--config", &settings])
        .env("REJOIN_DISK__PATH", folder.path())
        .env("REJOIN_MESSAGES__OPEN_WAIT_SECONDS", "0")
        .envs(environment.iter().copied());
    ServerProcess::start_by(command).await
}

/// A model that speaks into a message.
pub(super) struct Producer<'a> {
    server: &'a Server,
    pub(super) id: &'static str,
    /// What it has said so far.
    pub(super) said: Vec<Value>,
}

impl<'a> Producer<'a> {
    /// Opens the message.
    pub(super) async fn open(server: &'a Server, id: &'static str) -> Self {
        server.call(Method::PUT, id, &json!({ "user_id": "local" })).await;
        Self { server, id, said: Vec::new() }
    }

    /// Waits until somebody else has opened the message.
    pub(super) async fn when_open(server: &'a Server, id: &'static str) -> Self {
        let url = server.url(&format!("/api/messages/{id}"));
        let is_open =
            async || server.http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
        eventually("an open message", is_open).await;
        Self { server, id, said: Vec::new() }
    }

    /// Says something; tells whether a reader wants no more.
    pub(super) async fn say(&mut self, event: Value) -> bool {
        self.publish(event, json!({})).await
    }

    /// Says its last.
    pub(super) async fn end(&mut self, event: Value, status: &str) {
        self.publish(event, json!({ "last": true, "status": status })).await;
    }

    /// The provider's event, under its type, as it is.
    async fn publish(&mut self, event: Value, mut more: Value) -> bool {
        more["type"] = event["type"].clone();
        more["payload"] = event.clone();
        self.publish_as(more, event).await
    }

    /// Publishes; `said` is what a client is to see.
    pub(super) async fn publish_as(&mut self, body: Value, said: Value) -> bool {
        let answer = self.server.call(Method::POST, &format!("{}/events", self.id), &body).await;
        assert_eq!(answer["sequence_no"], self.said.len(), "{answer}");
        self.said.push(said);
        answer["stop"].as_bool().unwrap()
    }

    /// What it said last.
    pub(super) fn last(&self) -> &Value {
        self.said.last().unwrap()
    }
}
