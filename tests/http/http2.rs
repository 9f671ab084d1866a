//! The same streams over HTTP/2 without TLS, on the same port.

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{Connection, TestServer, eventually};
use reqwest::{Client, Version};
use serde_json::json;

fn client() -> Client {
    Client::builder().http2_prior_knowledge().build().unwrap()
}

#[tokio::test]
async fn a_stream_over_http_2_says_the_same() {
    let server = TestServer::start("").await;
    let client = client();
    let response = client.get(server.url("/api/events")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers().get("content-length"), None);
    let mut stream = Connection::of(response);
    assert_eq!(stream.expect().await, Decoded::Comment("connected".into()));
    // Publish over the same connection.
    let event = json!({ "user_id": "local", "type": "t", "payload": 1 });
    let answer = client.post(server.url("/api/events")).json(&event).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (201, Version::HTTP_2));
    assert_eq!(stream.event().await.1["payload"], 1);
}

#[tokio::test]
async fn a_stream_that_its_client_drops_frees_its_slot() {
    let server = TestServer::start("").await;
    let client = client();
    let stream = Connection::of(client.get(server.url("/api/events")).send().await.unwrap());
    assert_eq!(server.connections(), 1);
    drop(stream);
    eventually("the slot is free", async || server.connections() == 0).await;
}

#[tokio::test]
async fn many_streams_share_one_connection() {
    let server = TestServer::start("sse.max_concurrent_per_user = 0").await;
    let client = client();
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(Connection::of(client.get(server.url("/api/events")).send().await.unwrap()));
    }
    let id = server.publish("t", json!(1)).await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.0.as_ref(), Some(&id));
    }
}
