//! What a producer may do, and what it is told.

use rejoin_test_support::TestServer;
use reqwest::Method;
use serde_json::json;

use crate::messages::server::{Message, answer};

#[tokio::test]
async fn opening_again_changes_nothing_and_tells_where_the_message_stands() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    message.chunk("a").await;
    let (status, answer) = message.put(json!({ "user_id": "local" })).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&answer["epoch"], &answer["last_sequence_no"], &answer["status"]),
        (&json!(1), &json!(0), &json!("streaming"))
    );
    let (status, answer) = message.put(json!({ "user_id": "somebody else" })).await;
    assert_eq!((status, &answer["code"]), (409, &json!("message_owned_by_another")));
}

#[tokio::test]
async fn promise_5_a_numbered_repeat_is_recognised_and_holes_and_conflicts_are_not_taken() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    let event = |sequence_no: u64, text: &str| json!({ "type": "chunk", "payload": { "text": text }, "sequence_no": sequence_no });
    assert_eq!(message.append(event(0, "a")).await.0, 201);
    let (status, repeat) = message.append(event(0, "a")).await;
    assert_eq!(
        (status, &repeat["duplicate"], &repeat["sequence_no"]),
        (200, &json!(true), &json!(0))
    );
    let (status, conflict) = message.append(event(0, "b")).await;
    assert_eq!((status, &conflict["code"]), (409, &json!("sequence_conflict")));
    let (status, gap) = message.append(event(2, "c")).await;
    assert_eq!(
        (status, &gap["code"], &gap["expected_sequence_no"]),
        (409, &json!("sequence_gap"), &json!(1))
    );
    assert_eq!(message.view().await.1["last_sequence_no"], 0);
}

#[tokio::test]
async fn promise_5_a_repeated_idempotency_key_appends_once() {
    let server = TestServer::start("").await;
    let (message, other) = (Message::open(&server).await, Message::open(&server).await);
    let append = |message: &Message<'_>| {
        answer(
            message
                .request(Method::POST, "/events")
                .header("idempotency-key", "k")
                .json(&json!({ "type": "chunk" })),
        )
    };
    assert_eq!(append(&message).await.0, 201);
    let (status, repeat) = append(&message).await;
    assert_eq!(
        (status, &repeat["sequence_no"], &repeat["duplicate"]),
        (200, &json!(0), &json!(true))
    );
    assert_eq!(append(&other).await.0, 201, "a key counts for its own message");
}

#[tokio::test]
async fn after_the_terminal_event_nothing_is_taken_but_its_own_repeat() {
    for (terminal, status) in [("end", "complete"), ("error", "failed")] {
        let server = TestServer::start("").await;
        let message = Message::open(&server).await;
        let end = json!({ "type": terminal, "sequence_no": 0 });
        assert_eq!(message.append(end.clone()).await.0, 201);
        assert_eq!(message.append(end).await.0, 200, "a retry that was not heard of is harmless");
        for body in [
            json!({ "type": "chunk" }),
            json!({ "type": "end" }),
            json!({ "type": "chunk", "sequence_no": 1 }),
        ] {
            let (status, refused) = message.append(body).await;
            assert_eq!((status, &refused["code"]), (409, &json!("message_complete")));
        }
        assert_eq!(message.post("/heartbeat").await.1["code"], "message_complete");
        assert_eq!(
            message.put(json!({ "user_id": "local", "takeover": true })).await.1["code"],
            "message_complete"
        );
        let view = message.view().await.1;
        assert_eq!(
            (&view["status"], view["ended_at"].is_string()),
            (&json!(status), true),
            "{view}"
        );
    }
}

#[tokio::test]
async fn a_takeover_fences_the_producer_before() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    let with_epoch = |below: &'static str, epoch: u64| {
        message.request(Method::POST, below).header("producer-epoch", epoch)
    };
    let append = |epoch| answer(with_epoch("/events", epoch).json(&json!({ "type": "chunk" })));
    assert_eq!(append(1).await.0, 201);
    let (status, taken) = message.put(json!({ "user_id": "local", "takeover": true })).await;
    assert_eq!((status, &taken["epoch"], &taken["last_sequence_no"]), (200, &json!(2), &json!(0)));
    let (status, fenced) = append(1).await;
    assert_eq!((status, &fenced["code"]), (409, &json!("producer_fenced")));
    assert_eq!(answer(with_epoch("/heartbeat", 1)).await.1["code"], "producer_fenced");
    assert_eq!((append(2).await.0, answer(with_epoch("/heartbeat", 2)).await.0), (201, 200));
    assert_eq!(
        message.append(json!({ "type": "chunk" })).await.0,
        201,
        "without an epoch nothing is fenced"
    );
}

#[tokio::test]
async fn a_stop_is_told_with_every_answer_and_leaves_the_end_to_the_producer() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    assert_eq!(message.append(json!({ "type": "chunk" })).await.1["stop"], false);
    assert_eq!(message.post("/heartbeat").await.1["stop"], false);
    let (status, stopped) = message.post("/stop").await;
    assert_eq!(
        (status, &stopped["stop"], &stopped["status"]),
        (200, &json!(true), &json!("streaming"))
    );
    assert_eq!(message.append(json!({ "type": "chunk" })).await.1["stop"], true);
    assert_eq!(message.post("/heartbeat").await.1["stop"], true);
    assert_eq!(
        message.put(json!({ "user_id": "local", "takeover": true })).await.1["stop"],
        true,
        "a new producer hears it too"
    );
    message.end().await;
    assert_eq!(message.post("/stop").await.0, 200);
}

#[tokio::test]
async fn a_message_that_is_deleted_begins_anew() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    message.end().await;
    assert_eq!(answer(message.request(Method::DELETE, "")).await.0, 200);
    assert_eq!(answer(message.request(Method::DELETE, "")).await.0, 404);
    let (status, opened) = message.put(json!({ "user_id": "local" })).await;
    assert_eq!(
        (status, &opened["last_sequence_no"], &opened["ended_at"]),
        (201, &json!(null), &json!(null))
    );
}
