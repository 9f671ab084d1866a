//! Request ids, and the listener of operators.

use rejoin_test_support::TestServer;
use reqwest::{Client, StatusCode};

#[tokio::test]
async fn every_answer_carries_the_requests_id() {
    let server = TestServer::start("").await;
    let id_of = async |sent: Option<&str>, path: &str| {
        let mut request = Client::new().get(server.url(path));
        if let Some(id) = sent {
            request = request.header("x-request-id", id);
        }
        request.send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    for path in ["/healthz", "/api/events", "/nothing", "/api/messages/x"] {
        assert_eq!(id_of(Some("mine-7"), path).await, "mine-7", "{path}");
        assert_eq!(id_of(None, path).await.len(), 32, "{path}");
        assert_eq!(
            id_of(Some(&"x".repeat(200)), path).await.len(),
            32,
            "an id that is too long is replaced"
        );
    }
}

#[tokio::test]
async fn operators_may_have_a_listener_of_their_own() {
    let status = async |url: String| reqwest::get(url).await.unwrap().status();
    let together = TestServer::start("").await;
    assert_eq!(status(together.url("/metrics")).await, StatusCode::OK);
    let apart = TestServer::start("server.ops_listen = \"127.0.0.1:0\"").await;
    assert_eq!(status(apart.url("/metrics")).await, StatusCode::NOT_FOUND);
    assert_eq!(status(apart.ops_url("/metrics")).await, StatusCode::OK);
    assert_eq!(status(apart.ops_url("/api/events")).await, StatusCode::NOT_FOUND);
    for url in [
        apart.url("/healthz"),
        apart.ops_url("/healthz"),
        apart.url("/readyz"),
        apart.ops_url("/readyz"),
    ] {
        assert_eq!(status(url).await, StatusCode::OK);
    }
    assert!(apart.drain().await, "both listeners end");
}
