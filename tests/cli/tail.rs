//! `rejoin tail` shows what happens.

use std::time::Duration;

use rejoin_test_support::{TestServer, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::cli::{
    program::{Running, command, run, run_as},
    scripted_server::{STREAM, ScriptedServer, answer},
};

const JWT: &str =
    "[auth]\nmode = \"jwt\"\n[auth.jwt]\nsecret = \"a secret of thirty-two bytes, at least\"\n";

#[tokio::test]
async fn what_was_published_is_a_line_for_people() {
    let server = TestServer::start("").await;
    let url = server.url("");
    let tail = Running::start(&["tail", "--url", &url, "--from", "0", "--count", "2"]);
    tail.tells("connected to http://127.0.0.1:").await;
    let scope = r#"{"kind": "source", "id": "s1"}"#;
    let payload = r#"{"n": [1, 2.50], "text": "a  b\u001b"}"#;
    run(&[
        "publish",
        "--url",
        &url,
        "--user",
        "local",
        "--type",
        "source.done",
        "--payload",
        payload,
        "--scope",
        scope,
    ])
    .await
    .lines();
    run(&["publish", "--url", &url, "--user", "local", "--type", "greeting"]).await.lines();
    let finished = tail.ended().await;
    let lines = finished.lines();
    let (ts, rest) = lines[0].split_once(' ').unwrap();
    assert!(ts.len() == 24 && ts.ends_with('Z'), "{ts}");
    assert_eq!(rest, r#"source.done [import] (source/s1) {"n":[1,2.50],"text":"a  b\u001b"}"#);
    assert!(lines[1].ends_with(" greeting {}"), "{}", lines[1]);
}

#[tokio::test]
async fn json_is_the_envelope_as_it_came() {
    let server = TestServer::start("").await;
    let ids = [
        server.publish("a", json!({ "text": "x\u{9b}\u{202e}y" })).await,
        server.publish("b", json!(null)).await,
    ];
    let finished =
        run(&["tail", "--url", &server.url(""), "--from", "0", "--count", "2", "--json"]).await;
    assert!(!finished.out.contains(['\u{9b}', '\u{202e}']));
    let events: Vec<Value> =
        finished.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&events[0]["id"], &events[1]["id"]), (&json!(ids[0]), &json!(ids[1])));
    assert_eq!(events[0]["payload"], json!({ "text": "x\u{9b}\u{202e}y" }));
    assert_eq!(events[1]["topic"], "user:local");
}

#[tokio::test]
async fn categories_choose() {
    let server = TestServer::start("").await;
    for event_type in ["ai.a", "sync.b", "none", "provider.c"] {
        server.publish(event_type, json!({})).await;
    }
    let finished = run(&[
        "tail",
        "--url",
        &server.url(""),
        "--from",
        "0",
        "--count",
        "2",
        "--categories",
        "ai,provider",
    ])
    .await;
    let types: Vec<&str> =
        finished.lines().iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(types, ["ai.a", "provider.c"]);
}

#[tokio::test]
async fn a_cursor_begins_behind_its_event_and_quiet_says_nothing() {
    let server = TestServer::start("").await;
    let first = server.publish("one", json!({})).await;
    server.publish("two", json!({})).await;
    let finished =
        run(&["tail", "--url", &server.url(""), "--from", &first, "--count", "1", "--quiet"]).await;
    assert!(finished.lines()[0].ends_with(" two {}"));
    assert_eq!(finished.err, "");
}

#[tokio::test]
async fn what_waiting_does_not_mend_ends_it() {
    let server = TestServer::start(JWT).await;
    let url = server.url("");
    run(&["tail", "--url", &url]).await.assert_failed("(401 missing_credentials)");
    let finished = run_as("rejoin_pk_wrong", &["tail", "--url", &url]).await;
    finished.assert_failed("(401 invalid_token)");
    assert!(!finished.err.contains("rejoin_pk_wrong"));
    let open = TestServer::start("").await;
    run(&["tail", "--url", &open.url(""), "--categories", "nonsense"])
        .await
        .assert_failed("the valid ones are: ai, ");
    run(&["tail", "--url", &open.url("/under/a/path")]).await.assert_failed("(404 not_found)");
}

#[tokio::test]
async fn what_is_no_event_stream_ends_it() {
    let server = ScriptedServer::start().await;
    let tail = Running::start(&["tail", "--url", &server.url()]);
    server.visit().await.send(answer("200 OK\r\ncontent-type: text/html", "<html>")).await;
    tail.ended().await.assert_failed("the answer is text/html, not an event stream");
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let (server, elsewhere) = (ScriptedServer::start().await, TestServer::start("").await);
    let tail = Running::of(command(&["tail", "--url", &server.url()]).env("REJOIN_TOKEN", "hush"));
    let mut visit = server.visit().await;
    assert!(visit.request.contains("authorization: bearer hush"));
    visit
        .send(answer(&format!("302 Found\r\nlocation: {}", elsewhere.url("/api/events")), ""))
        .await;
    tail.ended()
        .await
        .assert_failed(&format!("the server points to {}", elsewhere.url("/api/events")));
}

#[tokio::test]
async fn ctrl_c_says_how_to_go_on() {
    let server = TestServer::start("").await;
    let id = server.publish("one", json!({})).await;
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let tail = Running::start(&["tail", "--url", &server.url(""), "--from", "0"]);
        tail.says(" one {}").await;
        tail.signal(signal).await;
        let finished = tail.ended().await;
        assert_eq!(finished.code, Some(code));
        assert!(finished.err.ends_with(&format!("rejoin tail --from {id}\n")), "{}", finished.err);
    }
}

#[tokio::test]
async fn a_reader_that_has_read_enough_ends_it_quietly() {
    let server = TestServer::start("").await;
    server.publish("one", json!({})).await;
    let mut tail =
        Running::unread(&mut command(&["tail", "--url", &server.url(""), "--from", "0"]));
    let mut lines = BufReader::new(tail.stdout()).lines();
    assert!(soon("a line", lines.next_line()).await.unwrap().unwrap().ends_with(" one {}"));
    drop(lines);
    server.publish("two", json!({})).await;
    let finished = tail.ended().await;
    assert_eq!(finished.code, Some(0));
    assert_eq!(finished.err.lines().count(), 1, "{}", finished.err);
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_nobody_up_and_the_cursor_stays_with_it() {
    let server = ScriptedServer::start().await;
    let mut tail = Running::unread(&mut command(&["tail", "--url", &server.url(), "--json"]));
    let mut stdout = tail.stdout();
    let mut visit = server.visit().await;
    visit.send(STREAM).await;
    // The pipe and the connection hold only so much. To take a slow machine for a full pipe would
    // do no harm.
    let full = Duration::from_millis(500);
    let mut id = 0;
    let padding = "x".repeat(10_000);
    loop {
        id += 1;
        let event = format!(
            "id: {id}-0\ndata: {{\"id\":\"{id}-0\",\"type\":\"t\",\"payload\":\"{padding}\"}}\n\n"
        );
        if tokio::time::timeout(full, visit.send(event)).await.is_err() {
            break;
        }
    }
    tail.signal("INT").await;
    let finished = tail.ended().await;
    assert_eq!(finished.code, Some(130));
    let mut written = String::new();
    soon("the pipe's end", stdout.read_to_string(&mut written)).await.unwrap();
    let cursor = finished.err.trim_end().rsplit(' ').next().unwrap();
    let whole_lines = &written[..=written.rfind('\n').unwrap()];
    assert!(
        whole_lines.contains(&format!("{{\"id\":\"{cursor}\"")),
        "{cursor} was told, but not written"
    );
}
