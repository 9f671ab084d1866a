//! Who may produce, read and stop which message.

use std::time::Duration;

use rejoin::{
    domain::access::Scope,
    testing::{settings_with_tokens, token},
};
use rejoin_test_support::TestServer;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::messages::server::{answer, path};

async fn server() -> TestServer {
    TestServer::start(&settings_with_tokens(
        "auth.cookie = \"session\"\nmessages.open_wait_seconds = 1",
    ))
    .await
}

fn producer() -> String {
    token(None, &[Scope::MessagesPublish])
}

fn request(server: &TestServer, method: Method, id: Uuid, below: &str) -> RequestBuilder {
    Client::new().request(method, server.url(&path(id, below)))
}

/// A message of `u1`, that has ended.
async fn message_of_u1(server: &TestServer) -> Uuid {
    let id = Uuid::new_v4();
    let open = request(server, Method::PUT, id, "")
        .bearer_auth(producer())
        .json(&json!({ "user_id": "u1" }));
    assert_eq!(answer(open).await.0, 201);
    let end = request(server, Method::POST, id, "/events")
        .bearer_auth(producer())
        .json(&json!({ "type": "end" }));
    assert_eq!(answer(end).await.0, 201);
    id
}

#[tokio::test]
async fn promise_8_somebody_elses_message_and_none_look_the_same() {
    let server = server().await;
    let (theirs, nobodys) = (message_of_u1(&server).await, Uuid::new_v4());
    for (method, below) in [(Method::GET, "/events"), (Method::GET, ""), (Method::POST, "/stop")] {
        let seen = async |id| {
            let asked = Instant::now();
            let response = request(&server, method.clone(), id, below)
                .bearer_auth(token(Some("u2"), &[]))
                .send()
                .await
                .unwrap();
            let has_waited = asked.elapsed() >= Duration::from_millis(900);
            let headers: Vec<String> = response.headers().keys().map(ToString::to_string).collect();
            (response.status().as_u16(), headers, response.text().await.unwrap(), has_waited)
        };
        let (mut of_theirs, mut of_nobodys) = (seen(theirs).await, seen(nobodys).await);
        of_theirs.1.sort();
        of_nobodys.1.sort();
        assert_eq!(of_theirs, of_nobodys, "{method} {below}");
        assert_eq!(
            (of_theirs.0, of_theirs.3),
            (404, below == "/events"),
            "a reader waits for either, and finds neither"
        );
    }
}

#[tokio::test]
async fn its_owner_reads_and_stops_it_but_can_not_produce() {
    let server = server().await;
    let id = message_of_u1(&server).await;
    let as_owner = |method, below: &'static str| {
        request(&server, method, id, below).bearer_auth(token(Some("u1"), &[]))
    };
    assert_eq!(as_owner(Method::GET, "/events").send().await.unwrap().status(), 200);
    assert_eq!(answer(as_owner(Method::GET, "")).await.1["user_id"], "u1");
    assert_eq!(answer(as_owner(Method::POST, "/stop")).await.0, 200);
    let produce = [
        as_owner(Method::PUT, "").json(&json!({ "user_id": "u1" })),
        as_owner(Method::POST, "/events").json(&json!({ "type": "chunk" })),
        as_owner(Method::POST, "/heartbeat"),
        as_owner(Method::DELETE, ""),
    ];
    for request in produce {
        let (status, body) = answer(request).await;
        assert_eq!((status, &body["code"]), (403, &json!("forbidden")), "{body}");
    }
}

#[tokio::test]
async fn a_producer_sees_the_state_of_a_message_but_is_no_reader() {
    let server = server().await;
    let id = message_of_u1(&server).await;
    assert_eq!(
        answer(request(&server, Method::GET, id, "").bearer_auth(producer())).await.1["status"],
        "complete"
    );
    assert_eq!(
        answer(request(&server, Method::GET, id, "/events").bearer_auth(producer())).await.0,
        403
    );
    let admin = token(Some("root"), &[Scope::Admin]);
    assert_eq!(answer(request(&server, Method::GET, id, "").bearer_auth(&admin)).await.0, 200);
    assert_eq!(
        answer(request(&server, Method::GET, id, "/events").bearer_auth(admin)).await.0,
        404
    );
}

#[tokio::test]
async fn a_cookie_reads_and_does_nothing_else() {
    let server = server().await;
    let id = message_of_u1(&server).await;
    let cookie = format!("session={}", token(Some("u1"), &[]));
    assert_eq!(
        request(&server, Method::GET, id, "/events")
            .header("cookie", &cookie)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let (status, body): (u16, Value) =
        answer(request(&server, Method::POST, id, "/stop").header("cookie", &cookie)).await;
    assert_eq!((status, &body["code"]), (401, &json!("missing_credentials")));
}

#[tokio::test]
async fn promise_8_the_scope_messages_read_reads_every_message_and_does_nothing_else() {
    let server = server().await;
    let id = message_of_u1(&server).await;
    let service = || token(None, &[Scope::MessagesRead]);
    for below in ["", "/events"] {
        let seen = request(&server, Method::GET, id, below).bearer_auth(service());
        assert_eq!(seen.send().await.unwrap().status(), 200, "{below}");
        let unknown = request(&server, Method::GET, Uuid::new_v4(), below).bearer_auth(service());
        assert_eq!(answer(unknown).await.0, 404, "{below}");
    }
    for (method, below, status) in [
        (Method::POST, "/stop", 404),
        (Method::POST, "/events", 403),
        (Method::POST, "/end", 403),
        (Method::POST, "/heartbeat", 403),
        (Method::DELETE, "", 403),
    ] {
        let asked = request(&server, method.clone(), id, below).bearer_auth(service());
        assert_eq!(answer(asked.json(&json!({ "type": "t" }))).await.0, status, "{method} {below}");
    }
    let events = Client::new().get(server.url("/api/events")).bearer_auth(service());
    assert_eq!(answer(events).await.0, 403, "the scope is for messages");
}

#[tokio::test]
async fn a_service_that_reads_takes_none_of_the_owners_slots() {
    let server = TestServer::start(&settings_with_tokens("sse.max_concurrent_per_user = 1")).await;
    let id = Uuid::new_v4();
    let open = request(&server, Method::PUT, id, "").bearer_auth(producer());
    assert_eq!(answer(open.json(&json!({ "user_id": "u1" }))).await.0, 201);
    let read = async |token: String| {
        request(&server, Method::GET, id, "/events").bearer_auth(token).send().await.unwrap()
    };
    let service = || token(Some("u2"), &[Scope::MessagesRead]);
    let held = [read(service()).await, read(service()).await];
    let owner = read(token(Some("u1"), &[])).await;
    assert_eq!(
        (held[0].status(), held[1].status(), owner.status().as_u16()),
        (reqwest::StatusCode::OK, reqwest::StatusCode::OK, 200)
    );
    assert_eq!(
        read(token(Some("u1"), &[Scope::MessagesRead])).await.status(),
        429,
        "the owner's own cap holds"
    );
}
