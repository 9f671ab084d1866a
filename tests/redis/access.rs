//! Who may use a Redis, how it is reached, and how deployments in one Redis stay apart.

use rejoin_test_support::{RedisServer, TestServer, eventually};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::redis::{
    caller::{Caller, server, settings},
    listener::Listener,
    program::{Program, run},
    tls::TlsRedis,
};

/// What the docs of `adapters::redis` say that Rejoin needs.
pub(crate) const COMMANDS: &str = "+ping +hello +select +eval +evalsha +publish +subscribe +unsubscribe +get +set +unlink +pttl +pexpire +persist \
     +xadd +xrange +xrevrange +xlen +xtrim +xinfo|stream +hget +hset +hgetall +zadd +zrem +zcard +zcount +zscore +zrangebyscore \
     +zremrangebyscore +lrange +lrem +rpush +time";
const PASSWORD: &str = "pass%20of%2Fthe%40tests";

async fn start(url: &str, more: &str) -> (TestServer, Caller) {
    let server = TestServer::start(&settings(url, more)).await;
    let caller = Caller::new(server.url(""));
    (server, caller)
}

/// Everything that a deployment does: events, messages, limits and what operators may do.
async fn assert_all_works(caller: &Caller) {
    let stream = Listener::placed(caller.follow(None).await).await;
    let (first, second) = (caller.publish(1).await, caller.publish(2).await);
    assert_eq!(caller.try_publish(3, Some("k")).await.status, 201);
    assert_eq!(caller.try_publish(3, Some("k")).await.status, 200);
    assert_eq!(stream.ids(3).await[..2], [first.clone(), second.clone()]);
    assert_eq!(Listener::of(caller.follow(Some(&first)).await).ids(2).await[0], second);
    let user = "/api/admin/users/local";
    let state = caller.call(Method::GET, user).await;
    assert_eq!(
        (state.status, &state.body["backlog_length"], &state.body["replays_left"]),
        (200, &json!(3), &json!(29)),
        "{state:?}"
    );
    assert!(state.body["connections"].as_u64() >= Some(1), "{state:?}");
    assert_eq!(
        caller
            .send(Method::POST, "/api/events", json!({ "broadcast": true, "type": "t" }))
            .await
            .status,
        201
    );
    eventually("the broadcast", async || stream.events().len() == 4).await;

    let message = format!("/api/messages/{}", Uuid::new_v4());
    let events = format!("{message}/events");
    assert_eq!(caller.send(Method::PUT, &message, json!({ "user_id": "local" })).await.status, 201);
    let reader = Listener::of(caller.follow_at(&events, None).await);
    assert_eq!(
        caller
            .send(Method::POST, &events, json!({ "type": "chunk", "sequence_no": 0 }))
            .await
            .status,
        201
    );
    assert_eq!(
        caller
            .send(Method::POST, &events, json!({ "type": "chunk", "sequence_no": 0 }))
            .await
            .status,
        200
    );
    assert_eq!(reader.ids(1).await, ["0"]);
    assert_eq!(caller.call(Method::DELETE, &message).await.status, 200);

    assert_eq!(caller.call(Method::DELETE, &format!("{user}/events")).await.status, 200);
    assert_eq!(caller.call(Method::GET, user).await.body["backlog_length"], 0);
    assert_eq!(caller.call(Method::DELETE, &format!("{user}/connections")).await.status, 200);
    stream.last_words().await;
    for backend in ["journal", "messages", "limits"] {
        assert_eq!(
            caller.metric(&format!("rejoin_backend_up{{backend=\"{backend}\"}}")).await,
            Some(1.0),
            "{backend}"
        );
    }
    let errors =
        caller.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(!errors.contains("rejoin_backend_errors_total{"), "{errors}");
}

