//! Redis has no memory left, and evicts nothing.

use rejoin_test_support::RedisServer;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::redis::{caller::server, listener::Listener};

#[tokio::test]
async fn promise_4_a_full_redis_takes_nothing_and_readers_go_on() {
    let redis = RedisServer::start().await;
    let ((_a, writer), (_b, reader)) = tokio::join!(server(&redis, ""), server(&redis, ""));
    let stream = Listener::placed(reader.follow(None).await).await;
    let message = format!("/api/messages/{}", Uuid::new_v4());
    assert_eq!(writer.send(Method::PUT, &message, json!({ "user_id": "local" })).await.status, 201);
    let mut told = vec![writer.publish(0).await, writer.publish(1).await];

    redis.command(&["CONFIG", "SET", "maxmemory", "100kb"]).await;
    for key in [None, Some("k")] {
        writer.try_publish("lost", key).await.assert_told_to_come_back();
        let several = json!({ "user_ids": ["new", "local"], "type": "t", "payload": "lost" });
        writer.send(Method::POST, "/api/events", several).await.assert_told_to_come_back();
    }
    writer
        .send(Method::POST, &format!("{message}/events"), json!({ "type": "chunk" }))
        .await
        .assert_told_to_come_back();
    let other = format!("/api/messages/{}", Uuid::new_v4());
    writer
        .send(Method::PUT, &other, json!({ "user_id": "local" }))
        .await
        .assert_told_to_come_back();
    // Reading needs no room, neither does coming anew.
    let rejoined = Listener::of(writer.follow(Some(&told[0])).await);
    assert_eq!(rejoined.ids(1).await, told[1..]);
    assert_eq!(reader.subscribe("/api/events", None).await.status, 200);
    assert!(reader.is_ready().await);

    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    told.push(writer.publish(2).await);
    assert_eq!(
        writer.try_publish(3, Some("k")).await.status,
        201,
        "a key is not spent by what was not taken"
    );
    let chunk =
        writer.send(Method::POST, &format!("{message}/events"), json!({ "type": "chunk" })).await;
    assert_eq!((chunk.status, &chunk.body["sequence_no"]), (201, &json!(0)));
    assert_eq!(stream.ids(4).await[..3], told);
    assert_eq!(Listener::of(reader.follow(Some("0")).await).payloads(4).await, [0, 1, 2, 3]);
    let nothing = writer.call(Method::GET, "/api/admin/users/new").await;
    assert_eq!(nothing.body["backlog_length"], 0);
}
