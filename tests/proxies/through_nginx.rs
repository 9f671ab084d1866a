//! Streams and uploads through nginx.

use std::time::Duration;

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{Connection, TestServer, eventually, soon};
use reqwest::{Body, Client};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use crate::proxies::nginx::{Nginx, replaced};

async fn publish(nginx: &Nginx, n: usize) {
    let body = json!({ "user_id": "local", "type": "t", "payload": n });
    assert_eq!(
        Client::new().post(nginx.url("/api/events")).json(&body).send().await.unwrap().status(),
        201
    );
}

#[tokio::test]
async fn events_arrive_at_once_and_a_cursor_passes() {
    let server = TestServer::start("").await;
    let nginx = Nginx::start(server.address(), |site| site).await;
    let mut stream = Connection::open(&nginx.url("/api/events"), None).await;
    let mut last = None;
    for n in 0..50 {
        publish(&nginx, n).await;
        // The next one is published only when this one has come: nothing waits for company.
        let (id, event) = stream.event().await;
        assert_eq!(event["payload"], n);
        last = id;
    }
    drop(stream);
    publish(&nginx, 50).await;
    let mut rejoined = Connection::open(&nginx.url("/api/events"), last.as_deref()).await;
    assert_eq!(rejoined.event().await.1["payload"], 50);
}

#[tokio::test]
async fn without_these_settings_events_are_held_back() {
    let server = TestServer::start("").await;
    let buffering = |site: String| {
        let site = replaced(
            &site,
            "proxy_buffering off;",
            "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;",
        );
        replaced(&site, "gzip off;", "gzip on; gzip_types text/event-stream; gzip_min_length 1;")
    };
    let nginx = Nginx::start(server.address(), buffering).await;
    let request =
        Client::new().get(nginx.url("/api/events")).header("accept-encoding", "gzip").send();
    let read = async {
        let mut response = request.await.unwrap();
        response.chunk().await.unwrap()
    };
    let held = tokio::time::timeout(Duration::from_secs(2), async {
        let publishing = async {
            for n in 0..5 {
                publish(&nginx, n).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            piece = read => piece,
            () = publishing => None,
        }
    });
    assert!(held.await.is_err(), "something came at once: the tests above could not fail");
}

#[tokio::test]
async fn an_upload_is_answered_line_by_line() {
    let server = TestServer::start("").await;
    let nginx = Nginx::start(server.address(), |site| site).await;
    let mut stream = Connection::open(&nginx.url("/api/events"), None).await;
    let (lines, receiver) = mpsc::channel::<String>(1);
    let body =
        Body::wrap_stream(futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((Ok::<_, std::io::Error>(receiver.recv().await?), receiver))
        }));
    let request = Client::new()
        .post(nginx.url("/api/events"))
        .header("content-type", "application/x-ndjson")
        .body(body);
    let line = |n: u64| format!("{}\n", json!({ "user_id": "local", "type": "t", "payload": n }));
    let (response, sent) = soon("an answer before the request's end", async {
        tokio::join!(request.send(), lines.send(line(0)))
    })
    .await;
    sent.unwrap();
    let mut response = response.unwrap();
    for n in 0..5 {
        if n > 0 {
            lines.send(line(n)).await.unwrap();
        }
        assert_eq!(stream.event().await.1["payload"], n);
        let result: Value =
            serde_json::from_slice(&soon("its result", response.chunk()).await.unwrap().unwrap())
                .unwrap();
        assert_eq!((&result["line"], &result["success"]), (&json!(n + 1), &json!(true)));
    }
}

#[tokio::test]
async fn refusals_and_farewells_pass() {
    let server =
        TestServer::start("sse.max_concurrent_per_user = 1\nserver.drain_seconds = 1").await;
    let nginx = Nginx::start(server.address(), |site| site).await;
    let mut stream = Connection::open(&nginx.url("/api/events"), None).await;
    let refused = Connection::request(&nginx.url("/api/events"), None).await;
    assert_eq!(
        (refused.status().as_u16(), refused.headers().contains_key("retry-after")),
        (429, true)
    );
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "too_many_connections");
    let (in_time, ()) = tokio::join!(server.drain(), async {
        loop {
            match stream.expect().await {
                Decoded::Comment(comment) if comment == "draining" => break,
                _ => {}
            }
        }
        assert_eq!(soon("the end", stream.next()).await, None);
    });
    assert!(in_time);
}

#[tokio::test]
#[ignore = "takes more than three minutes: scripts/test --test programs proxies -- --ignored"]
async fn idle_streams_live_for_three_minutes() {
    let server = TestServer::start("").await;
    let nginx = Nginx::start(server.address(), |site| site).await;
    let message = nginx.url(&format!("/api/messages/{}", uuid::Uuid::new_v4()));
    assert_eq!(
        Client::new()
            .put(&message)
            .json(&json!({ "user_id": "local" }))
            .send()
            .await
            .unwrap()
            .status(),
        201
    );
    let mut events = Connection::open(&nginx.url("/api/events"), None).await;
    let mut chunks = Connection::open(&format!("{message}/events"), None).await;
    let until = Instant::now() + Duration::from_secs(190);
    let mut keepalives = 0;
    while let Ok(decoded) = tokio::time::timeout_at(until, events.next()).await {
        match decoded.expect("the stream lives") {
            Decoded::Comment(comment) if comment == "keepalive" => {
                keepalives += 1;
                // The producer of the message thinks, and lives.
                assert_eq!(
                    Client::new()
                        .post(format!("{message}/heartbeat"))
                        .send()
                        .await
                        .unwrap()
                        .status(),
                    200
                );
            }
            _ => {}
        }
    }
    assert!((11..=13).contains(&keepalives), "{keepalives} keepalives");
    publish(&nginx, 1).await;
    assert_eq!(events.event().await.1["payload"], 1, "over the same connection");
    let chunk = Client::new()
        .post(format!("{message}/events"))
        .json(&json!({ "type": "chunk", "payload": { "n": 1 } }));
    assert_eq!(chunk.send().await.unwrap().status(), 201);
    assert_eq!(chunks.event().await.1["n"], 1);
}

#[tokio::test]
async fn a_bare_proxy_pass_frees_the_slots_of_clients_that_leave() {
    // No keepalive shows that a client has left.
    let server = TestServer::start("sse.keepalive_seconds = 3600").await;
    let bare = |site: String| {
        let site = replaced(&site, "proxy_http_version 1.1;", "");
        replaced(&site, "proxy_set_header Connection \"\";", "")
    };
    let nginx = Nginx::start(server.address(), bare).await;
    // Page loads, each of which closes the stream of the one before: eight is the cap.
    for n in 0..20 {
        let mut stream = Connection::open(&nginx.url("/api/events"), None).await;
        assert_eq!(stream.expect().await, Decoded::Comment("connected".into()));
        publish(&nginx, n).await;
        assert_eq!(stream.event().await.1["payload"], n);
        drop(stream);
        eventually("its slot is free", async || server.connections() == 0).await;
    }
}
