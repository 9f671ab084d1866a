//! HEAD, and what a path says that it takes.

use std::collections::BTreeSet;

use rejoin_test_support::TestServer;
use reqwest::{Client, Method, Response};
use serde_json::Value;

async fn call(server: &TestServer, method: &str, path: &str) -> Response {
    Client::new()
        .request(Method::from_bytes(method.as_bytes()).unwrap(), server.url(path))
        .send()
        .await
        .unwrap()
}

fn allow(response: &Response) -> BTreeSet<String> {
    response.headers()["allow"]
        .to_str()
        .unwrap()
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect()
}

#[tokio::test]
async fn promise_11_every_405_lists_what_the_path_takes() {
    let server = TestServer::start("").await;
    let description: Value = call(&server, "GET", "/openapi.json").await.json().await.unwrap();
    let (mut paths, mut streams) = (0, 0);
    for (template, operations) in description["paths"].as_object().unwrap() {
        let path = template.replace("{id}", "0d0d0d0d-0d0d-4d0d-8d0d-0d0d0d0d0d0d");
        let is_stream =
            operations["get"]["responses"]["200"]["content"].get("text/event-stream").is_some();
        let mut expected: BTreeSet<String> = ["get", "post", "put", "delete"]
            .into_iter()
            .filter(|method| operations.get(method).is_some())
            .map(str::to_ascii_uppercase)
            .collect();
        if expected.contains("GET") && !is_stream {
            expected.insert("HEAD".to_owned());
        }
        for method in ["PATCH", "HEAD", "GET", "POST", "PUT", "DELETE"] {
            // What the path takes would do something.
            if expected.contains(method) {
                continue;
            }
            let response = call(&server, method, &path).await;
            assert_eq!(
                (response.status().as_u16(), &allow(&response)),
                (405, &expected),
                "{method} {path}"
            );
        }
        (paths, streams) = (paths + 1, streams + usize::from(is_stream));
    }
    assert!(paths >= 15 && streams == 5, "{paths} {streams}");
    assert_eq!(
        allow(&call(&server, "PATCH", "/console/app.js").await),
        BTreeSet::from(["GET".into(), "HEAD".into()])
    );
}

#[tokio::test]
async fn head_is_answered_as_get_without_a_body() {
    let server = TestServer::start("").await;
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/console",
        "/api/admin/status",
        "/api/admin/users/local",
        "/api/admin/users/local/events",
        "/api/admin/users/local/events?limit=0",
        "/api/messages/0d0d0d0d-0d0d-4d0d-8d0d-0d0d0d0d0d0d",
        "/nothing",
    ] {
        let (get, head) = (call(&server, "GET", path).await, call(&server, "HEAD", path).await);
        assert_eq!(head.status(), get.status(), "{path}");
        assert_eq!(head.headers().get("content-type"), get.headers().get("content-type"), "{path}");
        assert_eq!(head.bytes().await.unwrap().len(), 0, "{path}");
    }
}
