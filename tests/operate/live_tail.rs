//! An operator looks on at a user's events.

use std::time::Duration;

use rejoin::{
    adapters::auth::mint::TokenRequest,
    domain::{access::Scope, category::Category, frame_decoder::Decoded},
    testing::mint,
};
use rejoin_test_support::{Connection, eventually};
use reqwest::{Client, Method};
use serde_json::json;

use crate::operate::given::{ask, follow, look_on, operator, publish, server};

#[tokio::test]
async fn entries_come_live_and_after_a_cursor() {
    let server = server("").await;
    let before = publish(&server, "u1", 0).await;
    let mut tail = Connection::of(look_on(&server, &operator(), "u1", None).await);
    assert_eq!(tail.expect().await, Decoded::Comment("connected".into()));
    publish(&server, "u2", 7).await;
    let first = publish(&server, "u1", 1).await;
    let (id, event) = tail.event().await;
    assert_eq!(
        (id.as_ref(), &event["user_id"], &event["payload"]),
        (Some(&first), &json!("u1"), &json!(1))
    );
    drop(tail);
    publish(&server, "u1", 2).await;
    for (cursor, expected) in
        [(before.as_str(), vec![1, 2, 3]), (first.as_str(), vec![2, 3]), ("0", vec![0, 1, 2, 3])]
    {
        let mut tail = Connection::of(look_on(&server, &operator(), "u1", Some(cursor)).await);
        if expected.len() == 3 {
            publish(&server, "u1", 3).await;
        }
        for payload in expected {
            assert_eq!(tail.event().await.1["payload"], payload, "after {cursor}");
        }
    }
}

#[tokio::test]
async fn promise_6_an_operator_is_told_of_truncation_as_a_client_is() {
    let server = server("events.stream_maxlen = 2").await;
    let mut last = String::new();
    let first = publish(&server, "u1", 0).await;
    for payload in 1..4 {
        last = publish(&server, "u1", payload).await;
    }
    let mut tail = Connection::of(look_on(&server, &operator(), "u1", Some(&first)).await);
    assert_eq!(tail.event().await.1["type"], "backlog.truncated");
    assert_eq!(tail.event().await.1["payload"], 2);
    assert_eq!(tail.event().await.0.as_ref(), Some(&last));
}

#[tokio::test]
async fn looking_on_takes_no_slot_and_no_replay_and_outlives_the_users_connections() {
    let server =
        server("sse.max_concurrent_per_user = 1\nevents.replay_budget_requests_per_window = 1")
            .await;
    publish(&server, "u1", 0).await;
    let mut tails = Vec::new();
    for _ in 0..3 {
        let mut tail = Connection::of(look_on(&server, &operator(), "u1", Some("0")).await);
        assert_eq!(tail.event().await.1["payload"], 0);
        tails.push(tail);
    }
    let (_, state) = ask(&server, Method::GET, "/api/admin/users/u1").await;
    assert_eq!(
        (&state["connections"], &state["replays_left"], server.connections()),
        (&json!(0), &json!(1), 0)
    );
    assert_eq!(
        server.metric(r#"rejoin_connections{channel="user"}"#).await,
        Some(3.0),
        "it is a stream as any other"
    );
    let mut theirs = follow(&server, "u1", "/api/events?last_event_id=0").await;
    assert_eq!(theirs.event().await.1["payload"], 0);
    let (_, closed) = ask(&server, Method::DELETE, "/api/admin/users/u1/connections").await;
    assert_eq!(closed["connections"], 1);
    assert_eq!(theirs.rest().await.last(), Some(&Decoded::Comment("closed by the server".into())));
    publish(&server, "u1", 1).await;
    for tail in &mut tails {
        assert_eq!(tail.event().await.1["payload"], 1);
    }
    drop(tails);
    eventually("nothing is left", async || {
        server.metric(r#"rejoin_connections{channel="user"}"#).await == Some(0.0)
    })
    .await;
}

#[tokio::test]
async fn it_ends_with_the_token_and_with_the_process() {
    let server = server("server.drain_seconds = 1").await;
    let short = mint(&TokenRequest {
        scopes: [Scope::Admin].into(),
        ttl: Duration::from_secs(2),
        ..TokenRequest::default()
    });
    let all = Connection::of(look_on(&server, &short, "u1", None).await).rest().await;
    assert_eq!(all.last(), Some(&Decoded::Comment("token expired".into())), "{all:?}");
    assert_eq!(look_on(&server, &short, "u1", None).await.status(), 401);
    let tail = look_on(&server, &operator(), "u1", None).await;
    let draining = tokio::spawn(server.drain());
    let all = Connection::of(tail).rest().await;
    assert_eq!(all.last(), Some(&Decoded::Comment("draining".into())), "{all:?}");
    assert!(draining.await.unwrap());
}

#[tokio::test]
async fn a_tokens_categories_hold_here_too_and_a_head_opens_nothing() {
    let server = server("").await;
    let limited = mint(&TokenRequest {
        scopes: [Scope::Admin].into(),
        categories: Some([Category::parse("ai").unwrap()].into()),
        ..TokenRequest::default()
    });
    let mut tail = Connection::of(look_on(&server, &limited, "u1", None).await);
    tail.expect().await;
    for event_type in ["t", "security.alert", "ai.done"] {
        let request =
            Client::new().post(server.url("/api/admin/users/u1/events")).bearer_auth(operator());
        assert_eq!(
            request.json(&json!({ "type": event_type })).send().await.unwrap().status(),
            201
        );
    }
    assert_eq!(tail.event().await.1["type"], "ai.done");
    let head =
        Client::new().head(server.url("/api/admin/users/u1/events/stream")).bearer_auth(operator());
    assert_eq!(head.send().await.unwrap().status(), 405);
}
