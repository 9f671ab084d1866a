//! How long a user's stream lives: as long as its newest entry, whoever wrote it.

use std::time::Duration;

use rejoin::{
    adapters::backend_kit::{BackendContext, Ports, Retention},
    adapters::redis::{self as rejoin_redis, RedisOptions},
    domain::{
        page::PageLimit,
        position::Position,
        topic::{Topic, UserId},
    },
    ports::journal::Append,
    testing::{backend_context, event},
};
use rejoin_test_support::{RedisCluster, RedisServer, eventually};
use tokio::time::Instant;

const AGE_MAX: Duration = Duration::from_secs(2);

async fn open(url: String, cluster: bool) -> Ports {
    let options = RedisOptions { url, cluster, key_prefix: "app:".to_owned(), tls_ca_file: None };
    let context = backend_context();
    let retention = Retention { replay_max_age: Some(AGE_MAX), ..context.retention };
    rejoin_redis::open(options, &BackendContext { retention, ..context }).await.unwrap()
}

fn topic(user: &str) -> Topic {
    Topic::User(UserId::parse(user).unwrap())
}

async fn append(redis: &Ports, user: &str) {
    let append =
        Append { user: UserId::parse(user).unwrap(), event: event("{}"), idempotency_key: None };
    redis.journal.append(vec![append]).await.unwrap();
}

async fn read(redis: &Ports, user: &str) -> usize {
    let limit = PageLimit { entries_max: 1_000, bytes_max: 1 << 20 };
    redis.journal.read(&topic(user), Position::Start, limit).await.unwrap().entries.len()
}

async fn add(node: &RedisServer, stream: &str) {
    node.command(&["XADD", stream, "*", "event", r#"{"type":"t"}"#]).await;
}

async fn exists(node: &RedisServer, key: &str) -> bool {
    node.ask::<u64>(redis::cmd("EXISTS").arg(key)).await == 1
}

/// Our one append, and then another program's for longer than a stream would live behind ours.
async fn assert_lives_with_its_newest_entry(
    redis: &Ports,
    node: &RedisServer,
    user: &str,
    stream: &str,
    index: &str,
) {
    append(redis, user).await;
    // What an older version, or a program that did not mean it, has left on the key.
    node.command(&["PEXPIRE", stream, "3000"]).await;
    append(redis, user).await;
    let began = Instant::now();
    while began.elapsed() < AGE_MAX * 3 {
        add(node, stream).await;
        tokio::time::sleep(AGE_MAX / 8).await;
        assert!(read(redis, user).await > 0, "{:?} after the last append of ours", began.elapsed());
    }
    assert!(read(redis, user).await >= 4, "what the other program wrote lately");
    eventually("the stream is removed when nobody writes any more", async || {
        !exists(node, stream).await
    })
    .await;
    eventually("and forgotten", async || !exists(node, index).await).await;
    assert_eq!(read(redis, user).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_a_stream_lives_as_long_as_its_newest_entry_whoever_wrote_it() {
    let server = RedisServer::start().await;
    // Processes take turns in the sweep, and one is enough.
    let (redis, _other) = tokio::join!(open(server.url(), false), open(server.url(), false));
    add(&server, "app:user:theirs:stream").await;
    server.command(&["SET", "app:user:string:stream", "theirs"]).await;
    server.command(&["ZADD", "app:rejoin:users", "1", "string"]).await;
    assert_lives_with_its_newest_entry(
        &redis,
        &server,
        "u 1",
        "app:user:u 1:stream",
        "app:rejoin:users",
    )
    .await;
    assert!(
        exists(&server, "app:user:theirs:stream").await,
        "what only other programs have written is theirs to remove"
    );
    assert!(exists(&server, "app:user:string:stream").await, "so is what is no stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_in_a_cluster_too() {
    let cluster = RedisCluster::start().await;
    let redis = open(cluster.urls(), true).await;
    append(&redis, "u1").await;
    let stream = "app:user:{u1}:stream";
    let mut home = None;
    for node in cluster.nodes() {
        let keys: Vec<String> = node.ask(redis::cmd("KEYS").arg("*")).await;
        if keys.iter().any(|key| key == stream) {
            home = keys
                .into_iter()
                .find(|key| key.starts_with("app:rejoin:users"))
                .map(|index| (node, index));
        }
    }
    let (node, index) = home.unwrap();
    assert_lives_with_its_newest_entry(&redis, node, "u1", stream, &index).await;
}
