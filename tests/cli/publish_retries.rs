//! `rejoin publish` tries again, and never makes two events of one.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use rejoin_test_support::{CuttingProxy, EventClient, Seen, TestServer, eventually};
use serde_json::json;
use tokio::net::TcpListener;

use crate::cli::{
    program::{Running, command, run},
    scripted_server::{ScriptedServer, answer},
};

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_server_that_comes_late_gets_the_event() {
    let address = nobody().await;
    let url = format!("http://{address}");
    let one = Running::start(&[
        "publish",
        "--url",
        &url,
        "--user",
        "local",
        "--type",
        "one",
        "--retries",
        "20",
    ]);
    let mut many = Running::of(
        command(&["publish", "--url", &url, "--ndjson", "--retries", "20"]).stdin(Stdio::piped()),
    );
    many.feed(&format!("{}\n", json!({ "user_id": "local", "type": "two" }))).await;
    one.tells("trying again in ").await;
    many.tells("trying again in ").await;
    let _server = TestServer::start_at(address, "").await;
    assert_eq!(one.ended().await.lines().len(), 1);
    assert_eq!(many.ended().await.lines().len(), 1);
}

#[tokio::test]
async fn promise_5_an_answer_that_was_lost_makes_no_second_event() {
    let server = TestServer::start("").await;
    let proxy = CuttingProxy::start(server.address(), 1, 1).await;
    let url = format!("http://{}", proxy.address());
    let publish = Running::start(&[
        "publish",
        "--url",
        &url,
        "--user",
        "local",
        "--type",
        "once",
        "--retries",
        "20",
    ]);
    eventually("an answer to be lost", async || proxy.cuts() > 0).await;
    proxy.calm_down();
    let finished = publish.ended().await;
    assert!(finished.err.contains("duplicate"), "{}", finished.err);
    server.publish("last", json!({})).await;
    let mut client = EventClient::new(server.url("/api/events")).with_cursor("0");
    client
        .follow_until(|seen| {
            seen.iter().any(|event| matches!(event, Seen::Event(_, data) if data["type"] == "last"))
        })
        .await;
    assert!(
        matches!(&client.seen[..], [Seen::Event(id, _), Seen::Event(..)] if id == finished.lines()[0]),
        "{:?}",
        client.seen
    );
}

#[tokio::test]
async fn an_event_of_which_nobody_knows_can_be_sent_again_by_its_key() {
    let server = TestServer::start("").await;
    let proxy = CuttingProxy::start(server.address(), 1, 1).await;
    let url = format!("http://{}", proxy.address());
    let lost =
        run(&["publish", "--url", &url, "--user", "local", "--type", "t", "--retries", "0"]).await;
    lost.assert_failed("whether the event was taken is not known");
    let key =
        lost.err.split_whitespace().skip_while(|word| *word != "--idempotency-key").nth(1).unwrap();
    let again = run(&[
        "publish",
        "--url",
        &server.url(""),
        "--user",
        "local",
        "--type",
        "t",
        "--idempotency-key",
        key,
    ])
    .await;
    assert_eq!(again.lines().len(), 1);
    assert!(again.err.contains("duplicate"), "{}", again.err);
    // A broadcast is in no journal: a second try would be a second event.
    let broadcast = run(&["publish", "--url", &url, "--broadcast", "--type", "t"]).await;
    broadcast.assert_failed("the connection broke");
    assert!(!broadcast.err.contains("trying again"), "{}", broadcast.err);
}

#[tokio::test]
async fn promise_11_retry_after_is_waited_and_the_key_stays() {
    let server = ScriptedServer::start().await;
    let publish =
        Running::start(&["publish", "--url", &server.url(), "--user", "u", "--type", "t"]);
    let mut first = server.visit().await;
    first
        .send(answer(
            "503 Service Unavailable\r\nretry-after: 1",
            r#"{"message":"not now","code":"busy"}"#,
        ))
        .await;
    let mut second = server.visit().await;
    assert!(second.at - first.at >= Duration::from_secs(1));
    let key = |request: &str| {
        request.lines().find(|line| line.starts_with("idempotency-key: ")).unwrap().to_owned()
    };
    assert_eq!(key(&first.request), key(&second.request));
    second.send(answer("201 Created", r#"{"success":true,"id":"7-0"}"#)).await;
    let finished = publish.ended().await;
    assert_eq!(finished.lines(), ["7-0"]);
    assert!(finished.err.contains("s: not now (503 busy)"), "{}", finished.err);
}

#[tokio::test]
async fn it_gives_up_after_the_retries_or_when_the_wait_is_too_long() {
    let nowhere = format!("http://{}", nobody().await);
    let finished =
        run(&["publish", "--url", &nowhere, "--user", "u", "--type", "t", "--retries", "1"]).await;
    finished.assert_failed("can't be reached: ");
    assert_eq!(finished.err.matches("trying again").count(), 1, "{}", finished.err);

    let server = ScriptedServer::start().await;
    let publish =
        Running::start(&["publish", "--url", &server.url(), "--user", "u", "--type", "t"]);
    server
        .visit()
        .await
        .send(answer(
            "429 Too Many Requests\r\nretry-after: 600",
            r#"{"message":"later","code":"busy"}"#,
        ))
        .await;
    publish.ended().await.assert_failed("later (429 busy)");
}

#[tokio::test]
async fn lines_whose_answer_broke_off_can_be_sent_again() {
    let server = ScriptedServer::start().await;
    let arguments = ["publish", "--url", &server.url(), "--ndjson", "--idempotency-key", "k"];
    let mut publish = Running::of(command(&arguments).stdin(Stdio::piped()));
    publish.feed("{\"n\":1}\n{\"n\":2}\n").await;
    let mut visit = server.visit().await;
    visit.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n26\r\n{\"line\":1,\"success\":true,\"id\":\"7-0\"}\n\n\r\n").await;
    publish.says("\"7-0\"").await;
    drop(visit);
    publish
        .ended()
        .await
        .assert_failed("1 taken, 0 refused, and the lines behind those were not answered");
}
