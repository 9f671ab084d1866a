//! Every user id that may exist can be administered, also by clients that normalise paths: all of
//! these calls go through a URL library that takes `.` and `..` for steps.

use rejoin_test_support::TestServer;
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};

use crate::operate::given::{answer, follow, operator, publish, server};

/// 256 bytes of everything that means something in a URL.
fn longest() -> String {
    let mut id = "../?user_id=x&y=%2e#+;".repeat(20);
    id.truncate(256);
    assert_eq!(id.len(), 256);
    id
}

fn ids() -> Vec<String> {
    let ids = [
        ".",
        "..",
        "...",
        "./..",
        "a/b",
        "/",
        "//",
        "%2e",
        "%2E%2e",
        "a?b#c",
        "?",
        "#",
        "\\",
        "..\\..",
        " ",
        "a b ",
        "+",
        "a+b",
        "&",
        "=",
        "user_id=x&user_id=y",
        "%",
        "%zz",
        "😀👩‍👩‍👧",
        "\u{202e}abc",
        "{id}",
        ":",
        "http://x/",
        "ünï",
    ];
    ids.into_iter().map(str::to_owned).chain([longest()]).collect()
}

/// The URL of a call about a user, as a client makes it.
fn url(server: &TestServer, tail: &str, user: &str) -> Url {
    Url::parse_with_params(&server.url(&format!("/api/admin/user{tail}")), [("user_id", user)])
        .unwrap()
}

async fn call(method: Method, url: Url, body: Option<Value>) -> (u16, Value) {
    let request = Client::new().request(method, url).bearer_auth(operator());
    answer(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

#[tokio::test]
async fn every_call_is_about_the_user_that_the_query_names() {
    let server = server("").await;
    publish(&server, "someone else", 7).await;
    for id in ids() {
        let stream = follow(&server, &id, "/api/events").await;
        publish(&server, &id, 1).await;
        let (status, published) = call(
            Method::POST,
            url(&server, "/events", &id),
            Some(json!({ "type": "test", "payload": 2 })),
        )
        .await;
        assert_eq!(status, 201, "{id:?}: {published}");
        let (status, state) = call(Method::GET, url(&server, "", &id), None).await;
        assert_eq!(
            (status, &state["user_id"], &state["backlog_length"]),
            (200, &json!(id), &json!(2)),
            "{id:?}"
        );
        let (status, backlog) = call(Method::GET, url(&server, "/events", &id), None).await;
        let events = backlog["events"].as_array().unwrap();
        assert_eq!((status, events.len(), &events[1]["user_id"]), (200, 2, &json!(id)), "{id:?}");
        let looking = Client::new()
            .get(url(&server, "/events/stream", &id))
            .bearer_auth(operator())
            .header("last-event-id", "0");
        let mut looking = rejoin_test_support::Connection::of(looking.send().await.unwrap());
        for payload in [1, 2] {
            let (_, event) = looking.event().await;
            assert_eq!(
                (&event["user_id"], &event["payload"]),
                (&json!(id), &json!(payload)),
                "{id:?}"
            );
        }
        let (status, closed) = call(Method::DELETE, url(&server, "/connections", &id), None).await;
        assert_eq!((status, &closed["connections"]), (200, &json!(1)), "{id:?}");
        assert_eq!(call(Method::DELETE, url(&server, "/events", &id), None).await.0, 200, "{id:?}");
        assert_eq!(
            call(Method::GET, url(&server, "", &id), None).await.1["backlog_length"],
            0,
            "{id:?}"
        );
        drop(stream);
    }
    let (_, other) = call(Method::GET, url(&server, "", "someone else"), None).await;
    assert_eq!(other["backlog_length"], 1, "nobody else was touched");
}

#[tokio::test]
async fn a_query_that_does_not_name_one_user_is_refused() {
    let server = server("").await;
    for tail in ["", "/events", "/events/stream"] {
        for query in [
            "",
            "?user_id=",
            "?user_id=%ff",
            "?user_id=a%00",
            "?user_id=a&user_id=b",
            "?id=a",
            "?user_id",
        ] {
            let target = server.url(&format!("/api/admin/user{tail}{query}"));
            let (status, body) = call(Method::GET, target.parse().unwrap(), None).await;
            assert_eq!((status, &body["code"]), (400, &json!("invalid_user_id")), "{tail}{query}");
            // Who may not look does not learn what is wrong.
            assert_eq!(reqwest::get(&target).await.unwrap().status(), 401);
        }
    }
    // With an id in the path, that one counts.
    let (_, state) =
        call(Method::GET, server.url("/api/admin/users/u1?user_id=u2").parse().unwrap(), None)
            .await;
    assert_eq!(state["user_id"], "u1");
}
