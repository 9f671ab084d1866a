//! Keys that are damaged, or another program's: what needs them fails by itself, and everything
//! else goes on.

use rejoin_test_support::RedisServer;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::redis::{
    caller::{Answer, Caller},
    listener::Listener,
    program::Program,
};

const DAMAGED: &str = "topic_damaged";

#[track_caller]
fn assert_damaged(answer: &Answer) {
    assert_eq!(
        (answer.status, &answer.body["code"], answer.retry_after_seconds),
        (500, &json!(DAMAGED), None),
        "{answer:?}"
    );
}

/// Puts a text where Rejoin expects something else.
async fn damage(redis: &RedisServer, key: &str) {
    redis.command(&["DEL", key]).await;
    redis.command(&["SET", key, "another program's"]).await;
}

/// Nothing of it looks as if Redis were away, and each damaged topic is logged once.
async fn assert_logged(program: &Program, topics: usize) {
    for backend in ["journal", "messages", "limits"] {
        let name = format!("rejoin_backend_up{{backend=\"{backend}\"}}");
        assert_eq!(program.caller().metric(&name).await, Some(1.0), "{backend}");
    }
    assert_eq!(program.logged(&["backend unreachable"]), 0, "{:#?}", program.log());
    assert_eq!(
        program.logged(&["ERROR", "a topic is damaged", "WRONGTYPE"]),
        topics,
        "{:#?}",
        program.log()
    );
}

async fn upload(caller: &Caller, users: &[&str]) -> Vec<Value> {
    let lines: Vec<String> = users
        .iter()
        .map(|user| json!({ "user_id": user, "type": "t", "payload": user }).to_string())
        .collect();
    let request = caller
        .request(Method::POST, "/api/events")
        .header("content-type", "application/x-ndjson")
        .body(lines.join("\n"));
    let answers = request.send().await.unwrap().text().await.unwrap();
    answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn promise_8_a_stream_of_another_type_fails_alone() {
    let redis = RedisServer::start().await;
    let program = Program::start(&redis.url(), &[]).await;
    let caller = program.caller();
    let stream = Listener::placed(caller.follow(None).await).await;
    damage(&redis, "user:bad:stream").await;
    for _ in 0..3 {
        assert_damaged(
            &caller
                .send(Method::POST, "/api/events", json!({ "user_id": "bad", "type": "t" }))
                .await,
        );
    }
    let keyed = json!({ "user_ids": ["local", "bad"], "type": "t", "payload": "both" });
    assert_damaged(&caller.send(Method::POST, "/api/events", keyed).await);
    let answers = upload(caller, &["local", "bad", "local", "bad", "local"]).await;
    let succeeded: Vec<_> = answers.iter().map(|answer| answer["success"] == true).collect();
    assert_eq!(succeeded, [true, false, true, false, true], "{answers:?}");
    assert_eq!(answers[1]["code"], DAMAGED, "{answers:?}");
    assert_eq!(stream.ids(4).await.len(), 4);
    for (method, path) in [(Method::GET, ""), (Method::GET, "/events"), (Method::DELETE, "/events")]
    {
        assert_damaged(&caller.call(method, &format!("/api/admin/users/bad{path}")).await);
    }
    assert_eq!(
        redis.ask::<String>(redis::cmd("GET").arg("user:bad:stream")).await,
        "another program's",
        "it is left alone"
    );

    // A reader's own.
    damage(&redis, "user:local:stream").await;
    for cursor in [None, Some("0")] {
        assert_damaged(&caller.subscribe("/api/events", cursor).await);
    }
    assert_damaged(&caller.try_publish(1, Some("k")).await);
    assert_logged(&program, 2).await;
    assert!(caller.is_ready().await);
    // Whoever repairs it need not restart us.
    redis.command(&["DEL", "user:local:stream", "user:bad:stream"]).await;
    assert_eq!(caller.try_publish(1, Some("k")).await.status, 201);
    assert_eq!(
        caller
            .send(Method::POST, "/api/events", json!({ "user_id": "bad", "type": "t" }))
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn promise_8_a_message_of_another_type_fails_alone() {
    let redis = RedisServer::start().await;
    let program = Program::start(&redis.url(), &[]).await;
    let caller = program.caller();
    for part in ["message", "message-state"] {
        let id = Uuid::new_v4();
        let (path, events) = (format!("/api/messages/{id}"), format!("/api/messages/{id}/events"));
        assert_eq!(
            caller.send(Method::PUT, &path, json!({ "user_id": "local" })).await.status,
            201
        );
        assert_eq!(
            caller
                .send(Method::POST, &events, json!({ "type": "chunk", "sequence_no": 0 }))
                .await
                .status,
            201
        );
        let key = if part == "message" {
            format!("message:{id}")
        } else {
            format!("message-state:{{{id}}}")
        };
        damage(&redis, &key).await;
        assert_damaged(
            &caller.send(Method::POST, &events, json!({ "type": "chunk", "sequence_no": 0 })).await,
        );
        assert_damaged(&caller.subscribe(&events, None).await);
    }
    let other = format!("/api/messages/{}", Uuid::new_v4());
    assert_eq!(caller.send(Method::PUT, &other, json!({ "user_id": "local" })).await.status, 201);
    assert_logged(&program, 2).await;
}

#[tokio::test]
async fn promise_9_limits_of_another_type_let_their_user_in() {
    let redis = RedisServer::start().await;
    let program = Program::start(&redis.url(), &[]).await;
    let caller = program.caller();
    let id = caller.publish(1).await;
    caller.publish(2).await;
    for key in ["leases:{local}", "replays:{local}", "continuations:{local}"] {
        damage(&redis, key).await;
    }
    for _ in 0..3 {
        assert_eq!(Listener::of(caller.follow(Some(&id)).await).payloads(1).await, [2]);
    }
    assert_logged(&program, 1).await;
}
