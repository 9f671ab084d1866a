//! The limits of a user hold over all processes.

use std::time::Duration;

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{RedisServer, ServerProcess, TestServer, eventually};
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::redis::{
    caller::{Answer, Caller, server},
    listener::Listener,
};

fn assert_over_the_cap(answer: &Answer) {
    assert_eq!(
        (answer.status, &answer.body["code"], answer.retry_after_seconds),
        (429, &json!("too_many_connections"), Some(5)),
        "{answer:?}"
    );
}

#[tokio::test]
async fn promise_11_the_cap_holds_over_processes_and_a_refusal_takes_no_slot() {
    let redis = RedisServer::start().await;
    let cap = "sse.max_concurrent_per_user = 3";
    let ((_a, one), (_b, other)) = tokio::join!(server(&redis, cap), server(&redis, cap));
    let held = [one.follow(None).await, one.follow(Some("0")).await, other.follow(None).await];
    for _ in 0..10 {
        for caller in [&one, &other] {
            assert_over_the_cap(&caller.subscribe("/api/events", None).await);
        }
    }
    let [first, _second, _third] = held;
    drop(first);
    eventually("a slot is free", async || {
        other.call(Method::GET, "/api/admin/users/local").await.body["connections"] == 2
    })
    .await;
    let _taken = other.follow(None).await;
    assert_over_the_cap(&one.subscribe("/api/events", None).await);
}

#[tokio::test]
async fn promise_11_the_replay_budget_holds_over_processes_and_refusals_are_free() {
    let redis = RedisServer::start().await;
    let budget = "events.replay_budget_requests_per_window = 3\nevents.replay_budget_window_seconds = 3\nsse.max_concurrent_per_user = 0";
    let ((_a, one), (_b, other)) = tokio::join!(server(&redis, budget), server(&redis, budget));
    one.publish(1).await;
    let began = Instant::now();
    for caller in [&one, &other, &one] {
        assert_eq!(caller.subscribe("/api/events", Some("0")).await.status, 200);
    }
    let mut refusals = 0;
    eventually("the window frees a replay", async || {
        let answer = other.subscribe("/api/events", Some("0")).await;
        if answer.status == 429 {
            refusals += 1;
            assert_eq!(answer.body["code"], "replay_budget_exhausted");
            assert!((1..=3).contains(&answer.retry_after_seconds.unwrap()));
        }
        answer.status == 200
    })
    .await;
    assert!(refusals > 3, "{refusals}");
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(8)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn promise_10_a_killed_process_frees_its_slots_in_time() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let environment = [
        ("REJOIN_EVENTS__BACKEND", "redis"),
        ("REJOIN_LIMITS__BACKEND", "redis"),
        ("REJOIN_REDIS__URL", &url[..]),
        ("REJOIN_SSE__MAX_CONCURRENT_PER_USER", "2"),
        ("REJOIN_LOG__LEVEL", "error"),
    ];
    let process = ServerProcess::start(env!("CARGO_BIN_EXE_rejoin"), &environment).await;
    let killed = Caller::new(format!("http://{}", process.address()));
    let (_server, other) = server(&redis, "sse.max_concurrent_per_user = 2").await;
    let _held = (killed.follow(None).await, killed.follow(None).await);
    assert_over_the_cap(&other.subscribe("/api/events", None).await);
    process.signal("KILL").await;
    process.ended().await;
    let killed_at = Instant::now();
    assert_over_the_cap(&other.subscribe("/api/events", None).await);
    while other.subscribe("/api/events", None).await.status == 429 {
        assert!(killed_at.elapsed() < Duration::from_secs(31), "the slots are still taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        killed_at.elapsed() > Duration::from_secs(5),
        "leases are held while their process may live"
    );
}

#[tokio::test]
async fn promise_11_without_limits_everybody_is_let_in_up_to_the_processs_own_count() {
    let mut redis = RedisServer::start().await;
    let settings = format!(
        "limits.backend = \"redis\"\nredis.url = \"{}\"\nsse.max_concurrent_per_user = 3",
        redis.url()
    );
    let server = TestServer::start(&settings).await;
    let caller = Caller::new(server.url(""));
    let before = Listener::of(caller.follow(None).await);
    redis.kill().await;
    let id = caller.publish(1).await;
    assert_eq!(before.ids(1).await, [id], "what needs no limits goes on");
    let asked = Instant::now();
    let (second, third) = tokio::join!(caller.follow(Some("0")), caller.follow(Some("0")));
    assert!(asked.elapsed() < crate::redis::caller::ANSWERED_WITHIN);
    assert_over_the_cap(&caller.subscribe("/api/events", None).await);
    assert_eq!(caller.metric(r#"rejoin_backend_up{backend="limits"}"#).await, Some(0.0));
    redis.start_again().await;
    // What was let in meanwhile counts from now on for all.
    let other = TestServer::start(&settings).await;
    let other = Caller::new(other.url(""));
    eventually("the slots are taken again", async || {
        other.subscribe("/api/events", None).await.status == 429
    })
    .await;
    assert_eq!(caller.metric(r#"rejoin_backend_up{backend="limits"}"#).await, Some(1.0));
    assert!(!before.has_ended());
    drop((second, third));
    eventually("they are given back", async || {
        other.subscribe("/api/events", None).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn an_operators_word_and_a_broadcast_reach_every_process() {
    let redis = RedisServer::start().await;
    let ((_a, one), (_b, other)) = tokio::join!(server(&redis, ""), server(&redis, ""));
    let streams = [one.follow(None).await, one.follow(None).await, other.follow(None).await]
        .map(Listener::placed);
    let streams = futures_util::future::join_all(streams).await;
    let notice = json!({ "broadcast": true, "type": "security.notice", "payload": "hi" });
    assert_eq!(other.send(Method::POST, "/api/events", notice).await.status, 201);
    for stream in &streams {
        eventually("the broadcast", async || !stream.events().is_empty()).await;
        let (id, data) = stream.events().remove(0);
        assert_eq!((id, &data["payload"]), (None, &json!("hi")));
    }
    let closed = one.call(Method::DELETE, "/api/admin/users/local/connections").await;
    assert_eq!((closed.status, &closed.body["connections"]), (200, &json!(3)));
    for stream in &streams {
        assert_eq!(stream.last_words().await, Decoded::Comment("closed by the server".into()));
        assert_eq!(stream.events().len(), 1);
    }
    let again = Listener::placed(other.follow(None).await).await;
    let id = one.publish(1).await;
    assert_eq!(again.ids(1).await, [id]);
}
