//! Behind Express with `compression` and `http-proxy-middleware`: what they would hold back arrives
//! at once.

use std::time::Duration;

use futures_util::StreamExt;
use rejoin_test_support::{Connection, TestServer, soon};
use reqwest::{Body, Client, Response};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::clients::script::Script;

/// The proxy, and its URL.
async fn proxy(server: &TestServer, more: &[&str]) -> (Script, String) {
    let (sender, port) = oneshot::channel();
    let target = server.url("");
    let script = Script::start("express.mjs", &[&[target.as_str()], more].concat(), move |lines| {
        let _ = sender.send(lines.next().unwrap()["port"].as_u64().unwrap());
        lines.for_each(drop);
    });
    let port = soon("the proxy", port).await.unwrap();
    (script, format!("http://127.0.0.1:{port}"))
}

async fn follow(proxy: &str, accept_encoding: &str) -> Response {
    let request =
        Client::new().get(format!("{proxy}/api/events")).header("accept-encoding", accept_encoding);
    request.header("last-event-id", "0").send().await.unwrap()
}

#[tokio::test]
async fn each_event_arrives_at_once() {
    for accept_encoding in ["gzip, deflate, br", "identity"] {
        let server = TestServer::start("").await;
        let (_script, proxy) = proxy(&server, &[]).await;
        let response = soon("the head", follow(&proxy, accept_encoding)).await;
        assert_eq!(response.headers().get("content-encoding"), None, "{accept_encoding}");
        let mut stream = Connection::of(response);
        for n in 0..20 {
            let id = server.publish("t", json!(n)).await;
            // The next one is published only when this one has come: nothing waits for company.
            let (got, event) = stream.event().await;
            assert_eq!((got, &event["payload"]), (Some(id), &json!(n)));
        }
    }
}

#[tokio::test]
async fn each_result_of_an_upload_arrives_at_once() {
    let server = TestServer::start("").await;
    let (_script, proxy) = proxy(&server, &[]).await;
    let (lines, mut receiver) = mpsc::channel::<String>(1);
    let body = Body::wrap_stream(
        futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
            .map(Ok::<_, std::io::Error>),
    );
    let request = Client::new()
        .post(format!("{proxy}/api/events"))
        .header("content-type", "application/x-ndjson");
    let request = request.header("accept-encoding", "gzip").body(body).send();
    let send =
        async || lines.send("{\"user_id\":\"local\",\"type\":\"t\"}\n".to_owned()).await.unwrap();
    let (response, ()) = soon("the head", async { tokio::join!(request, send()) }).await;
    let mut results = response.unwrap().bytes_stream();
    for n in 1..=20 {
        if n > 1 {
            send().await;
        }
        let result: Value =
            serde_json::from_slice(&soon("its result", results.next()).await.unwrap().unwrap())
                .unwrap();
        assert_eq!(result["line"], n);
    }
}

#[tokio::test]
async fn without_no_transform_events_are_held_back() {
    let server = TestServer::start("").await;
    let (_script, proxy) = proxy(&server, &["strip"]).await;
    let reading = async {
        let response = follow(&proxy, "gzip").await;
        let mut pieces = response.bytes_stream();
        // The head of a compressed body, and then nothing.
        let mut bytes = 0;
        while bytes < 100 {
            bytes += pieces.next().await.unwrap().unwrap().len();
        }
    };
    let publishing = async {
        loop {
            server.publish("t", json!("x".repeat(100))).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(2), async {
        tokio::select! { () = reading => true, () = publishing => false }
    });
    assert!(seen.await.is_err(), "the proxy compresses nothing any more: this test shows nothing");
}
