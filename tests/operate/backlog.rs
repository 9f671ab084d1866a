//! What an operator's look at a backlog shows, and what it costs.

use std::collections::BTreeSet;

use rejoin::{
    adapters::auth::mint::TokenRequest,
    domain::{access::Scope, category::Category},
    testing::{mint, token},
};
use rejoin_test_support::{TestServer, eventually, soon};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::operate::given::{answer, ask, look_on, operator, server};

const LARGE: usize = 900_000;

async fn publish_of_type(server: &TestServer, event_type: &str) {
    let request = Client::new()
        .post(server.url("/api/events"))
        .bearer_auth(token(Some("app"), &[Scope::EventsPublish]));
    assert_eq!(answer(request.json(&json!({ "user_id": "u1", "type": event_type }))).await.0, 201);
}

fn operator_of(categories: &[&str]) -> String {
    let categories: BTreeSet<Category> =
        categories.iter().map(|name| Category::parse(name).unwrap()).collect();
    mint(&TokenRequest {
        scopes: [Scope::Admin].into(),
        categories: Some(categories),
        ..TokenRequest::default()
    })
}

/// The types of all events of a backlog, asked for in parts, and how many parts there were.
async fn types(server: &TestServer, token: &str, limit: usize) -> (Vec<String>, usize) {
    let (mut after, mut types, mut parts) = (String::new(), Vec::new(), 0);
    loop {
        let url = server.url(&format!("/api/admin/users/u1/events?limit={limit}{after}"));
        let (status, part) = answer(Client::new().get(url).bearer_auth(token)).await;
        assert_eq!((status, &part["success"]), (200, &json!(true)), "{part}");
        types.extend(
            part["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| event["type"].as_str().unwrap().to_owned()),
        );
        parts += 1;
        assert_eq!(part["more"].as_bool().unwrap(), part["next"].is_string(), "{part}");
        let Some(next) = part["next"].as_str() else { return (types, parts) };
        after = format!("&after={next}");
    }
}

#[tokio::test]
async fn promise_8_a_backlog_shows_what_the_tokens_categories_allow_as_a_stream_does() {
    let server = server("").await;
    let published = ["ai.a", "security.b", "plain", "ai.c", "import.d", "security.e", "ai.f"];
    for event_type in published {
        publish_of_type(&server, event_type).await;
    }
    assert_eq!(types(&server, &operator(), 50).await, (published.map(str::to_owned).to_vec(), 1));
    for (categories, expected) in [
        (&["ai"][..], &["ai.a", "ai.c", "ai.f"][..]),
        (&["ai", "import"], &["ai.a", "ai.c", "import.d", "ai.f"]),
        (&["portfolio"], &[]),
    ] {
        let token = operator_of(categories);
        for limit in [1, 2, 50] {
            assert_eq!(
                types(&server, &token, limit).await.0,
                expected,
                "{categories:?} by {limit}"
            );
        }
        let mut stream =
            rejoin_test_support::Connection::of(look_on(&server, &token, "u1", Some("0")).await);
        for event_type in expected {
            assert_eq!(stream.event().await.1["type"], *event_type);
        }
    }
    // A part has as many events as were asked for, whatever lies between.
    assert_eq!(types(&server, &operator_of(&["ai"]), 2).await.1, 2);
}

#[tokio::test]
async fn an_answer_is_bounded_in_bytes_and_says_where_to_go_on() {
    let server = TestServer::start("").await;
    for n in 0..8 {
        server.publish("large", json!([n, "x".repeat(LARGE)])).await;
    }
    let (mut after, mut seen, mut parts) = (String::new(), Vec::new(), 0);
    while parts == 0 || !after.is_empty() {
        let part: Value =
            reqwest::get(server.url(&format!("/api/admin/users/local/events{after}")))
                .await
                .unwrap()
                .json()
                .await
                .unwrap();
        let events = part["events"].as_array().unwrap();
        assert!((1..=5).contains(&events.len()), "{}", events.len());
        seen.extend(events.iter().map(|event| event["payload"][0].as_u64().unwrap()));
        after = part["next"].as_str().map_or(String::new(), |next| format!("?after={next}"));
        parts += 1;
    }
    assert_eq!((seen, parts), ((0..8).collect(), 2));
}

/// A client that has asked for a backlog and takes next to nothing.
async fn stalled(server: &TestServer) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut socket = socket.connect(server.address()).await.unwrap();
    socket.write_all(b"GET /api/admin/user/events?user_id=local HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut begin = [0; 15];
    soon("the answer's beginning", socket.read_exact(&mut begin)).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
    socket
}

#[tokio::test]
async fn promise_7_an_answer_that_is_not_taken_holds_a_page_and_not_the_backlog() {
    let server = TestServer::start("").await;
    for n in 0..4 {
        server.publish("large", json!([n, "x".repeat(LARGE)])).await;
    }
    let mut client = stalled(&server).await;
    assert_eq!(ask(&server, Method::DELETE, "/api/admin/users/local/events").await.0, 200);
    let mut rest = Vec::new();
    soon("the answer's end", client.read_to_end(&mut rest)).await.unwrap();
    // What had not been read for the answer when the backlog was purged is not in it, and the
    // answer is whole.
    let events = rest.windows(4).filter(|bytes| bytes == b"\"id\"").count();
    assert!((1..=2).contains(&events), "{events} events");
    assert!(String::from_utf8_lossy(&rest).contains("],\"more\":false,\"next\":null}"));
}

#[tokio::test]
async fn promise_7_only_so_many_backlogs_are_read_at_once() {
    let server = TestServer::start("").await;
    for n in 0..4 {
        server.publish("large", json!([n, "x".repeat(LARGE)])).await;
    }
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(stalled(&server).await);
    }
    let get = async || -> Response {
        soon("an answer", reqwest::get(server.url("/api/admin/users/local/events?limit=1")))
            .await
            .unwrap()
    };
    let refused = get().await;
    assert_eq!(
        (refused.status().as_u16(), refused.headers().contains_key("retry-after")),
        (503, true)
    );
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "too_many_backlogs");
    clients.pop();
    eventually("there is room again", async || get().await.status() == 200).await;
    publish_in_the_meantime(&server).await;
}

/// Nothing else waits for those who read backlogs.
async fn publish_in_the_meantime(server: &TestServer) {
    server.publish("t", json!(1)).await;
    assert_eq!(ask(server, Method::GET, "/api/admin/user?user_id=local").await.0, 200);
}
