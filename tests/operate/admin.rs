//! What an operator can see and do.

use std::time::Duration;

use rejoin::{
    adapters::{
        auth::mint::{self, TokenRequest},
        system_clock::SystemClock,
    },
    domain::{access::Scope, frame_decoder::Decoded, topic::UserId},
    ports::clock::Clock,
};
use rejoin_test_support::{Connection, TestServer, eventually};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

const SECRET: &str = "a secret that only these tests know, long enough";

async fn server() -> TestServer {
    TestServer::start(&format!("auth.mode = \"jwt\"\nauth.jwt.secret = \"{SECRET}\"\nauth.cookie = \"session\"")).await
}

fn token(user: &str, scopes: &[Scope]) -> String {
    let (user, ttl) = (UserId::parse(user).ok(), Duration::from_mins(10));
    mint::token(SECRET, &TokenRequest { user, scopes: scopes.iter().copied().collect(), ttl, ..TokenRequest::default() }, SystemClock.now())
        .unwrap()
}

async fn ask(server: &TestServer, method: Method, path: &str) -> (u16, Value) {
    let request = Client::new().request(method, server.url(path)).bearer_auth(token("root", &[Scope::Admin]));
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn publish(server: &TestServer, user: &str, n: usize) {
    let body = json!({ "user_id": user, "type": "t", "payload": n });
    let request = Client::new().post(server.url("/api/events")).bearer_auth(token("app", &[Scope::EventsPublish])).json(&body);
    assert_eq!(request.send().await.unwrap().status(), 201);
}

async fn follow(server: &TestServer, user: &str, path: &str) -> Connection {
    Connection::of(Client::new().get(server.url(path)).bearer_auth(token(user, &[])).send().await.unwrap())
}

#[tokio::test]
async fn a_users_state_is_shown_and_looking_costs_them_nothing() {
    let server = server().await;
    for n in 0..3 {
        publish(&server, "u/1 ü", n).await;
    }
    let _stream = follow(&server, "u/1 ü", "/api/events").await;
    for _ in 0..2 {
        let (status, state) = ask(&server, Method::GET, "/api/admin/users/u%2F1%20%C3%BC").await;
        assert_eq!((status, &state["user_id"], &state["backlog_length"]), (200, &json!("u/1 ü"), &json!(3)));
        assert_eq!((&state["connections"], &state["connections_here"], &state["connections_max"]), (&json!(1), &json!(1), &json!(8)));
        assert_eq!((&state["replays_left"], &state["replays_max"]), (&json!(30), &json!(30)));
        assert!(state["oldest_id"].as_str().unwrap() < state["head_id"].as_str().unwrap());
    }
    let (_, status) = ask(&server, Method::GET, "/api/admin/status").await;
    assert_eq!((&status["connections"], &status["users"]), (&json!(1), &json!([{ "user_id": "u/1 ü", "connections": 1 }])));
    assert_eq!((&status["draining"], &status["backends"]), (&json!(false), &json!({ "journal": true, "messages": true })));
}

#[tokio::test]
async fn a_backlog_is_shown_in_parts_and_purged() {
    let server = server().await;
    for n in 0..5 {
        publish(&server, "u1", n).await;
    }
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let (status, part) = ask(&server, Method::GET, &format!("/api/admin/users/u1/events?limit=2{after}")).await;
        assert_eq!(status, 200, "{part}");
        let events = part["events"].as_array().unwrap();
        seen.extend(events.iter().map(|event| event["payload"].as_u64().unwrap()));
        after = format!("&after={}", events.last().unwrap()["id"].as_str().unwrap());
        if part["more"] == false {
            break;
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    assert_eq!(ask(&server, Method::DELETE, "/api/admin/users/u1/events").await.0, 200);
    assert_eq!(ask(&server, Method::GET, "/api/admin/users/u1").await.1["backlog_length"], 0);
    assert_eq!(ask(&server, Method::GET, "/api/admin/users/u1/events").await.1["events"], json!([]));
}

#[tokio::test]
async fn a_revoked_session_ends_in_both_channels_and_nobody_elses_does() {
    let server = server().await;
    let message = Uuid::new_v4();
    let open = Client::new().put(server.url(&format!("/api/messages/{message}"))).bearer_auth(token("app", &[Scope::MessagesPublish]));
    assert_eq!(open.json(&json!({ "user_id": "u1" })).send().await.unwrap().status(), 201);
    let mut theirs = [follow(&server, "u1", "/api/events").await, follow(&server, "u1", &format!("/api/messages/{message}/events")).await];
    let mut other = follow(&server, "u2", "/api/events").await;
    let (status, closed) = ask(&server, Method::DELETE, "/api/admin/users/u1/connections").await;
    assert_eq!((status, &closed["connections"]), (200, &json!(2)));
    for stream in &mut theirs {
        let said = stream.rest().await;
        assert_eq!(said.last(), Some(&Decoded::Comment("closed by the server".into())), "{said:?}");
    }
    eventually("their slots are free", async || server.connections() == 1).await;
    publish(&server, "u2", 7).await;
    assert_eq!(other.event().await.1["payload"], 7);
    // Who comes back with good credentials is let in.
    let mut again = follow(&server, "u1", "/api/events").await;
    publish(&server, "u1", 8).await;
    assert_eq!(again.event().await.1["payload"], 8);
}

#[tokio::test]
async fn promise_11_nothing_is_shown_without_the_scope_and_rubbish_is_refused() {
    let server = server().await;
    let paths = [
        (Method::GET, "/api/admin/status"),
        (Method::GET, "/api/admin/users/u1"),
        (Method::GET, "/api/admin/users/u1/events"),
        (Method::DELETE, "/api/admin/users/u1/events"),
        (Method::DELETE, "/api/admin/users/u1/connections"),
    ];
    for (method, path) in paths {
        let request = || Client::new().request(method.clone(), server.url(path));
        assert_eq!(request().send().await.unwrap().status(), 401, "{method} {path}");
        let all_but_admin = token("u1", &[Scope::EventsPublish, Scope::MessagesPublish]);
        assert_eq!(request().bearer_auth(all_but_admin).send().await.unwrap().status(), 403, "{method} {path}");
        let cookie = format!("session={}", token("root", &[Scope::Admin]));
        assert_eq!(request().header("cookie", cookie).send().await.unwrap().status(), 401, "a cookie is for readers");
    }
    let rubbish = [
        ("/api/admin/users/%ff", "invalid_user_id"),
        ("/api/admin/users/a%00b", "invalid_user_id"),
        ("/api/admin/users/u1/events?limit=0", "invalid_limit"),
        ("/api/admin/users/u1/events?limit=1001", "invalid_limit"),
        ("/api/admin/users/u1/events?after=x", "invalid_after"),
    ];
    for (path, code) in rubbish {
        let (status, body) = ask(&server, Method::GET, path).await;
        assert_eq!((status, &body["code"]), (400, &json!(code)), "{path}");
    }
}
