//! The clients of `OpenAI`, in Node and Python: `responses.retrieve` with `starting_after`.

use rejoin_test_support::{CuttingProxy, Spared};
use serde_json::{Value, json};

use super::{
    SEED,
    driver::{Driver, Job},
    producer::{Producer, Server},
};

#[tokio::test]
async fn every_response_is_retrieved_once() {
    let clients = [Driver::start("openai_responses.mjs"), Driver::start("openai_responses.py")];
    let (server, impatient) = tokio::join!(
        Server::start("openai-responses"),
        Server::start_impatient("openai-responses")
    );
    tokio::join!(
        cuts(&clients, &server),
        stop(&clients, &server),
        failure(&clients, &server),
        stale(&clients, &impatient),
        unknown(&clients, &server),
        restarts(&clients),
    );
}

fn follow(clients: &[Driver; 2], api: &str, id: &str) -> [Job; 2] {
    let more = json!({ "api": format!("http://{api}/v1"), "id": id });
    clients.each_ref().map(|client| client.job(id, "follow", more.clone()))
}

/// A response in this state, with what a client checks.
fn response(id: &str, status: &str) -> Value {
    json!({
        // A number that every language writes alike.
        "id": id, "object": "response", "created_at": 1.5, "status": status, "model": "slow-speaker",
        "output": [], "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "error": null,
        "incomplete_details": null, "instructions": null, "metadata": {},
    })
}

/// A model that publishes the provider's events, under the provider's numbers.
struct Model<'a>(Producer<'a>);

impl<'a> Model<'a> {
    /// A response that has begun.
    async fn open(server: &'a Server, id: &'static str) -> Self {
        let mut model = Self(Producer::open(server, id).await);
        let created =
            json!({ "type": "response.created", "response": response(id, "in_progress") });
        model.say(created).await;
        model
    }

    async fn say(&mut self, event: Value) -> bool {
        let event = self.numbered(event);
        self.0.say(event).await
    }

    async fn say_word(&mut self) -> bool {
        let word = format!("word {}, with \u{2603}, ", self.0.said.len());
        self.say(json!({
            "type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "delta": word, "logprobs": [],
        }))
        .await
    }

    /// Ends with the response in this state.
    async fn end(&mut self, status: &str, more: Value) {
        let mut response = response(self.0.id, status);
        response.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let event = json!({ "type": format!("response.{status}"), "response": response });
        let event = self.numbered(event);
        let ends = if status == "failed" { "failed" } else { "complete" };
        self.0.end(event, ends).await;
    }

    fn numbered(&self, mut event: Value) -> Value {
        event["sequence_number"] = self.0.said.len().into();
        event
    }

    /// Waits until each client has what was said last.
    async fn is_heard(&self, jobs: &[Job]) {
        for job in jobs {
            job.has(self.0.last()).await;
        }
    }

    /// Waits until each client has had all of it, once.
    async fn is_over(&self, jobs: &[Job]) {
        for job in jobs {
            job.over().await;
            assert_eq!(job.items(), self.0.said);
        }
    }
}

async fn cuts(clients: &[Driver; 2], server: &Server) {
    let proxy = CuttingProxy::start_sparing(server.address(), SEED, 300..1500, Spared::Heads).await;
    let mut model = Model::open(server, "resp_cut").await;
    let jobs = follow(clients, &proxy.address().to_string(), "resp_cut");
    for _ in 0..40 {
        model.say_word().await;
        model.is_heard(&jobs).await;
    }
    model.end("completed", json!({})).await;
    model.is_over(&jobs).await;
    for job in jobs {
        job.is_cut(5).await;
    }
}

async fn restarts(clients: &[Driver; 2]) {
    let server = Server::start("openai-responses").await;
    let proxy = CuttingProxy::start_uncut(server.address()).await;
    let mut model = Model::open(&server, "resp_restart").await;
    let jobs = follow(clients, &proxy.address().to_string(), "resp_restart");
    for (number, signal) in ["KILL", "TERM"].into_iter().enumerate() {
        model.say_word().await;
        model.is_heard(&jobs).await;
        server.restart(signal, &proxy).await;
        for job in &jobs {
            job.is_cut(number + 1).await;
        }
    }
    model.say_word().await;
    model.end("completed", json!({})).await;
    model.is_over(&jobs).await;
}

async fn stop(clients: &[Driver; 2], server: &Server) {
    let mut model = Model::open(server, "resp_stop").await;
    let jobs = follow(clients, &server.address().to_string(), "resp_stop");
    model.is_heard(&jobs).await;
    server.stop("resp_stop").await;
    assert!(model.say_word().await);
    let why = json!({ "incomplete_details": { "reason": "max_output_tokens" } });
    model.end("incomplete", why).await;
    model.is_over(&jobs).await;
}

async fn failure(clients: &[Driver; 2], server: &Server) {
    let mut model = Model::open(server, "resp_failed").await;
    let jobs = follow(clients, &server.address().to_string(), "resp_failed");
    model.is_heard(&jobs).await;
    let why = json!({ "error": { "code": "server_error", "message": "The model has failed." } });
    model.end("failed", why).await;
    model.is_over(&jobs).await;
}

/// In Node the client throws; in Python it gives the error as an event of its own kind.
async fn stale(clients: &[Driver; 2], server: &Server) {
    let model = Model::open(server, "resp_stale").await;
    let [node, python] = follow(clients, &server.address().to_string(), "resp_stale");
    let (threw, over) = (node.threw().await, python.over().await);
    let error = json!({
        "type": "error", "code": "producer_stale", "param": null, "sequence_number": 0,
        "message": "The response was interrupted: its producer is gone.",
    });
    assert_eq!((&threw["class"], &threw["error"]), (&json!("APIError"), &error));
    assert_eq!(over["class"], "ResponseErrorEvent");
    assert_eq!(node.items(), model.0.said);
    assert_eq!(python.items(), [model.0.last().clone(), error]);
}

async fn unknown(clients: &[Driver; 2], server: &Server) {
    for job in follow(clients, &server.address().to_string(), "resp_none") {
        let threw = job.threw().await;
        assert_eq!((&threw["class"], &threw["status"]), (&json!("NotFoundError"), &json!(404)));
    }
}
