//! Pages that a browser on this machine has open, and a server that asks for no token: who may
//! change and administer.

use rejoin_test_support::{Connection, TestServer};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

const EVIL: &str = "https://evil.example";
const MESSAGE: &str = "/api/messages/6b1f7f10-59f3-4e12-8f5f-0f1f6c2b7e11";

/// A call as a browser makes it for a page of that origin, of the kind that needs no preflight.
async fn call(server: &TestServer, origin: &str, method: &Method, path: &str) -> Response {
    let request = Client::new()
        .request(method.clone(), server.url(path))
        .header("origin", origin)
        .header("content-type", "text/plain");
    request.body(if *method == Method::GET { "" } else { "{}" }).send().await.unwrap()
}

async fn status_and_code(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    // What is answered may be a stream.
    if answer.status().is_success() {
        return (status, String::new());
    }
    let body: Value = answer.json().await.unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// All that changes or administers.
fn calls() -> Vec<(Method, String)> {
    let below = |path: &str| format!("{MESSAGE}{path}");
    vec![
        (Method::POST, "/api/events".to_owned()),
        (Method::POST, "/api/v1/events".to_owned()),
        (Method::PUT, below("")),
        (Method::POST, below("/events")),
        (Method::POST, below("/end")),
        (Method::POST, below("/heartbeat")),
        (Method::POST, below("/stop")),
        (Method::DELETE, below("")),
        (Method::GET, "/api/admin/status".to_owned()),
        (Method::GET, "/api/admin/users/local".to_owned()),
        (Method::GET, "/api/admin/users/local/events".to_owned()),
        (Method::GET, "/api/admin/users/local/events/stream".to_owned()),
        (Method::POST, "/api/admin/users/local/events".to_owned()),
        (Method::DELETE, "/api/admin/users/local/events".to_owned()),
        (Method::DELETE, "/api/admin/users/local/connections".to_owned()),
        (Method::GET, format!("/api/admin{}", MESSAGE.trim_start_matches("/api"))),
        (Method::OPTIONS, "/api/events".to_owned()),
        (Method::PATCH, "/api/events".to_owned()),
    ]
}

#[tokio::test]
async fn promise_8_without_tokens_a_foreign_page_changes_and_administers_nothing() {
    let server = TestServer::start("").await;
    let opened = Client::new()
        .put(server.url(MESSAGE))
        .json(&json!({ "user_id": "local" }))
        .send()
        .await
        .unwrap();
    assert_eq!(opened.status(), 201);
    let kept = server.publish("kept", json!(1)).await;
    for origin in [
        EVIL,
        "null",
        "http://localhost.evil.example",
        "http://127.0.0.1.nip.io:8080",
        "http://192.0.2.1",
        "localhost",
        "file://",
        "chrome-extension://localhost",
    ] {
        for (method, path) in calls() {
            let answer = call(&server, origin, &method, &path).await;
            assert_eq!(
                answer.headers().get("access-control-allow-origin"),
                None,
                "{origin} {method} {path}"
            );
            assert_eq!(
                status_and_code(answer).await,
                (403, "origin_not_allowed".to_owned()),
                "{origin} {method} {path}"
            );
        }
    }
    let twice = Client::new()
        .post(server.url("/api/events"))
        .header("origin", "http://localhost")
        .header("origin", EVIL);
    assert_eq!(status_and_code(twice.send().await.unwrap()).await.1, "origin_not_allowed");
    // Nothing has happened.
    let message: Value =
        Client::new().get(server.url(MESSAGE)).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&message["status"], &message["stop"]),
        (&json!("streaming"), &json!(false)),
        "{message}"
    );
    let mut stream = Connection::of(
        Client::new().get(server.url("/api/events?last_event_id=0")).send().await.unwrap(),
    );
    assert_eq!(stream.event().await.0, Some(kept));
}

#[tokio::test]
async fn pages_of_this_machine_and_named_ones_may() {
    let named = "server.cors_origins = [\"https://app.example\"]";
    for (settings, origin) in [
        ("", "http://localhost"),
        ("", "http://localhost:3000"),
        ("", "https://app.localhost:5173"),
        ("", "http://127.0.0.1:8080"),
        ("", "http://[::1]:1"),
        (named, "https://app.example"),
        (named, "http://localhost:3000"),
        ("server.cors_origins = [\"*\"]", EVIL),
        ("server.cors_origins = [\"*\"]", "null"),
        ("auth.allow_insecure = true", EVIL),
        (
            "auth.mode = \"jwt\"\nauth.jwt.secret = \"a secret that only these tests know, long enough\"",
            EVIL,
        ),
    ] {
        let server = TestServer::start(settings).await;
        for (method, path) in calls() {
            let (status, code) = status_and_code(call(&server, origin, &method, &path).await).await;
            assert!(
                code != "origin_not_allowed" && code != "host_not_allowed",
                "{settings} {origin} {method} {path}: {status} {code}"
            );
        }
    }
}

#[tokio::test]
async fn a_foreign_page_that_only_reads_is_left_to_cors() {
    let server = TestServer::start("").await;
    for path in ["/healthz", "/api/events", MESSAGE] {
        let answer = call(&server, EVIL, &Method::GET, path).await;
        assert_eq!(answer.headers().get("access-control-allow-origin"), None);
        assert_ne!(answer.status(), 403, "{path}");
    }
}

#[tokio::test]
async fn a_preflight_says_what_the_call_would() {
    let server = TestServer::start("server.cors_origins = [\"https://app.example\"]").await;
    let ask = async |origin: &str| {
        let request = Client::new()
            .request(Method::OPTIONS, server.url("/api/events"))
            .header("origin", origin);
        let request = request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        request.send().await.unwrap()
    };
    let good = ask("https://app.example").await;
    assert_eq!(
        (good.status().as_u16(), &good.headers()["access-control-allow-origin"]),
        (200, &"https://app.example".parse().unwrap())
    );
    assert_eq!(status_and_code(ask(EVIL).await).await, (403, "origin_not_allowed".to_owned()));
    // A page that may call can read a refusal, also this one.
    let request = Client::new()
        .get(server.url("/api/events"))
        .header("origin", "https://app.example")
        .header("host", "evil.example");
    let refused = request.send().await.unwrap();
    assert_eq!(refused.headers()["access-control-allow-origin"], "https://app.example");
    assert!(refused.headers().contains_key("x-request-id"));
    assert_eq!(status_and_code(refused).await, (403, "host_not_allowed".to_owned()));
}
