//! What is described is routed, and what is routed is described.

use std::{collections::BTreeSet, fs};

use rejoin_test_support::TestServer;
use reqwest::{Client, Method};
use serde_json::Value;

use crate::documents::pages;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

async fn description(url: String) -> Value {
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    answer.json().await.unwrap()
}

/// A path that is described, with ids in it.
fn example(path: &str) -> String {
    let id = if path.starts_with("/api/messages/") {
        "3d9f0c6e-7f0a-4f8e-9f0e-0f8d1c2b3a4d"
    } else {
        "local"
    };
    path.replace("{id}", id)
}

async fn code(server: &TestServer, method: &str, path: &str) -> (u16, String) {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    let answer = Client::new().request(method, server.url(path)).send().await.unwrap();
    let status = answer.status().as_u16();
    // A stream goes on: its status is all there is to see.
    let body: Value =
        if status == 200 { Value::Null } else { answer.json().await.unwrap_or_default() };
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn each_described_operation_is_there_and_no_other() {
    let server = TestServer::start("").await;
    let description = description(server.url("/openapi.json")).await;
    let paths = description["paths"].as_object().unwrap();
    for (path, operations) in paths {
        for method in METHODS {
            let (status, code) = code(&server, method, &example(path)).await;
            if operations.get(method).is_some() {
                assert!(
                    !["not_found", "method_not_allowed"].contains(&code.as_str()),
                    "{method} {path}: {status} {code}"
                );
            } else {
                assert_eq!(
                    (status, code.as_str()),
                    (405, "method_not_allowed"),
                    "{method} {path} is not described"
                );
            }
        }
    }
    // What lies around the described paths.
    let known: BTreeSet<String> = paths.keys().map(|path| example(path)).collect();
    let around = known.iter().flat_map(|path| {
        [format!("{path}/"), format!("{path}/x"), path.rsplit_once('/').unwrap().0.to_owned()]
    });
    for path in around.filter(|path| !path.is_empty() && !known.contains(path)) {
        // An id may be any text; `/console/` sends browsers to `/console`.
        if path != "/console/"
            && !path.starts_with("/api/messages/")
            && !path.starts_with("/api/admin/users/")
        {
            assert_eq!(
                code(&server, "get", &path).await,
                (404, "not_found".to_owned()),
                "{path} is not described"
            );
        }
    }
}

#[tokio::test]
async fn each_listener_describes_what_it_serves() {
    let server = TestServer::start("server.ops_listen = \"127.0.0.1:0\"").await;
    let (public, ops) = (
        description(server.url("/openapi.json")).await,
        description(server.ops_url("/openapi.json")).await,
    );
    let paths = |description: &Value| {
        description["paths"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>()
    };
    let (public, ops) = (paths(&public), paths(&ops));
    let all: Value = serde_json::from_str(&rejoin::adapters::http::description()).unwrap();
    assert_eq!(public.union(&ops).cloned().collect::<BTreeSet<_>>(), paths(&all));
    let both: Vec<&String> = public.intersection(&ops).collect();
    assert_eq!(both, ["/healthz", "/openapi.json", "/readyz"]);
    assert!(ops.contains("/api/admin/status") && ops.contains("/metrics"));
}

/// `routes!` registers a handler together with its description; there is to be no way past it.
#[test]
fn no_route_is_added_without_its_description() {
    let mut folders = vec![pages::path("src/adapters/http")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            // The files that the console's page loads are no API.
            if entry.ends_with("console/mod.rs") {
                continue;
            }
            let text = fs::read_to_string(&entry).unwrap_or_default();
            for way in [".route(", ".route_service(", ".nest(", ".nest_service("] {
                assert!(!text.contains(way), "{} adds a route by `{way}..)`", entry.display());
            }
        }
    }
}
