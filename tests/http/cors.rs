//! Pages of other origins.

use rejoin_test_support::TestServer;
use reqwest::{Client, Method, Response};

/// Headers that a page may want to send: those that we know, and what tracing and gateways add.
const HEADERS: &str = "authorization,content-type,last-event-id,idempotency-key,baggage,x-datadog-trace-id,x-anything";

async fn preflight(server: &TestServer, origin: &str) -> Response {
    let request =
        Client::new().request(Method::OPTIONS, server.url("/api/events")).header("origin", origin);
    let request = request
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", HEADERS);
    request.send().await.unwrap()
}

/// What a page of `https://app.example` sees of an answer.
async fn get(server: &TestServer, path: &str) -> Response {
    Client::new()
        .get(server.url(path))
        .header("origin", "https://app.example")
        .send()
        .await
        .unwrap()
}

fn assert_all_headers_may_be_sent(preflight: &Response) {
    let allowed = preflight.headers()["access-control-allow-headers"].to_str().unwrap();
    // `*` would not cover `Authorization`.
    assert!(
        HEADERS.split(',').all(|name| allowed.split(',').any(|allowed| allowed.trim() == name)),
        "{allowed}"
    );
}

fn assert_refusals_can_be_read(answer: &Response) {
    let exposed =
        answer.headers()["access-control-expose-headers"].to_str().unwrap().to_ascii_lowercase();
    let exposed: Vec<&str> = exposed.split(',').map(str::trim).collect();
    assert!(
        ["retry-after", "x-request-id", "www-authenticate"]
            .iter()
            .all(|name| exposed.contains(name)),
        "{exposed:?}"
    );
}

fn allowed(response: &Response) -> Option<&str> {
    response.headers().get("access-control-allow-origin").and_then(|value| value.to_str().ok())
}

#[tokio::test]
async fn without_a_setting_no_other_origin_is_let_in() {
    let server = TestServer::start("").await;
    assert_eq!(allowed(&preflight(&server, "https://app.example").await), None);
    assert_eq!(allowed(&get(&server, "/api/events").await), None);
}

#[tokio::test]
async fn a_named_origin_may_read_publish_and_send_its_cookie() {
    let server = TestServer::start("server.cors_origins = [\"https://app.example\"]").await;
    let response = preflight(&server, "https://app.example").await;
    assert_eq!(allowed(&response), Some("https://app.example"));
    assert_eq!(response.headers()["access-control-allow-credentials"], "true");
    assert_all_headers_may_be_sent(&response);
    assert_eq!(allowed(&preflight(&server, "https://evil.example").await), None);
    // The stream itself leaves hyper, and has to carry the same headers.
    for path in ["/api/events", "/api/events?categories=nonsense"] {
        let response = get(&server, path).await;
        assert_eq!(allowed(&response), Some("https://app.example"), "{path}");
        assert_refusals_can_be_read(&response);
    }
}

#[tokio::test]
async fn any_origin_may_be_let_in_but_not_with_its_cookie() {
    let server = TestServer::start("server.cors_origins = [\"*\"]").await;
    let response = preflight(&server, "https://anything.example").await;
    assert_eq!(allowed(&response), Some("*"));
    assert_eq!(response.headers().get("access-control-allow-credentials"), None);
    assert_all_headers_may_be_sent(&response);
    assert_refusals_can_be_read(&get(&server, "/api/events?categories=nonsense").await);
}
