//! `/metrics`.

use std::process::Stdio;

use rejoin::app::signals::METRICS;
use rejoin_test_support::{Connection, TestServer, eventually};
use reqwest::Client;
use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command};
use uuid::Uuid;

async fn text(server: &TestServer) -> String {
    reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap()
}

/// A server on which everything has happened once.
async fn eventful_server() -> TestServer {
    let server =
        TestServer::start("sse.max_concurrent_per_user = 2\nevents.stream_maxlen = 2").await;
    let mut stream = Connection::open(&server.url("/api/events"), None).await;
    stream.expect().await;
    for n in 0..4 {
        server.publish("t", json!(n)).await;
        stream.event().await;
    }
    let mut rejoined = Connection::open(&server.url("/api/events"), Some("0")).await;
    assert_eq!(rejoined.event().await.1["type"], "backlog.truncated");
    rejoined.event().await;
    rejoined.event().await;
    assert_eq!(Connection::request(&server.url("/api/events"), None).await.status(), 429);
    let message = server.url(&format!("/api/messages/{}", Uuid::new_v4()));
    Client::new().put(&message).json(&json!({ "user_id": "local" })).send().await.unwrap();
    for sequence_no in [0, 0, 7] {
        Client::new()
            .post(format!("{message}/events"))
            .json(&json!({ "type": "chunk", "sequence_no": sequence_no }))
            .send()
            .await
            .unwrap();
    }
    drop((stream, rejoined));
    eventually("the connections are gone", async || server.connections() == 0).await;
    server
}

#[tokio::test]
async fn everything_that_happens_is_counted_and_open_things_are_taken_back() {
    let server = eventful_server().await;
    let expected = [
        (r#"rejoin_connections{channel="user"}"#, 0.0),
        (r#"rejoin_streams_ended_total{channel="user",reason="client_gone"}"#, 2.0),
        (r#"rejoin_deliveries_total{channel="user"}"#, 6.0),
        (r#"rejoin_publishes_total{outcome="appended"}"#, 4.0),
        (r#"rejoin_message_appends_total{outcome="appended"}"#, 1.0),
        (r#"rejoin_message_appends_total{outcome="duplicate"}"#, 1.0),
        (r#"rejoin_message_appends_total{outcome="refused"}"#, 1.0),
        (r#"rejoin_replays_total{channel="user"}"#, 1.0),
        (r#"rejoin_replayed_entries_total{channel="user"}"#, 2.0),
        (r#"rejoin_truncations_total{channel="user"}"#, 1.0),
        (r#"rejoin_refusals_total{code="too_many_connections"}"#, 1.0),
        (r#"rejoin_backend_up{backend="journal"}"#, 1.0),
        (r#"rejoin_publish_to_write_seconds_count{channel="user"}"#, 4.0),
        (r#"rejoin_backend_call_seconds_count{backend="journal",call="append"}"#, 4.0),
        (r#"rejoin_backend_call_seconds_count{backend="messages",call="append"}"#, 3.0),
        ("rejoin_leases", 0.0),
    ];
    for (metric, value) in expected {
        eventually(metric, async || server.metric(metric).await == Some(value)).await;
    }
}

#[tokio::test]
async fn open_streams_are_counted_by_channel() {
    let server = TestServer::start("").await;
    let connections = r#"rejoin_connections{channel="user"}"#;
    assert_eq!(server.metric(connections).await, Some(0.0));
    let streams = [
        Connection::open(&server.url("/api/events"), None).await,
        Connection::open(&server.url("/api/events"), None).await,
    ];
    assert_eq!(server.metric(connections).await, Some(2.0));
    assert_eq!(
        (server.metric("rejoin_leases").await, server.metric("rejoin_topics_followed").await),
        (Some(2.0), Some(1.0))
    );
    drop(streams);
    eventually("they are taken back", async || server.metric(connections).await == Some(0.0)).await;
}

#[tokio::test]
async fn no_user_and_no_message_is_named_in_the_metrics() {
    let server = TestServer::start("").await;
    let (user, id) = ("u-very-special", Uuid::new_v4());
    server.post(&json!({ "user_id": user, "type": "t.very.special" })).await;
    Client::new()
        .put(server.url(&format!("/api/messages/{id}")))
        .json(&json!({ "user_id": user }))
        .send()
        .await
        .unwrap();
    let text = text(&server).await;
    assert!(!text.contains("very") && !text.contains(&id.to_string()), "{text}");
}

#[tokio::test]
async fn promtool_finds_nothing_wrong() {
    let server = eventful_server().await;
    let text = text(&server).await;
    let check = |text: String| async move {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
        promtool.wait_with_output().await.unwrap()
    };
    let output = check(text.clone()).await;
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // It does find what is wrong.
    let output = check(text.replace("rejoin_refusals_total", "rejoin_refusals")).await;
    assert!(!output.status.success() || !output.stderr.is_empty());
}

#[tokio::test]
async fn every_metric_is_described_and_in_the_documentation() {
    let server = eventful_server().await;
    let text = text(&server).await;
    let documentation = include_str!("../../docs/operations/metrics.md");
    for metric in METRICS {
        let labels = if metric.labels.is_empty() {
            String::new()
        } else {
            format!(" `{}`", metric.labels.join("`, `"))
        };
        let row = format!(
            "| `{}` | {} |{labels} | {} |",
            metric.name,
            format!("{:?}", metric.kind).to_lowercase(),
            metric.help
        );
        assert!(documentation.contains(&row), "docs/operations/metrics.md lacks the row:\n{row}");
    }
    let described = |line: &&str| line.starts_with("# HELP");
    for help in text.lines().filter(described) {
        let name = help.split(' ').nth(2).unwrap();
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name} is not in METRICS");
    }
    for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name} is not in METRICS");
    }
}
