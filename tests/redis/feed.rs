//! The feed: one connection per process, which listens to what is followed there, and may break at
//! any moment.

use std::time::Duration;

use rejoin_test_support::{RedisServer, eventually};
use reqwest::Method;
use serde_json::json;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use crate::redis::{
    caller::{Caller, server},
    listener::Listener,
};

const UNLIMITED: &str = "sse.max_concurrent_per_user = 0\nevents.replay_budget_requests_per_window = 0\nevents.stream_maxlen = 10000";

/// How many connections listen.
async fn listening(redis: &RedisServer) -> usize {
    let clients: String = redis.ask(redis::cmd("CLIENT").arg(&["LIST", "TYPE", "pubsub"])).await;
    clients.lines().count()
}

/// How many connections listen to a channel.
async fn listening_to(redis: &RedisServer, channel: &str) -> u64 {
    let (_, count): (String, u64) = redis.ask(redis::cmd("PUBSUB").arg(&["NUMSUB", channel])).await;
    count
}

async fn channels(redis: &RedisServer, pattern: &str) -> usize {
    redis.ask::<Vec<String>>(redis::cmd("PUBSUB").arg(&["CHANNELS", pattern])).await.len()
}

async fn open_message(caller: &Caller) -> String {
    let path = format!("/api/messages/{}", Uuid::new_v4());
    assert_eq!(caller.send(Method::PUT, &path, json!({ "user_id": "local" })).await.status, 201);
    format!("{path}/events")
}

#[tokio::test]
async fn a_process_has_one_feed_whatever_it_follows() {
    let redis = RedisServer::start().await;
    let ((_a, one), (_b, other)) =
        tokio::join!(server(&redis, UNLIMITED), server(&redis, UNLIMITED));
    assert_eq!(
        (listening(&redis).await, channels(&redis, "*").await),
        (2, 1),
        "announcements are always listened to"
    );
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(one.follow(None).await);
        streams.push(other.follow(None).await);
    }
    assert_eq!((listening(&redis).await, listening_to(&redis, "user:local").await), (2, 2));
    for _ in 0..5 {
        streams.push(other.follow_at(&open_message(&one).await, None).await);
    }
    assert_eq!((listening(&redis).await, channels(&redis, "channel:*").await), (2, 5));
    drop(streams);
    eventually("nothing is listened to that nobody follows", async || {
        channels(&redis, "user:*").await + channels(&redis, "channel:*").await == 0
    })
    .await;
    assert_eq!(listening(&redis).await, 2);
}

#[tokio::test]
async fn a_process_listens_to_what_is_followed_there_alone() {
    let redis = RedisServer::start().await;
    let ((_a, one), (_b, other)) =
        tokio::join!(server(&redis, UNLIMITED), server(&redis, UNLIMITED));
    let count = async |expected| {
        eventually("the number of listeners", async || {
            listening_to(&redis, "user:local").await == expected
        })
        .await;
    };
    count(0).await;
    let first = one.follow(None).await;
    count(1).await;
    let (second, third) = (other.follow(None).await, other.follow(None).await);
    count(2).await;
    drop(second);
    one.publish(1).await;
    count(2).await;
    drop(first);
    count(1).await;
    drop(third);
    count(0).await;
    let again = Listener::placed(one.follow(None).await).await;
    count(1).await;
    let id = other.publish(2).await;
    assert_eq!(again.ids(1).await, [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_to_3_feeds_that_break_in_a_flood_lose_nothing() {
    const EVENTS: usize = 4_000;
    const LINES: usize = 50;
    let redis = RedisServer::start().await;
    let ((_a, writer), (_b, reader)) =
        tokio::join!(server(&redis, UNLIMITED), server(&redis, UNLIMITED));
    let streams = [
        Listener::placed(writer.follow(None).await).await,
        Listener::placed(reader.follow(None).await).await,
        Listener::placed(reader.follow(None).await).await,
    ];
    let flooding = watch::Sender::new(true);
    let flood = async {
        let mut ids = Vec::new();
        for first in (0..EVENTS).step_by(LINES) {
            ids.extend(writer.publish_lines(first..first + LINES).await);
        }
        flooding.send_replace(false);
        ids
    };
    let kill = async {
        let mut killed = 0;
        while *flooding.borrow() {
            killed += redis.ask::<u64>(redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"])).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        killed
    };
    let (ids, killed) = tokio::join!(flood, kill);
    assert!(killed >= 4, "only {killed} feeds were killed: the test shows too little");
    assert_eq!(ids.len(), EVENTS);
    for stream in &streams {
        assert!(stream.ids(EVENTS).await == ids, "a hole, a repeat or a wrong order");
        assert_eq!(stream.events().len(), EVENTS, "nobody was told of a loss");
    }
    // The feed is back at once, not after some long pause.
    let back = Instant::now();
    let id = writer.publish("last").await;
    for stream in &streams {
        assert_eq!(stream.ids(EVENTS + 1).await.last(), Some(&id));
    }
    assert!(back.elapsed() < Duration::from_secs(3));
}
