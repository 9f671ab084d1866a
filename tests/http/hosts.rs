//! The host that a request is for: one, well-formed, and where no token is asked for one of this
//! machine.

use std::net::SocketAddr;

use rejoin_test_support::{Connection, TestServer};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::http::hostile::raw;

const JWT: &str =
    "auth.mode = \"jwt\"\nauth.jwt.secret = \"a secret that only these tests know, long enough\"";
const OPEN: &str = "auth.allow_insecure = true";

/// A status, and the code of a refusal.
fn status_and_code(answer: &str) -> (u16, String) {
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let code = serde_json::from_str::<Value>(body)
        .ok()
        .and_then(|body| Some(body["code"].as_str()?.to_owned()));
    (status, code.unwrap_or_default())
}

/// A client for which that name means this server, as after DNS rebinding.
fn client_of(name: &str, address: SocketAddr, http2: bool) -> Client {
    let client = Client::builder().no_proxy().resolve(name, address);
    if http2 { client.http2_prior_knowledge() } else { client }.build().unwrap()
}

async fn ask(client: &Client, method: &str, url: &str) -> (u16, Value) {
    let request = client.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
    let answer = request.header("access-control-request-method", "POST").send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_request_without_one_good_host_is_refused_in_every_mode() {
    for mode in ["", OPEN, JWT] {
        let server = TestServer::start(mode).await;
        for target in [
            "GET /healthz",
            "GET /api/events",
            "POST /api/events",
            "GET /nothing",
            "OPTIONS /api/events",
            "DELETE /healthz",
        ] {
            for (name, version, headers) in [
                ("none", "1.1", ""),
                ("empty", "1.1", "host: \r\n"),
                ("twice the same", "1.1", "host: localhost\r\nhost: localhost\r\n"),
                ("two", "1.1", "host: localhost\r\nHOST: evil.example\r\n"),
                ("two in HTTP/1.0", "1.0", "host: localhost\r\nhost: evil.example\r\n"),
                ("a path", "1.1", "host: localhost/x\r\n"),
                ("a user", "1.1", "host: user@localhost\r\n"),
                ("no port", "1.1", "host: localhost:x\r\n"),
                ("a list", "1.1", "host: localhost, evil.example\r\n"),
                ("no brackets", "1.1", "host: ::1\r\n"),
                ("odd bytes", "1.1", "host: \u{e9}\r\n"),
            ] {
                let request = format!(
                    "{target} HTTP/{version}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
                );
                let answer = status_and_code(&raw(&server, request.as_bytes()).await);
                assert_eq!(answer, (400, "invalid_host".to_owned()), "{mode:?} {target} {name}");
            }
        }
        let answer =
            raw(&server, b"GET http://localhost/healthz HTTP/1.1\r\nconnection: close\r\n\r\n")
                .await;
        assert_eq!(status_and_code(&answer), (400, "invalid_host".to_owned()));
        for good in [
            "GET /healthz HTTP/1.0\r\n\r\n",
            "GET http://localhost:1/healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        ] {
            assert_eq!(
                status_and_code(&raw(&server, good.as_bytes()).await).0,
                200,
                "{mode:?} {good:?}"
            );
        }
    }
}

#[tokio::test]
async fn two_authorization_headers_are_refused_in_every_mode() {
    for mode in ["", OPEN, JWT] {
        let server = TestServer::start(mode).await;
        for target in [
            "GET /healthz",
            "GET /api/events",
            "POST /api/events",
            "GET /api/admin/status",
            "OPTIONS /api/events",
        ] {
            let twice = "authorization: Bearer x\r\nauthorization: Bearer x\r\n";
            let request = format!(
                "{target} HTTP/1.1\r\nhost: localhost\r\n{twice}content-length: 0\r\nconnection: close\r\n\r\n"
            );
            let answer = status_and_code(&raw(&server, request.as_bytes()).await);
            assert_eq!(answer, (400, "invalid_authorization".to_owned()), "{mode:?} {target}");
        }
    }
}

/// DNS rebinding: a page's own name is made to mean this machine, so that the browser takes the
/// server for the page's own.
#[tokio::test]
async fn promise_8_without_tokens_nothing_is_answered_under_another_machines_name() {
    let server = TestServer::start("server.ops_listen = \"127.0.0.1:0\"").await;
    let ops: SocketAddr = server.ops_url("").strip_prefix("http://").unwrap().parse().unwrap();
    let calls = [
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /openapi.json",
        "GET /console",
        "GET /nothing",
        "GET /api/events",
        "GET /api/v1/events?errors=stream",
        "POST /api/events",
        "OPTIONS /api/events",
        "GET /api/admin/status",
        "GET /api/admin/users/local/events",
        "DELETE /api/admin/users/local/events",
        "PUT /api/messages/6b1f7f10-59f3-4e12-8f5f-0f1f6c2b7e11",
    ];
    for name in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "rejoin"] {
        for (address, http2) in [(server.address(), false), (server.address(), true), (ops, false)]
        {
            let client = client_of(name, address, http2);
            for call in calls {
                let (method, path) = call.split_once(' ').unwrap();
                let (status, body) =
                    ask(&client, method, &format!("http://{name}:{}{path}", address.port())).await;
                assert_eq!(
                    (status, body["code"].as_str()),
                    (403, Some("host_not_allowed")),
                    "{name} {call}: {body}"
                );
                let message = body["message"].as_str().unwrap();
                assert!(
                    message.contains("localhost")
                        && message.contains("auth.mode")
                        && message.contains("auth.allow_insecure"),
                    "{message}"
                );
            }
        }
    }
    // The target counts, not the header beside it.
    let answer = raw(
        &server,
        b"GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status_and_code(&answer), (403, "host_not_allowed".to_owned()));
}

#[tokio::test]
async fn this_machines_names_are_answered_and_others_where_that_is_meant() {
    for (mode, names) in [
        (
            "",
            &[
                "localhost",
                "LocalHost:1",
                "localhost.",
                "app.localhost:3000",
                "127.0.0.1",
                "127.1.2.3:80",
                "[::1]",
                "[::1]:8080",
            ][..],
        ),
        (OPEN, &["events.example", "192.0.2.1:8080", "localhost"]),
        (JWT, &["events.example", "192.0.2.1:8080", "localhost"]),
    ] {
        let server = TestServer::start(mode).await;
        for name in names {
            let request =
                format!("GET /healthz HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
            assert_eq!(
                status_and_code(&raw(&server, request.as_bytes()).await).0,
                200,
                "{mode:?} {name}"
            );
        }
        for http2 in [false, true] {
            let client = client_of("app.localhost", server.address(), http2);
            let url = format!("http://app.localhost:{}/healthz", server.address().port());
            assert_eq!(ask(&client, "GET", &url).await.0, 200, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_too_many_is_no_way_round() {
    let server = TestServer::start("server.max_connections = 1").await;
    let stream = Connection::of(Client::new().get(server.url("/api/events")).send().await.unwrap());
    for (host, target, expected) in [
        ("evil.example", "/healthz", (403, "host_not_allowed")),
        ("evil.example", "/metrics", (403, "host_not_allowed")),
        ("evil.example", "/api/events", (403, "host_not_allowed")),
        ("", "/healthz", (400, "invalid_host")),
        ("localhost", "/api/events", (503, "server_full")),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let (status, code) = status_and_code(&raw(&server, request.as_bytes()).await);
        assert_eq!((status, code.as_str()), expected, "{host} {target}");
    }
    drop(stream);
}

#[tokio::test]
async fn an_empty_token_is_nobodys() {
    let server =
        TestServer::start(&format!("{JWT}\nauth.query_token = true\nauth.cookie = \"session\""))
            .await;
    for headers in [
        "authorization: Bearer \r\n",
        "authorization: Bearer\r\n",
        "authorization: Bearer \t \r\n",
        "cookie: session=\r\n",
    ] {
        for target in ["GET /api/events?access_token=", "POST /api/events", "GET /api/admin/status"]
        {
            let request = format!(
                "{target} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
            );
            let answer = status_and_code(&raw(&server, request.as_bytes()).await);
            assert_eq!(answer, (401, "missing_credentials".to_owned()), "{target} {headers}");
        }
    }
    // HTTP/2 carries what HTTP/1.1 cuts off.
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    let event = json!({ "user_id": "u1", "type": "t" });
    let answer = client
        .post(server.url("/api/events"))
        .header("authorization", "Bearer ")
        .json(&event)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "missing_credentials");
}
