//! `DefaultChatTransport` of the AI SDK, which is given the whole answer at each reconnect.

use rejoin_test_support::{CuttingProxy, Spared};
use serde_json::{Value, json};

use super::{
    SEED,
    driver::{Driver, Job},
    producer::{Producer, Server},
};

#[tokio::test]
async fn every_answer_is_resumed_to_its_end() {
    let client = Driver::start("ai_sdk.mjs");
    let (server, impatient) =
        tokio::join!(Server::start("ai-sdk"), Server::start_impatient("ai-sdk"));
    tokio::join!(
        cuts(&client, &server),
        stop(&client, &server),
        stale(&client, &impatient),
        unknown(&client, &server),
        restarts(&client),
    );
}

fn follow(client: &Driver, job: &str, api: &str, id: &str) -> Job {
    client.job(job, "follow", json!({ "api": format!("http://{api}/api/chat"), "id": id }))
}

/// A model that has begun to speak.
async fn model<'a>(server: &'a Server, id: &'static str) -> Producer<'a> {
    let mut model = Producer::open(server, id).await;
    for chunk in [json!({ "type": "start", "messageId": id }), start_of_text()] {
        model.say(chunk).await;
    }
    model
}

pub(super) fn start_of_text() -> Value {
    json!({ "type": "text-start", "id": "text" })
}

pub(super) fn word(number: usize) -> Value {
    json!({ "type": "text-delta", "id": "text", "delta": format!("word {number}, with \u{2603}, ") })
}

pub(super) fn end_of_text() -> Value {
    json!({ "type": "text-end", "id": "text" })
}

pub(super) fn finish() -> Value {
    json!({ "type": "finish" })
}

/// Shows that the SDK has made one message of what was said.
pub(super) fn is_all(message: &Value, said: &[Value]) {
    let text: String = said.iter().filter_map(|chunk| chunk["delta"].as_str()).collect();
    assert_eq!(message["parts"][0]["text"], text, "{message:#}");
    assert_eq!(message["parts"].as_array().unwrap().len(), 1, "{message:#}");
}

async fn cuts(client: &Driver, server: &Server) {
    let proxy = CuttingProxy::start_sparing(server.address(), SEED, 300..1500, Spared::Heads).await;
    let mut model = model(server, "chat-cut").await;
    let job = follow(client, "cuts", &proxy.address().to_string(), model.id);
    for number in 0..30 {
        model.say(word(number)).await;
    }
    // No connection carries the whole of it any more.
    for number in 30..40 {
        job.is_cut(number - 29).await;
        model.say(word(number)).await;
    }
    proxy.calm_down();
    model.say(end_of_text()).await;
    job.has(model.last()).await;
    model.end(finish(), "complete").await;
    let over = job.over().await;
    assert_eq!(job.items(), model.said);
    is_all(&over["message"], &model.said);
    assert_eq!(over["errors"], json!([]));
}

async fn restarts(client: &Driver) {
    let server = Server::start("ai-sdk").await;
    let proxy = CuttingProxy::start_uncut(server.address()).await;
    let mut model = model(&server, "chat-restart").await;
    let job = follow(client, "restarts", &proxy.address().to_string(), model.id);
    for (number, signal) in ["KILL", "TERM"].into_iter().enumerate() {
        model.say(word(number)).await;
        job.has(model.last()).await;
        server.restart(signal, &proxy).await;
        job.is_cut(number + 1).await;
    }
    model.say(end_of_text()).await;
    job.has(model.last()).await;
    model.end(finish(), "complete").await;
    is_all(&job.over().await["message"], &model.said);
    assert_eq!(job.items(), model.said);
}

async fn stop(client: &Driver, server: &Server) {
    let mut model = model(server, "chat-stop").await;
    let job = follow(client, "stop", &server.address().to_string(), model.id);
    job.has(model.last()).await;
    server.stop(model.id).await;
    assert!(model.say(word(1)).await);
    model.end(json!({ "type": "abort", "reason": "stopped" }), "complete").await;
    let over = job.over().await;
    assert_eq!(job.items(), model.said);
    assert_eq!((&over["last"], &over["errors"]), (&json!("abort"), &json!([])));
}

async fn stale(client: &Driver, server: &Server) {
    let model = model(server, "chat-stale").await;
    let job = follow(client, "stale", &server.address().to_string(), model.id);
    let over = job.over().await;
    assert_eq!(job.items()[..2], model.said);
    let error = "The answer was interrupted: its producer is gone.";
    assert_eq!((&over["last"], &over["errors"]), (&json!("error"), &json!([error])));
}

/// There is nothing to resume where there is no answer, and where it is over.
async fn unknown(client: &Driver, server: &Server) {
    let mut model = model(server, "chat-over").await;
    model.end(finish(), "complete").await;
    for id in ["chat-none", model.id] {
        let job = follow(client, id, &server.address().to_string(), id);
        assert_eq!(job.over().await["nothing"], true);
    }
}
