//! Redis is away: it hangs, it is killed, it is not there yet.

use std::time::Duration;

use futures_util::future::join_all;
use rejoin_test_support::{RedisServer, TestServer, eventually, soon};
use reqwest::Method;
use serde_json::json;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use crate::redis::{
    caller::{ANSWERED_WITHIN, Caller, Published, server, settings},
    listener::Listener,
    program::Program,
};

const JOURNAL_UP: &str = r#"rejoin_backend_up{backend="journal"}"#;
/// So many clients come at once while Redis is away: more than are let at a Redis that answers at
/// the same time.
const CROWD: usize = 80;

/// A stream had each number that was acknowledged, once, in order.
fn assert_all_once_in_order(listener: &Listener, published: &Published) {
    let expected: Vec<_> =
        published.ids.iter().cloned().zip((0..).map(|number: usize| number.into())).collect();
    assert_eq!(listener.entries(), expected);
    assert_eq!(listener.events().len(), expected.len(), "nothing else was told");
}

/// Everybody who comes now is told to come back.
async fn assert_refused(caller: &Caller, crowd: usize) {
    let message = format!("/api/messages/{}", Uuid::new_v4());
    let events = format!("{message}/events");
    let together = join_all((0..crowd).map(|_| caller.subscribe("/api/events", None)));
    let (answers, replay, publish, put, reader, ready) = tokio::join!(
        together,
        caller.subscribe("/api/events", Some("0")),
        caller.try_publish("never", Some("never")),
        caller.send(Method::PUT, &message, json!({ "user_id": "local" })),
        caller.subscribe(&events, None),
        caller.call(Method::GET, "/readyz"),
    );
    for answer in answers.iter().chain([&replay, &publish, &put, &reader, &ready]) {
        answer.assert_told_to_come_back();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_a_redis_that_hangs_costs_a_delay() {
    let redis = RedisServer::start().await;
    let crowd =
        [("REJOIN_SSE__KEEPALIVE_SECONDS", "1"), ("REJOIN_SSE__MAX_CONCURRENT_PER_USER", "200")];
    let program = Program::start(&redis.url(), &crowd).await;
    let caller = program.caller();
    let stream = Listener::placed(caller.follow(None).await).await;
    let stop = watch::Sender::new(false);
    let publishing = tokio::spawn(caller.clone().publish_on(stop.subscribe()));
    stream.ids(5).await;
    assert!(caller.is_ready().await);

    redis.pause().await;
    let paused_at = Instant::now();
    // Those that first meet the silence are answered in time, as are those that come when it is
    // known.
    assert_refused(caller, 1).await;
    assert_eq!(caller.metric(JOURNAL_UP).await, Some(0.0));
    assert_refused(caller, CROWD).await;
    tokio::time::sleep_until(paused_at + Duration::from_secs(10)).await;
    assert!(!stream.has_ended());
    let keepalives = stream.comments_since(paused_at, "keepalive");
    assert!(keepalives >= 5, "only {keepalives} keepalives in 10 seconds");
    let seen_before = stream.entries().len();

    redis.resume().await;
    eventually("it is ready again", async || caller.is_ready().await).await;
    stream.ids(seen_before + 20).await;
    stop.send_replace(true);
    let published = soon("the publisher", publishing).await.unwrap();
    for refusal in &published.refusals {
        refusal.assert_told_to_come_back();
    }
    assert!(published.refusals.len() >= 2);
    // What was told to come back may have been done: that is what keys are for.
    let key = caller.try_publish("never", Some("never")).await;
    assert!([200, 201].contains(&key.status), "{key:?}");
    let fence = caller.publish("fence").await;
    eventually("the last event", async || {
        stream.entries().last().is_some_and(|(id, _)| *id == fence)
    })
    .await;
    let without_never: Vec<_> =
        stream.entries().into_iter().filter(|(_, payload)| payload.is_u64()).collect();
    let expected: Vec<_> =
        published.ids.iter().cloned().zip((0..).map(|number: usize| number.into())).collect();
    assert_eq!(without_never, expected);
    assert_eq!(stream.entries().iter().filter(|(_, payload)| payload == "never").count(), 1);
    assert_eq!(caller.metric(JOURNAL_UP).await, Some(1.0));
    for (state, backend) in
        [("unreachable", "journal"), ("reachable again", "journal"), ("unreachable", "limits")]
    {
        let words = [&format!("backend {state}")[..], &format!("backend=\"{backend}\"")];
        assert_eq!(program.logged(&words), 1, "{words:?} in {:#?}", program.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_4_and_9_a_killed_redis_loses_nothing_that_was_acknowledged() {
    let mut redis = RedisServer::start().await;
    let ((_one, writer), (_other, reader)) =
        tokio::join!(server(&redis, ""), server(&redis, "sse.keepalive_seconds = 1"));
    let stream = Listener::placed(reader.follow(None).await).await;
    let stop = watch::Sender::new(false);
    let publishing = tokio::spawn(writer.clone().publish_on(stop.subscribe()));
    stream.ids(stream.entries().len() + 20).await;
    redis.kill().await;
    let killed_at = Instant::now();
    tokio::join!(assert_refused(&reader, 1), assert_refused(&writer, 1));
    eventually("a keepalive", async || stream.comments_since(killed_at, "keepalive") > 1).await;
    redis.start_again().await;
    eventually("both are ready again", async || reader.is_ready().await && writer.is_ready().await)
        .await;
    assert!(!stream.has_ended());
    stream.ids(stream.entries().len() + 20).await;
    stop.send_replace(true);
    let published = soon("the publisher", publishing).await.unwrap();
    stream.ids(published.ids.len()).await;
    assert_all_once_in_order(&stream, &published);
    let rejoined = Listener::of(reader.follow(Some(&published.ids[0])).await);
    assert_eq!(rejoined.ids(published.ids.len() - 1).await, published.ids[1..]);
    for refusal in &published.refusals {
        refusal.assert_told_to_come_back();
    }
}

#[tokio::test]
async fn a_server_starts_without_redis_and_is_ready_when_that_comes() {
    let mut redis = RedisServer::start().await;
    redis.kill().await;
    let began = Instant::now();
    let server = TestServer::start(&settings(&redis.url(), "")).await;
    assert!(began.elapsed() < Duration::from_secs(8), "a start is bounded");
    let caller = Caller::new(server.url(""));
    assert_eq!(caller.call(Method::GET, "/healthz").await.status, 200);
    caller.call(Method::GET, "/readyz").await.assert_told_to_come_back();
    caller.try_publish(1, None).await.assert_told_to_come_back();
    redis.start_again().await;
    let came = Instant::now();
    eventually("it is ready", async || caller.is_ready().await).await;
    assert!(came.elapsed() < ANSWERED_WITHIN);
    let listening = async || Listener::placed(caller.follow(None).await).await;
    eventually("streams are accepted", async || {
        caller.subscribe("/api/events", None).await.status == 200
    })
    .await;
    let stream = listening().await;
    let id = caller.publish(2).await;
    assert_eq!(stream.ids(1).await, [id]);
}
