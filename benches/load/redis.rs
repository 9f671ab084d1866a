//! Rejoin over Redis: what a publish and a delivery cost the server, and how fast appends are
//! beside bare ones.

use std::{process::Command, rc::Rc, sync::Arc};

use rejoin::{
    adapters::redis::{self as rejoin_redis, RedisOptions},
    domain::topic::UserId,
    ports::journal::Append,
    testing::{backend_context, event_of_bytes},
};
use rejoin_test_support::RedisServer;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    publishing,
    readers::{self, Tally},
    server::ServerProcess,
};

/// How many appends are under way at the same time, here and in the bare loop.
const AT_ONCE: usize = 64;
const APPENDS: usize = 200_000;

/// How Redis keeps what it is told.
const DURABILITY: [(&str, &[&str]); 3] = [
    ("no append-only file", &["--save", ""]),
    ("synced every second", &["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]),
    ("always synced", &["--save", "", "--appendonly", "yes", "--appendfsync", "always"]),
];

pub(crate) async fn measure(publishes: usize, users: usize, subscribers: usize) {
    count_commands(publishes, users, subscribers).await;
    for (name, settings) in DURABILITY {
        compare_appends(name, settings).await;
    }
}

/// Publishes over HTTP to users who are all connected, and counts what Redis did meanwhile.
async fn count_commands(publishes: usize, users: usize, subscribers: usize) {
    let server = RedisServer::start().await;
    let url = server.url();
    let rejoin = ServerProcess::rejoin_with(&[
        ("REJOIN_EVENTS__BACKEND", "redis"),
        ("REJOIN_MESSAGES__BACKEND", "redis"),
        ("REJOIN_LIMITS__BACKEND", "redis"),
        ("REJOIN_REDIS__URL", &url),
    ]);
    readers::with_readers(async {
        let tally = Rc::new(Tally::default());
        for user in 0..users {
            readers::open_more(&tally, rejoin.address, &rejoin.subscribe_request_of(&format!("u{user}")), subscribers).await;
        }
        server.command(&["CONFIG", "RESETSTAT"]).await;
        let started = Instant::now();
        let publishing = tokio::task::spawn_local(publishing::publish(&rejoin, publishes, users, AT_ONCE));
        let last = tally.wait_for(publishes * subscribers).await;
        publishing.await.unwrap();
        let rate = publishes as f64 / (last - started).as_secs_f64();
        println!("redis: {publishes} publishes over HTTP to {users} users with {subscribers} subscribers each: {rate:.0}/s; Redis did:");
        let stats: String = server.ask(redis::cmd("INFO").arg("commandstats")).await;
        for line in stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")) {
            let (command, rest) = line.split_once(':').unwrap();
            let calls: usize = rest.split([',', '=']).nth(1).unwrap().parse().unwrap();
            println!(
                "  {command:24} {calls:8} = {:.3} a publish, {:.3} a delivery",
                per(calls, publishes),
                per(calls, publishes * subscribers)
            );
        }
    })
    .await;
}

fn per(calls: usize, events: usize) -> f64 {
    calls as f64 / events as f64
}

/// Appends through the port, and bare ones by `redis-benchmark`, in turns on one server.
async fn compare_appends(name: &str, settings: &[&str]) {
    const ROUNDS: usize = 3;
    let server = RedisServer::start_with(settings).await;
    let (mut ours, mut bare) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        bare += bare_appends(&server);
        ours += our_appends(&server).await;
    }
    let (ours, bare) = (ours / ROUNDS as f64, bare / ROUNDS as f64);
    println!(
        "redis: appends, {AT_ONCE} at once on one connection, {name}: {ours:.0}/s; bare XADD {bare:.0}/s; ratio {:.2}",
        ours / bare
    );
}

fn bare_appends(server: &RedisServer) -> f64 {
    let (port, at_once, appends) =
        (server.port().to_string(), AT_ONCE.to_string(), APPENDS.to_string());
    let output = Command::new("redis-benchmark")
        .args(["-p", &port, "-c", "1", "-P", &at_once, "-n", &appends, "-r", "100", "--csv"])
        .args(["XADD", "bare:__rand_int__", "MAXLEN", "~", "1000", "*", "event", &"x".repeat(200)])
        .output()
        .expect("redis-benchmark, of Debian's package redis-tools");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().unwrap().split(',').nth(1).unwrap().trim_matches('"').parse().unwrap()
}

async fn our_appends(server: &RedisServer) -> f64 {
    let options = RedisOptions {
        url: server.url(),
        cluster: false,
        key_prefix: "ours:".to_owned(),
        tls_ca_file: None,
    };
    let journal = rejoin_redis::open(options, &backend_context()).await.unwrap().journal;
    let event = event_of_bytes(80);
    let (started, mut appenders) = (Instant::now(), JoinSet::new());
    for appender in 0..AT_ONCE {
        let (journal, event) = (Arc::clone(&journal), Arc::clone(&event));
        appenders.spawn(async move {
            for number in 0..APPENDS / AT_ONCE {
                let user =
                    UserId::parse(&format!("u{}", (appender + number * AT_ONCE) % 100)).unwrap();
                let append = Append { user, event: Arc::clone(&event), idempotency_key: None };
                journal.append(vec![append]).await.unwrap();
            }
        });
    }
    appenders.join_all().await;
    APPENDS as f64 / started.elapsed().as_secs_f64()
}
