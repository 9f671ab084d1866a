//! Pages of other origins.

use rejoin_test_support::TestServer;
use reqwest::{Client, Method, Response};

async fn preflight(server: &TestServer, origin: &str) -> Response {
    let request = Client::new().request(Method::OPTIONS, server.url("/api/events")).header("origin", origin);
    let request = request
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,last-event-id,idempotency-key");
    request.send().await.unwrap()
}

fn allowed(response: &Response) -> Option<&str> {
    response.headers().get("access-control-allow-origin").and_then(|value| value.to_str().ok())
}

#[tokio::test]
async fn without_a_setting_no_other_origin_is_let_in() {
    let server = TestServer::start("").await;
    assert_eq!(allowed(&preflight(&server, "https://app.example").await), None);
    let response = Client::new().get(server.url("/api/events")).header("origin", "https://app.example").send().await.unwrap();
    assert_eq!(allowed(&response), None);
}

#[tokio::test]
async fn a_named_origin_may_read_publish_and_send_its_cookie() {
    let server = TestServer::start("server.cors_origins = [\"https://app.example\"]").await;
    let response = preflight(&server, "https://app.example").await;
    assert_eq!(allowed(&response), Some("https://app.example"));
    assert_eq!(response.headers()["access-control-allow-credentials"], "true");
    let headers = response.headers()["access-control-allow-headers"].to_str().unwrap();
    assert!(["authorization", "last-event-id", "idempotency-key"].iter().all(|name| headers.contains(name)), "{headers}");
    assert_eq!(allowed(&preflight(&server, "https://evil.example").await), None);
    // The stream itself leaves hyper, and has to carry the same headers.
    let response = Client::new().get(server.url("/api/events")).header("origin", "https://app.example").send().await.unwrap();
    assert_eq!(allowed(&response), Some("https://app.example"));
}

#[tokio::test]
async fn any_origin_may_be_let_in_but_not_with_its_cookie() {
    let server = TestServer::start("server.cors_origins = [\"*\"]").await;
    let response = preflight(&server, "https://anything.example").await;
    assert_eq!(allowed(&response), Some("*"));
    assert_eq!(response.headers().get("access-control-allow-credentials"), None);
}