async fn assert_away(caller: &Caller) {
    let publish = caller.try_publish(1, None);
    let (publish, subscribe, ready) = tokio::join!(
        publish,
        caller.subscribe("/api/events", None),
        caller.call(Method::GET, "/readyz")
    );
    for answer in [publish, subscribe, ready] {
        answer.assert_told_to_come_back();
    }
}

#[tokio::test]
async fn a_redis_behind_tls_is_trusted_by_the_authority_that_signed_it() {
    let redis = TlsRedis::start().await;
    let trusting = |path: &std::path::Path| format!("redis.tls_ca_file = {path:?}");
    let url = redis.url();
    let [trusted, distrusted] = [trusting(&redis.authority()), trusting(&redis.stranger())];
    // As other programs write it: without TLS this server answers nothing.
    let theirs = url.replacen("rediss://", "redis+tls://", 1);
    let apart = format!("{trusted}\nredis.key_prefix = \"theirs:\"");
    let ((_one, caller), (_two, same), (_other, suspicious)) =
        tokio::join!(start(&url, &trusted), start(&theirs, &apart), start(&url, &distrusted));
    assert_all_works(&caller).await;
    assert_all_works(&same).await;
    assert_away(&suspicious).await;
}

#[tokio::test]
async fn a_role_with_the_commands_that_the_docs_name_is_enough() {
    let docs = include_str!("../../src/adapters/redis/mod.rs");
    for command in COMMANDS.split_whitespace() {
        assert!(
            docs.contains(&format!(
                "`{}`",
                command.trim_start_matches('+').replace('|', " ").to_uppercase()
            )),
            "{command}"
        );
    }
    let redis = RedisServer::start().await;
    let password = format!(">{}", percent_decoded(PASSWORD));
    let mut role = vec!["ACL", "SETUSER", "rejoin", "reset", "on", &password, "~app:*", "&app:*"];
    role.extend(COMMANDS.split_whitespace());
    redis.command(&role).await;
    let url = format!("redis://rejoin:{PASSWORD}@127.0.0.1:{}/0", redis.port());
    let (_server, caller) = start(&url, "redis.key_prefix = \"app:\"").await;
    assert_all_works(&caller).await;
    let keys: Vec<String> = redis.ask(redis::cmd("KEYS").arg("*")).await;
    assert!(keys.iter().all(|key| key.starts_with("app:")), "{keys:?}");
}

fn percent_decoded(text: &str) -> String {
    text.replace("%20", " ").replace("%2F", "/").replace("%40", "@")
}

#[tokio::test]
async fn promise_8_deployments_with_different_prefixes_do_not_see_each_other() {
    let redis = RedisServer::start().await;
    let ((_a, one), (_b, other)) = tokio::join!(
        server(&redis, "redis.key_prefix = \"a:\"\nsse.max_concurrent_per_user = 2"),
        server(&redis, "redis.key_prefix = \"b:\"\nsse.max_concurrent_per_user = 2")
    );
    assert_apart(&one, &other).await;
}

#[tokio::test]
async fn promise_8_deployments_in_different_databases_do_not_see_each_other() {
    let redis = RedisServer::start().await;
    let [first, second] = [3, 4].map(|number| format!("{}/{number}", redis.url()));
    let cap = "sse.max_concurrent_per_user = 2";
    let ((_a, one), (_b, other)) = tokio::join!(start(&first, cap), start(&second, cap));
    assert_apart(&one, &other).await;
    let keyspace: String = redis.ask(redis::cmd("INFO").arg("keyspace")).await;
    assert!(
        keyspace.contains("db3:") && keyspace.contains("db4:") && !keyspace.contains("db0:"),
        "{keyspace}"
    );
}

