//! Why Redis can't be used stands in the log: seven mistakes, seven texts that say what to do.

use std::time::Duration;

use rejoin_test_support::{RedisServer, eventually};
use tokio::time::Instant;

use crate::redis::{access::COMMANDS, program::Program, tls::TlsRedis};

/// The words of each mistake, and of no other.
const WORDS: [&str; 7] = [
    "the user or the password in redis.url is wrong or missing",
    "the host name in redis.url is not known",
    "no server listens at the address of redis.url",
    "redis.url begins with rediss:// only where the server speaks TLS",
    "the server has no database of the number in redis.url",
    "the server is a node of a cluster: set redis.cluster = true",
    "the user in redis.url lacks a right",
];

/// A reason is to be in the log within so long of the start, on a busy machine.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);

/// The program says why it can't use this Redis, once, and says nothing else of that kind.
async fn assert_logs(mistake: usize, url: &str, environment: &[(&str, &str)]) {
    let started = Instant::now();
    let program = Program::start_without_waiting(url, environment);
    eventually(WORDS[mistake], async || program.logged(&["WARN", WORDS[mistake]]) > 0).await;
    assert!(started.elapsed() < LOGGED_WITHIN, "{:?} is late", started.elapsed());
    program.listens().await;
    for _ in 0..3 {
        program.caller().try_publish(1, None).await.assert_told_to_come_back();
        program.caller().subscribe("/api/events", None).await;
        program.caller().call(reqwest::Method::GET, "/readyz").await;
    }
    let log = program.log();
    for (number, words) in WORDS.iter().enumerate() {
        let lines = log
            .iter()
            .filter(|line| line.contains(words) && !line.contains("backend unreachable"))
            .count();
        assert_eq!(lines, usize::from(number == mistake), "{words} in {log:#?}");
    }
    assert!(
        program.logged(&["backend unreachable", "backend=\"journal\"", WORDS[mistake]]) > 0,
        "{log:#?}"
    );
}

#[tokio::test]
async fn a_wrong_or_missing_password() {
    let redis = RedisServer::start().await;
    redis.command(&["ACL", "SETUSER", "app", "on", ">right", "~*", "&*", "+@all"]).await;
    for cluster in ["false", "true"] {
        assert_logs(
            0,
            &format!("redis://app:wrong@127.0.0.1:{}", redis.port()),
            &[("REJOIN_REDIS__CLUSTER", cluster)],
        )
        .await;
    }
    redis.command(&["ACL", "SETUSER", "default", "resetpass", ">right"]).await;
    assert_logs(0, &redis.url(), &[]).await;
}

#[tokio::test]
async fn an_unknown_host() {
    assert_logs(1, "redis://no-such-host.invalid:6379", &[]).await;
}

#[tokio::test]
async fn a_refused_connection() {
    let mut redis = RedisServer::start().await;
    redis.kill().await;
    assert_logs(2, &redis.url(), &[]).await;
}

#[tokio::test]
async fn trouble_with_tls() {
    let (tls, plain) = tokio::join!(TlsRedis::start(), RedisServer::start());
    let stranger = tls.stranger();
    assert_logs(3, &tls.url(), &[("REJOIN_REDIS__TLS_CA_FILE", stranger.to_str().unwrap())]).await;
    assert_logs(3, &plain.url().replace("redis://", "rediss://"), &[]).await;
}

#[tokio::test]
async fn a_database_that_is_not_there() {
    let redis = RedisServer::start().await;
    assert_logs(4, &format!("{}/99", redis.url()), &[]).await;
}

#[tokio::test]
async fn a_node_of_a_cluster() {
    let redis = RedisServer::start_with(&["--cluster-enabled", "yes", "--save", ""]).await;
    assert_logs(5, &redis.url(), &[]).await;
    let plain = RedisServer::start().await;
    let program =
        Program::start_without_waiting(&plain.url(), &[("REJOIN_REDIS__CLUSTER", "true")]);
    eventually("the reverse", async || program.logged(&["WARN", "set redis.cluster = false"]) == 1)
        .await;
}

#[tokio::test]
async fn a_missing_right() {
    let redis = RedisServer::start().await;
    for lacking in ["+xadd", "+subscribe"] {
        let granted = COMMANDS.replace(&format!("{lacking} "), "");
        let mut role = vec!["ACL", "SETUSER", "rejoin", "reset", "on", ">secret", "~*", "&*"];
        role.extend(granted.split_whitespace());
        redis.command(&role).await;
        let url = format!("redis://rejoin:secret@127.0.0.1:{}", redis.port());
        if lacking == "+xadd" {
            assert_logs(6, &url, &[]).await;
            continue;
        }
        let program = Program::start_without_waiting(&url, &[]);
        eventually(lacking, async || program.logged(&["WARN", WORDS[6], &lacking[1..]]) > 0).await;
    }
    let url = format!("redis://rejoin:secret@127.0.0.1:{}", redis.port());
    redis.command(&["ACL", "SETUSER", "rejoin", "-publish", "-zadd", "resetchannels"]).await;
    let program = Program::start_without_waiting(&url, &[]);
    eventually("all that is missing", async || {
        program.logged(&["may not call ZADD, PUBLISH"]) == 1
    })
    .await;
}
