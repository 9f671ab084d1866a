//! `rejoin tail` comes back by itself, and goes on where it was.

use std::time::Duration;

use rejoin_test_support::{CuttingProxy, TestServer};
use serde_json::{Value, json};

use crate::cli::{
    program::{Running, command, run},
    scripted_server::{STREAM, ScriptedServer, answer},
};

const QUICK: &str = "[sse]\nretry_ms = 100\n";

#[tokio::test]
async fn a_restarted_server_is_found_again_and_what_it_forgot_is_told() {
    let server = TestServer::start(QUICK).await;
    let address = server.address();
    let tail = Running::start(&["tail", "--url", &server.url(""), "--from", "0", "--json"]);
    server.publish("before", json!({})).await;
    tail.says("\"before\"").await;
    server.kill().await;
    tail.tells("reconnecting in ").await;
    let server = TestServer::start_at(address, QUICK).await;
    tail.tells("truncated: some events").await;
    let id = server.publish("after", json!({})).await;
    tail.says("\"after\"").await;
    tail.signal("INT").await;
    let finished = tail.ended().await;
    assert!(finished.err.ends_with(&format!("--from {id}\n")), "{}", finished.err);
    let types: Vec<Value> = finished
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone())
        .collect();
    assert_eq!(types, ["before", "backlog.truncated", "after"]);
}

#[tokio::test]
async fn promise_1_and_2_nothing_is_lost_or_repeated_over_many_cuts() {
    let server =
        TestServer::start("[sse]\nretry_ms = 0\n[events]\nreplay_budget_requests_per_window = 0\n")
            .await;
    let proxy = CuttingProxy::start(server.address(), 7, 1500).await;
    let url = format!("http://{}", proxy.address());
    let mut ids = Vec::new();
    for n in 0..30 {
        ids.push(server.publish("n", json!({ "n": n })).await);
    }
    let tail = Running::start(&["tail", "--url", &url, "--from", "0", "--json", "--count", "30"]);
    let finished = tail.ended().await;
    let seen: Vec<String> = finished
        .lines()
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(seen, ids);
    assert!(proxy.cuts() > 0, "{}", finished.err);
}

#[tokio::test]
async fn a_capped_snapshot_comes_in_parts() {
    let server = TestServer::start("[events]\nreplay_max_per_request = 2\n").await;
    for n in 0..5 {
        server.publish(&format!("n{n}"), json!({})).await;
    }
    let finished = run(&["tail", "--url", &server.url(""), "--from", "0", "--count", "5"]).await;
    let types: Vec<&str> =
        finished.lines().iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(types, ["n0", "n1", "n2", "n3", "n4"]);
    assert!(finished.err.contains("snapshot capped"), "{}", finished.err);
}

#[tokio::test]
async fn promise_11_retry_after_is_waited() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let server = ScriptedServer::start().await;
        let tail = Running::start(&["tail", "--url", &server.url(), "--count", "1"]);
        let mut first = server.visit().await;
        let body = r#"{"success":false,"message":"not now","code":"busy"}"#;
        first.send(answer(&format!("{status}\r\nretry-after: 1"), body)).await;
        let mut second = server.visit().await;
        assert!(second.at - first.at >= Duration::from_secs(1));
        second.send(format!("{STREAM}data: {{\"type\":\"t\"}}\n\n")).await;
        let finished = tail.ended().await;
        assert_eq!(finished.lines(), ["- t"]);
        assert!(finished.err.contains("reconnecting in 1."), "{}", finished.err);
        assert!(
            finished.err.contains(&format!("s: not now ({} busy)", &status[..3])),
            "{}",
            finished.err
        );
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let server = ScriptedServer::start().await;
    let tail =
        Running::start(&["tail", "--url", &server.url(), "--count", "1", "--idle-timeout", "1s"]);
    let mut silent = server.visit().await;
    silent.send(format!("{STREAM}id: 42-0\n\n: keepalive\n\n")).await;
    let mut next = server.visit().await;
    assert!(next.at - silent.at >= Duration::from_secs(1));
    assert!(
        next.request.contains("last-event-id: 42-0\r\n"),
        "an id alone moves the cursor: {}",
        next.request
    );
    next.send(format!("{STREAM}data: {{\"type\":\"t\"}}\n\n")).await;
    let finished = tail.ended().await;
    assert_eq!(finished.lines(), ["- t"]);
    assert!(finished.err.contains("nothing came for 1.0 s"), "{}", finished.err);
}

#[tokio::test]
async fn a_server_that_never_answers_is_left() {
    let server = ScriptedServer::start().await;
    let tail =
        Running::start(&["tail", "--url", &server.url(), "--count", "1", "--idle-timeout", "1s"]);
    let _silent = server.visit().await;
    server.visit().await.send(format!("{STREAM}data: {{\"type\":\"t\"}}\n\n")).await;
    assert_eq!(tail.ended().await.lines(), ["- t"]);
}

#[tokio::test]
async fn an_expired_token_leads_to_one_more_try() {
    let secret = "a secret of thirty-two bytes, at least";
    let server = TestServer::start(&format!(
        "{QUICK}[auth]\nmode = \"jwt\"\n[auth.jwt]\nsecret = \"{secret}\"\n"
    ))
    .await;
    let made = Running::of(
        command(&["token", "--user", "u1", "--ttl", "2s"]).env("REJOIN_AUTH__JWT__SECRET", secret),
    )
    .ended()
    .await;
    let tail = Running::of(
        command(&["tail", "--url", &server.url("")]).env("REJOIN_TOKEN", made.lines()[0]),
    );
    tail.tells("connected").await;
    let finished = tail.ended().await;
    finished.assert_failed("(401 token_expired)");
    assert_eq!(finished.err.matches("reconnecting").count(), 1, "{}", finished.err);
    assert!(finished.err.contains("s: token expired"), "{}", finished.err);
}