async fn assert_apart(one: &Caller, other: &Caller) {
    let (here, there) = (
        Listener::placed(one.follow(None).await).await,
        Listener::placed(other.follow(None).await).await,
    );
    // There is one slot left for each, whatever the other does.
    let (_second_here, second_there) = (one.follow(None).await, other.follow(None).await);
    let message = format!("/api/messages/{}", Uuid::new_v4());
    assert_eq!(one.send(Method::PUT, &message, json!({ "user_id": "local" })).await.status, 201);
    assert_eq!(other.call(Method::GET, &message).await.status, 404);
    assert_eq!(
        one.send(
            Method::POST,
            "/api/events",
            json!({ "broadcast": true, "type": "t", "payload": "one" })
        )
        .await
        .status,
        201
    );
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(
            one.try_publish(number, Some(&format!("k{number}"))).await.body["id"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        let theirs = other.try_publish("theirs", Some(&format!("k{number}"))).await;
        assert_eq!(theirs.status, 201, "a key counts for its own deployment");
    }
    assert_eq!(here.ids(20).await, ids);
    assert!(there.payloads(20).await.iter().all(|payload| payload == "theirs"));
    assert_eq!((here.events().len(), there.events().len()), (21, 20), "a broadcast stays at home");
    let closed = one.call(Method::DELETE, "/api/admin/users/local/connections").await;
    assert_eq!(closed.body["connections"], 2);
    here.last_words().await;
    other.publish("after").await;
    assert_eq!(there.payloads(21).await[20], "after");
    drop(second_there);
}

#[tokio::test]
async fn a_url_that_makes_no_sense_stops_the_start_and_no_password_is_told() {
    for url in [
        "http://u:hunter2@127.0.0.1",
        "redis://u:hunter2@",
        "redis://u:hunter2@127.0.0.1:port",
        "hunter2",
    ] {
        let (code, out, err) = run(&["serve", "--memory"], url).await;
        assert_eq!(code, Some(1), "{url}: {out}{err}");
        assert!(
            err.contains("redis.url") && err.contains("redis://user:password@host:6379/0"),
            "{url}: {err}"
        );
        assert!(!err.contains("hunter2") && !out.contains("hunter2"), "{url}: {out}{err}");
    }
    let two = "redis://u:hunter2@127.0.0.1:1,redis://u:hunter2@127.0.0.1:2";
    let (code, _, err) = run(&["serve", "--memory"], two).await;
    assert!(code == Some(1) && err.contains("redis.cluster") && !err.contains("hunter2"), "{err}");
    let (code, out, err) = run(&["config"], "redis://u:hunter2@127.0.0.1:1/0").await;
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("redis.url") && !out.contains("hunter2") && !err.contains("hunter2"),
        "{out}{err}"
    );
}

#[tokio::test]
async fn a_password_that_is_wrong_is_logged_as_such_and_never_told() {
    let redis = RedisServer::start().await;
    let url = format!("redis://nobody:hunter2@127.0.0.1:{}", redis.port());
    let program = Program::start(&url, &[("REJOIN_LOG__LEVEL", "debug")]).await;
    let caller = program.caller();
    assert_away(caller).await;
    assert_eq!(program.logged(&["hunter2"]), 0, "{:#?}", program.log());
    let log = program.log().join("\n").to_lowercase();
    assert!(log.contains("wrongpass") || log.contains("authentication"), "{log}");
    // Whoever mends it need not restart us.
    redis.command(&["ACL", "SETUSER", "nobody", "on", ">hunter2", "~*", "&*", "+@all"]).await;
    eventually("it is ready", async || caller.is_ready().await).await;
    assert_eq!(caller.try_publish(2, None).await.status, 201);
}

#[tokio::test]
async fn an_authority_that_can_not_be_read_stops_the_start() {
    for path in ["/nowhere/ca.pem", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
        let settings = settings("rediss://127.0.0.1:1", &format!("redis.tls_ca_file = {path:?}"));
        let settings = rejoin::adapters::config::Settings::from_toml(&settings).unwrap().settings;
        let refused =
            rejoin::composition::Server::start(&settings).await.err().unwrap().to_string();
        assert!(refused.contains("redis.tls_ca_file") && refused.contains(path), "{refused}");
    }
}
