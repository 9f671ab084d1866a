//! The clients of Anthropic, in Node and Python: a stored stream of Messages. There is no cursor:
//! who comes back is given the whole of it.

use rejoin_test_support::{CuttingProxy, Spared};
use serde_json::{Value, json};

use super::{
    SEED,
    driver::{Driver, Job},
    producer::{Producer, Server},
};

#[tokio::test]
async fn every_message_is_read_whole() {
    let clients = [Driver::start("anthropic_messages.mjs"), Driver::start("anthropic_messages.py")];
    let (server, impatient) =
        tokio::join!(Server::start("anthropic"), Server::start_impatient("anthropic"));
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
    let more = json!({ "api": format!("http://{api}"), "id": id });
    clients.each_ref().map(|client| client.job(id, "follow", more.clone()))
}

/// A model that publishes the provider's events, and its words.
struct Model<'a> {
    producer: Producer<'a>,
    words: Vec<Value>,
}

impl<'a> Model<'a> {
    /// A message that has begun. A `ping` of the provider's is in it, which the clients do not
    /// show.
    async fn open(server: &'a Server, id: &'static str) -> Self {
        let mut producer = Producer::open(server, id).await;
        let message = json!({
            "id": id, "type": "message", "role": "assistant", "model": "slow-speaker", "content": [],
            "stop_reason": null, "stop_sequence": null,
            "usage": { "input_tokens": 5, "output_tokens": 1 },
        });
        let block = json!({ "type": "text", "text": "" });
        for event in [
            json!({ "type": "message_start", "message": message }),
            json!({ "type": "content_block_start", "index": 0, "content_block": block }),
            json!({ "type": "ping" }),
        ] {
            producer.say(event).await;
        }
        Self { producer, words: Vec::new() }
    }

    async fn say_word(&mut self) -> bool {
        let word = format!("word {}, with \u{2603}, ", self.words.len());
        let delta = json!({ "type": "text_delta", "text": word });
        self.words.push(word.into());
        let event = json!({ "type": "content_block_delta", "index": 0, "delta": delta });
        self.producer.say(event).await
    }

    async fn end(&mut self) {
        let delta = json!({ "stop_reason": "end_turn", "stop_sequence": null });
        let usage = json!({ "output_tokens": 9 });
        for event in [
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": delta, "usage": usage }),
        ] {
            self.producer.say(event).await;
        }
        self.producer.end(json!({ "type": "message_stop" }), "complete").await;
    }

    /// Waits until each client has the last word.
    async fn is_heard(&self, jobs: &[Job]) {
        for job in jobs {
            job.has(self.words.last().unwrap()).await;
        }
    }

    /// Waits until each client has made one message of it.
    async fn is_over(&self, jobs: &[Job]) {
        let text: String = self.words.iter().filter_map(Value::as_str).collect();
        for job in jobs {
            let message = job.over().await["message"].clone();
            assert_eq!(job.items(), self.words);
            assert_eq!(message["id"], self.producer.id);
            assert_eq!(message["content"].as_array().unwrap().len(), 1, "{message:#}");
            assert_eq!(message["content"][0]["text"], text, "{message:#}");
            assert_eq!(message["stop_reason"], "end_turn", "{message:#}");
            assert_eq!(message["usage"]["output_tokens"], 9, "{message:#}");
        }
    }
}

async fn cuts(clients: &[Driver; 2], server: &Server) {
    let proxy = CuttingProxy::start_sparing(server.address(), SEED, 300..1500, Spared::Heads).await;
    let mut model = Model::open(server, "msg_cut").await;
    let jobs = follow(clients, &proxy.address().to_string(), "msg_cut");
    for _ in 0..20 {
        model.say_word().await;
    }
    // No connection carries the whole of it any more.
    for times in 1..=10 {
        for job in &jobs {
            job.is_cut(times).await;
        }
        model.say_word().await;
    }
    proxy.calm_down();
    model.end().await;
    model.is_over(&jobs).await;
}

async fn restarts(clients: &[Driver; 2]) {
    let server = Server::start("anthropic").await;
    let proxy = CuttingProxy::start_uncut(server.address()).await;
    let mut model = Model::open(&server, "msg_restart").await;
    let jobs = follow(clients, &proxy.address().to_string(), "msg_restart");
    for (number, signal) in ["KILL", "TERM"].into_iter().enumerate() {
        model.say_word().await;
        model.is_heard(&jobs).await;
        server.restart(signal, &proxy).await;
        for job in &jobs {
            job.is_cut(number + 1).await;
        }
    }
    model.say_word().await;
    model.end().await;
    model.is_over(&jobs).await;
}

async fn stop(clients: &[Driver; 2], server: &Server) {
    let mut model = Model::open(server, "msg_stop").await;
    model.say_word().await;
    let jobs = follow(clients, &server.address().to_string(), "msg_stop");
    model.is_heard(&jobs).await;
    server.stop("msg_stop").await;
    assert!(model.say_word().await);
    model.end().await;
    model.is_over(&jobs).await;
}

/// Shows that each client raises the provider's error, behind what was said until then.
async fn raises(jobs: &[Job], error: &Value, words: &[Value]) {
    for job in jobs {
        let threw = job.threw().await;
        assert_eq!(&threw["error"], error, "{threw}");
        assert_eq!(job.items(), words);
    }
}

async fn failure(clients: &[Driver; 2], server: &Server) {
    let mut model = Model::open(server, "msg_failed").await;
    model.say_word().await;
    let jobs = follow(clients, &server.address().to_string(), "msg_failed");
    let error = json!({ "type": "overloaded_error", "message": "Overloaded" });
    let error = json!({ "type": "error", "error": error });
    model.producer.end(error.clone(), "failed").await;
    raises(&jobs, &error, &model.words).await;
}

async fn stale(clients: &[Driver; 2], server: &Server) {
    let mut model = Model::open(server, "msg_stale").await;
    model.say_word().await;
    let jobs = follow(clients, &server.address().to_string(), "msg_stale");
    let message = "The message was interrupted: its producer is gone.";
    let error = json!({ "type": "error", "error": { "type": "api_error", "message": message } });
    raises(&jobs, &error, &model.words).await;
}

async fn unknown(clients: &[Driver; 2], server: &Server) {
    for job in follow(clients, &server.address().to_string(), "msg_none") {
        let threw = job.threw().await;
        assert_eq!((&threw["class"], &threw["status"]), (&json!("NotFoundError"), &json!(404)));
    }
}
