//! One answer, produced on one process and read on others.

use rejoin_test_support::{RedisServer, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::redis::{
    caller::{Answer, Caller, server},
    listener::Listener,
};

/// A message, and the processes that it is read and written on.
struct Message {
    path: String,
}

impl Message {
    async fn open(caller: &Caller) -> Self {
        let message = Self { path: format!("/api/messages/{}", Uuid::new_v4()) };
        let opened = message.put(caller, json!({ "user_id": "local" })).await;
        assert_eq!((opened.status, &opened.body["epoch"]), (201, &json!(1)), "{opened:?}");
        message
    }

    fn events(&self) -> String {
        format!("{}/events", self.path)
    }

    async fn put(&self, caller: &Caller, body: Value) -> Answer {
        caller.send(Method::PUT, &self.path, body).await
    }

    async fn append(&self, caller: &Caller, sequence_no: usize) -> Answer {
        caller
            .send(Method::POST, &self.events(), json!({ "type": "chunk", "payload": { "n": sequence_no }, "sequence_no": sequence_no }))
            .await
    }

    async fn append_as(&self, caller: &Caller, epoch: u64, event_type: &str) -> Answer {
        let request = caller
            .request(Method::POST, &self.events())
            .header("producer-epoch", epoch)
            .json(&json!({ "type": event_type }));
        let response = request.send().await.unwrap();
        let (status, body) = (response.status().as_u16(), response.json().await.unwrap());
        Answer { status, retry_after_seconds: None, body, took: std::time::Duration::ZERO }
    }

    async fn read(&self, caller: &Caller, cursor: Option<&str>) -> Listener {
        Listener::of(caller.follow_at(&self.events(), cursor).await)
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_to_3_an_answer_is_read_on_other_processes_through_a_restart_of_redis() {
    let mut redis = RedisServer::start().await;
    let ((_a, producer), (_b, second), (_c, third)) =
        tokio::join!(server(&redis, ""), server(&redis, ""), server(&redis, ""));
    let message = Message::open(&producer).await;
    let early = [message.read(&second, None).await, message.read(&third, None).await];
    for number in 0..30 {
        assert_eq!(message.append(&producer, number).await.status, 201);
    }
    for reader in &early {
        assert_eq!(reader.ids(30).await, numbers(0..30));
    }
    assert_eq!(message.read(&third, Some("9")).await.ids(20).await, numbers(10..30));

    redis.kill().await;
    message.append(&producer, 30).await.assert_told_to_come_back();
    second.subscribe(&message.events(), None).await.assert_told_to_come_back();
    redis.start_again().await;
    eventually("what was not acknowledged is taken", async || {
        [200, 201].contains(&message.append(&producer, 30).await.status)
    })
    .await;
    for number in 31..60 {
        assert_eq!(message.append(&producer, number).await.status, 201);
    }
    assert_eq!(message.append(&third, 59).await.status, 200, "a repeat is known on every process");
    let gap = message.append(&second, 70).await;
    assert_eq!(
        (gap.status, &gap.body["code"], &gap.body["expected_sequence_no"]),
        (409, &json!("sequence_gap"), &json!(60))
    );
    let end = producer.send(Method::POST, &message.events(), json!({ "type": "end" })).await;
    assert_eq!((end.status, &end.body["sequence_no"]), (201, &json!(60)));
    for reader in early.iter().chain([&message.read(&second, Some("44")).await]) {
        eventually("the end", async || reader.has_ended()).await;
        let ids = reader.ids(16).await;
        assert_eq!(ids, numbers(61 - ids.len()..61), "all, once, in order");
    }
    assert_eq!(early[0].ids(61).await.len(), 61);
    for caller in [&producer, &second, &third] {
        assert_eq!(caller.subscribe(&message.events(), Some("60")).await.status, 204);
        assert_eq!(caller.call(Method::GET, &message.path).await.body["status"], "complete");
    }
}

#[tokio::test]
async fn a_stop_is_told_to_the_producer_of_another_process() {
    let redis = RedisServer::start().await;
    let ((_a, producer), (_b, reader)) = tokio::join!(server(&redis, ""), server(&redis, ""));
    let message = Message::open(&producer).await;
    let stream = message.read(&reader, None).await;
    assert_eq!(message.append(&producer, 0).await.body["stop"], false);
    assert_eq!(reader.call(Method::POST, &format!("{}/stop", message.path)).await.status, 200);
    assert_eq!(message.append(&producer, 1).await.body["stop"], true);
    assert_eq!(
        producer.call(Method::POST, &format!("{}/heartbeat", message.path)).await.body["stop"],
        true
    );
    assert_eq!(stream.ids(2).await, numbers(0..2));
    assert!(!stream.has_ended(), "it is the producer that ends it");
    assert_eq!(message.append_as(&producer, 1, "end").await.status, 201);
    eventually("the end", async || stream.has_ended()).await;
}

#[tokio::test]
async fn a_producer_that_was_taken_over_on_another_process_is_fenced() {
    let redis = RedisServer::start().await;
    let ((_a, old), (_b, new), (_c, reader)) =
        tokio::join!(server(&redis, ""), server(&redis, ""), server(&redis, ""));
    let message = Message::open(&old).await;
    let stream = message.read(&reader, None).await;
    assert_eq!(message.append_as(&old, 1, "chunk").await.status, 201);
    let taken = message.put(&new, json!({ "user_id": "local", "takeover": true })).await;
    assert_eq!(
        (taken.status, &taken.body["epoch"], &taken.body["last_sequence_no"]),
        (200, &json!(2), &json!(0))
    );
    for event_type in ["chunk", "end"] {
        let fenced = message.append_as(&old, 1, event_type).await;
        assert_eq!((fenced.status, &fenced.body["code"]), (409, &json!("producer_fenced")));
    }
    assert_eq!(message.append_as(&new, 2, "chunk").await.status, 201);
    assert_eq!(message.append_as(&new, 2, "end").await.status, 201);
    eventually("the end", async || stream.has_ended()).await;
    assert_eq!(stream.ids(3).await, numbers(0..3));
    let stranger = message.put(&reader, json!({ "user_id": "somebody else" })).await;
    assert_eq!(
        (stranger.status, &stranger.body["code"]),
        (409, &json!("message_owned_by_another"))
    );
}

#[tokio::test]
async fn a_deleted_message_is_gone_from_every_process() {
    let redis = RedisServer::start().await;
    let ((_a, producer), (_b, reader)) = tokio::join!(server(&redis, ""), server(&redis, ""));
    let message = Message::open(&producer).await;
    message.append(&producer, 0).await;
    assert_eq!(message.read(&reader, None).await.ids(1).await, numbers(0..1));
    assert_eq!(producer.call(Method::DELETE, &message.path).await.status, 200);
    for caller in [&producer, &reader] {
        assert_eq!(caller.call(Method::GET, &message.path).await.status, 404);
        assert_eq!(caller.subscribe(&message.events(), None).await.status, 404);
        assert_eq!(message.append(caller, 1).await.status, 404);
    }
}
