//! `WorkflowChatTransport` of the AI SDK, which reconnects by itself, from the chunk that it lacks.

use rejoin_test_support::{CuttingProxy, Spared};
use serde_json::{Value, json};

use super::{
    SEED,
    ai_sdk::{end_of_text, finish, is_all, start_of_text, word},
    driver::{Driver, Job},
    producer::{Producer, Server},
};

#[tokio::test]
async fn every_run_is_followed_to_its_finish() {
    let client = Driver::start("ai_sdk_workflow.mjs");
    let (server, impatient) =
        tokio::join!(Server::start("ai-sdk"), Server::start_impatient("ai-sdk"));
    tokio::join!(
        cuts(&client, &server),
        the_last_chunks(&client, &server),
        stop(&client, &server),
        stale(&client, &impatient),
        unknown(&client, &server),
        restarts(&client),
    );
}

/// However many connections it takes: its own limit counts cuts, not attempts that got nothing.
fn patient() -> Value {
    json!({ "maxConsecutiveErrors": 1000 })
}

/// Has the application open the run and the transport read it, through a proxy.
async fn send<'a>(
    client: &Driver,
    server: &'a Server,
    proxy: &CuttingProxy,
    id: &'static str,
) -> (Job, Producer<'a>) {
    let api = format!("http://{}/api/run", proxy.address());
    let more = json!({ "server": server.url(""), "api": api, "id": id, "options": patient() });
    let job = client.job(id, "send", more);
    (job, Producer::when_open(server, id).await)
}

fn reconnect(client: &Driver, api: &str, id: &str, more: &Value) -> Job {
    let mut job = json!({ "api": format!("http://{api}/api/run"), "id": id });
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.job(id, "reconnect", job)
}

async fn say(model: &mut Producer<'_>, job: &Job, chunk: Value) {
    model.say(chunk).await;
    job.has(model.last()).await;
}

async fn finishes(mut model: Producer<'_>, job: &Job) -> Value {
    model.say(end_of_text()).await;
    model.end(finish(), "complete").await;
    let over = job.over().await;
    assert_eq!(job.items(), model.said);
    is_all(&over["message"], &model.said);
    assert_eq!(over["errors"], json!([]));
    over
}

async fn cuts(client: &Driver, server: &Server) {
    let proxy = CuttingProxy::start_sparing(server.address(), SEED, 200..900, Spared::Heads).await;
    let (job, mut model) = send(client, server, &proxy, "run-cut").await;
    say(&mut model, &job, json!({ "type": "start", "messageId": "run-cut" })).await;
    say(&mut model, &job, start_of_text()).await;
    for number in 0..40 {
        say(&mut model, &job, word(number)).await;
    }
    let asked = finishes(model, &job).await["asked"].clone();
    let asked: Vec<u64> = serde_json::from_value(asked).unwrap();
    assert!(asked.len() >= 5 && asked.is_sorted(), "{asked:?}");
    assert!(proxy.cuts() >= 5, "only {} cuts", proxy.cuts());
}

async fn restarts(client: &Driver) {
    let server = Server::start("ai-sdk").await;
    let proxy = CuttingProxy::start_uncut(server.address()).await;
    let (job, mut model) = send(client, &server, &proxy, "run-restart").await;
    say(&mut model, &job, json!({ "type": "start", "messageId": "run-restart" })).await;
    say(&mut model, &job, start_of_text()).await;
    for (number, signal) in ["KILL", "TERM"].into_iter().enumerate() {
        say(&mut model, &job, word(number)).await;
        server.restart(signal, &proxy).await;
    }
    say(&mut model, &job, word(2)).await;
    finishes(model, &job).await;
}

/// A negative index is counted from the end; later reconnects go on behind what it stands for.
async fn the_last_chunks(client: &Driver, server: &Server) {
    let step = |number: usize| json!({ "type": "data-step", "id": number.to_string(), "data": "x".repeat(100) });
    let proxy = CuttingProxy::start_sparing(server.address(), SEED, 200..700, Spared::Heads).await;
    let mut model = Producer::open(server, "run-tail").await;
    model.say(json!({ "type": "start" })).await;
    for number in 1..20 {
        model.say(step(number)).await;
    }
    let more = json!({ "startIndex": -5, "options": patient() });
    let job = reconnect(client, &proxy.address().to_string(), model.id, &more);
    for number in 20..30 {
        job.has(model.last()).await;
        model.say(step(number)).await;
    }
    model.end(finish(), "complete").await;
    let asked: Vec<i64> = serde_json::from_value(job.over().await["asked"].clone()).unwrap();
    assert_eq!(job.items(), model.said[15..]);
    assert!(asked[0] == -5 && asked.len() >= 3 && asked[1..].iter().all(|i| *i >= 15), "{asked:?}");
}

/// The transport takes nothing but `finish` for an end, so a stopped answer has that too.
async fn stop(client: &Driver, server: &Server) {
    let mut model = Producer::open(server, "run-stop").await;
    model.say(json!({ "type": "start" })).await;
    let job = reconnect(client, &server.address().to_string(), model.id, &json!({}));
    job.has(model.last()).await;
    server.stop(model.id).await;
    assert!(model.say(json!({ "type": "abort", "reason": "stopped" })).await);
    model.end(finish(), "complete").await;
    job.over().await;
    assert_eq!(job.items(), model.said);
}

/// It gets the error, and does not go on for ever.
async fn stale(client: &Driver, server: &Server) {
    let mut model = Producer::open(server, "run-stale").await;
    model.say(json!({ "type": "start" })).await;
    let job = reconnect(client, &server.address().to_string(), model.id, &json!({}));
    job.ends().await;
    let errors = "The answer was interrupted: its producer is gone.";
    assert_eq!(job.items()[0], model.said[0]);
    assert_eq!(job.items()[1], json!({ "type": "error", "errorText": errors }));
}

async fn unknown(client: &Driver, server: &Server) {
    let job = reconnect(client, &server.address().to_string(), "run-none", &json!({}));
    let threw = job.threw().await;
    assert!(threw["message"].as_str().unwrap().contains("404"), "{threw}");
}
