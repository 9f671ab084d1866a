//! `rejoin publish` says what became of events.

use std::process::Stdio;

use rejoin_test_support::{Connection, TestServer};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::cli::program::{Running, command, run, run_as};

async fn all_payloads(server: &TestServer, count: usize) -> Vec<Value> {
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    let mut payloads = Vec::new();
    for _ in 0..count {
        payloads.push(stream.event().await.1["payload"].clone());
    }
    payloads
}

#[tokio::test]
async fn ids_are_the_result_one_a_line() {
    let server = TestServer::start("").await;
    let url = server.url("");
    let one =
        run(&["publish", "--url", &url, "--user", "local", "--type", "t", "--payload", "-1.50"])
            .await;
    let two = run(&[
        "publish",
        "--url",
        &url,
        "--user",
        "local",
        "--user",
        "u2",
        "--type",
        "t",
        "--category",
        "ai",
    ])
    .await;
    let mut stream = Connection::open(&server.url("/api/events"), Some("0")).await;
    let (id, event) = stream.event().await;
    assert_eq!((one.lines(), &event["payload"]), (vec![id.as_deref().unwrap()], &json!(-1.50)));
    let (id, event) = stream.event().await;
    assert_eq!(
        (two.lines().len(), two.lines()[0], &event["category"]),
        (2, id.as_deref().unwrap(), &json!("ai"))
    );
    assert_eq!(one.err + &two.err, "");
    let broadcast = run(&["publish", "--url", &url, "--broadcast", "--type", "soon"]).await;
    assert!(broadcast.lines().is_empty());
    assert!(broadcast.err.contains("it has no id"));
    assert_eq!(stream.event().await.1["type"], "soon");
}

#[tokio::test]
async fn a_payload_from_standard_input_stays_as_it_is() {
    let server = TestServer::start("").await;
    let arguments =
        ["publish", "--url", &server.url(""), "--user", "local", "--type", "t", "--payload", "-"];
    let mut publish = Running::of(command(&arguments).stdin(Stdio::piped()));
    publish.feed("{\n  \"n\": 1e400,\n  \"n\": \"\\u0000\"\n}\n").await;
    let finished = publish.ended().await;
    assert_eq!(finished.lines().len(), 1);
    let answer = Connection::request(&server.url("/api/events"), Some("0")).await;
    let mut stream = Connection::of(answer);
    loop {
        if let rejoin::domain::frame_decoder::Decoded::Event { data, .. } = stream.expect().await {
            assert!(data.contains(r#""payload":{   "n": 1e400,   "n": "\u0000" }"#), "{data}");
            break;
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let server = TestServer::start("").await;
    let publish = async |arguments: &[&str]| {
        run(&[&["publish", "--url", &server.url("")], arguments].concat()).await
    };
    publish(&["--user", "u", "--type", "a b"])
        .await
        .assert_failed("`type`: a type has 1 to 128 characters");
    publish(&["--user", "u", "--type", "t", "--category", "x"])
        .await
        .assert_failed("(422 invalid_field)");
    publish(&["--user", "u", "--type", "t", "--payload", "hello"])
        .await
        .assert_failed("--payload is not valid JSON");
    publish(&["--user", "u", "--type", "t", "--scope", "{"])
        .await
        .assert_failed("--scope is not valid JSON");
    publish(&["--user", "u", "--type", "t", "--scope", "[]"])
        .await
        .assert_failed("`scope`: must be an object");
    for usage in [
        &["--type", "t"][..],
        &["--user", "u"],
        &["--user", "u", "--broadcast", "--type", "t"],
        &["--ndjson", "--user", "u"],
    ] {
        assert_eq!(publish(usage).await.code, Some(2), "{usage:?}");
    }
    let strict = TestServer::start(
        "[auth]\nmode = \"jwt\"\n[auth.jwt]\nsecret = \"a secret of thirty-two bytes, at least\"\n",
    )
    .await;
    run_as("nonsense", &["publish", "--url", &strict.url(""), "--user", "u", "--type", "t"])
        .await
        .assert_failed("(401 invalid_token)");
}

#[tokio::test]
async fn promise_5_a_repeat_is_told() {
    let server = TestServer::start("").await;
    let url = server.url("");
    let arguments =
        ["publish", "--url", &url, "--user", "local", "--type", "t", "--idempotency-key", "k1"];
    let (first, again) = (run(&arguments).await, run(&arguments).await);
    assert_eq!(first.lines(), again.lines());
    assert_eq!(first.err, "");
    assert!(again.err.contains("duplicate"), "{}", again.err);
}

#[tokio::test]
async fn nothing_is_stored_while_pushing_is_off() {
    let server = TestServer::start("[sse]\npush_enabled = false\n").await;
    let finished =
        run(&["publish", "--url", &server.url(""), "--user", "local", "--type", "t"]).await;
    assert!(finished.lines().is_empty());
    assert!(finished.err.contains("nothing was stored"), "{}", finished.err);
}

#[tokio::test]
async fn lines_are_answered_as_they_come() {
    let server = TestServer::start("").await;
    let mut publish = Running::of(
        command(&["publish", "--url", &server.url(""), "--ndjson"]).stdin(Stdio::piped()),
    );
    let mut stdin = publish.stdin();
    for n in 1..=3 {
        let line = json!({ "user_id": "local", "type": "t", "payload": n });
        stdin.write_all(format!("{line}\n\n").as_bytes()).await.unwrap();
        publish.says(&format!("\"line\":{n},")).await;
    }
    drop(stdin);
    let finished = publish.ended().await;
    assert_eq!(finished.lines().len(), 3);
    assert_eq!(finished.err, "");
    assert_eq!(all_payloads(&server, 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_bad_line_is_told_and_the_rest_is_taken() {
    let server = TestServer::start("").await;
    let arguments = ["publish", "--url", &server.url(""), "--ndjson", "--idempotency-key", "k"];
    let good = |n: u64| format!("{}\n", json!({ "user_id": "local", "type": "t", "payload": n }));
    let mut publish = Running::of(command(&arguments).stdin(Stdio::piped()));
    publish.feed(&format!("{}{{\"user_id\": \"local\", \"type\": 7}}\n{}", good(1), good(3))).await;
    let finished = publish.ended().await;
    finished.assert_failed(
        "2 taken, 1 refused; the same input can be sent again with --idempotency-key k",
    );
    let results: Vec<Value> =
        finished.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        results.iter().map(|result| result["success"].as_bool().unwrap()).collect::<Vec<_>>(),
        [true, false, true]
    );
    assert_eq!(results[1]["field"], "type");

    // As the message promises: once mended, the same input adds only what was refused.
    let mut publish = Running::of(command(&arguments).stdin(Stdio::piped()));
    publish.feed(&format!("{}{}{}", good(1), good(2), good(3))).await;
    assert_eq!(publish.ended().await.lines().len(), 3);
    assert_eq!(all_payloads(&server, 3).await, [1, 3, 2]);
}

#[tokio::test]
async fn no_lines_are_no_failure_and_who_may_not_publish_is_told() {
    let server = TestServer::start("").await;
    assert!(run(&["publish", "--url", &server.url(""), "--ndjson"]).await.lines().is_empty());
    let strict = TestServer::start(
        "[auth]\nmode = \"jwt\"\n[auth.jwt]\nsecret = \"a secret of thirty-two bytes, at least\"\n",
    )
    .await;
    run(&["publish", "--url", &strict.url(""), "--ndjson"])
        .await
        .assert_failed("(401 missing_credentials)");
}
