//! What an operator can see and do.

use rejoin::{
    domain::{access::Scope, frame_decoder::Decoded},
    testing::token,
};
use rejoin_test_support::eventually;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::operate::given::{answer, ask, follow, operator, publish, server};

#[tokio::test]
async fn a_users_state_is_shown_and_looking_costs_them_nothing() {
    let server = server("").await;
    for n in 0..3 {
        publish(&server, "u/1 ü", n).await;
    }
    let _stream = follow(&server, "u/1 ü", "/api/events").await;
    for _ in 0..2 {
        let (status, state) = ask(&server, Method::GET, "/api/admin/users/u%2F1%20%C3%BC").await;
        assert_eq!(
            (status, &state["user_id"], &state["backlog_length"]),
            (200, &json!("u/1 ü"), &json!(3))
        );
        assert_eq!(
            (&state["connections"], &state["connections_here"], &state["connections_max"]),
            (&json!(1), &json!(1), &json!(8))
        );
        assert_eq!((&state["replays_left"], &state["replays_max"]), (&json!(30), &json!(30)));
        assert!(state["oldest_id"].as_str().unwrap() < state["head_id"].as_str().unwrap());
    }
    let (_, status) = ask(&server, Method::GET, "/api/admin/status").await;
    assert_eq!(
        (&status["connections"], &status["users"]),
        (&json!(1), &json!([{ "user_id": "u/1 ü", "connections": 1 }]))
    );
    assert_eq!(
        (&status["draining"], &status["backends"]),
        (&json!(false), &json!({ "journal": true, "messages": true }))
    );
}

#[tokio::test]
async fn a_backlog_is_shown_in_parts_and_purged() {
    let server = server("").await;
    for n in 0..5 {
        publish(&server, "u1", n).await;
    }
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let (status, part) =
            ask(&server, Method::GET, &format!("/api/admin/users/u1/events?limit=2{after}")).await;
        assert_eq!(status, 200, "{part}");
        let events = part["events"].as_array().unwrap();
        seen.extend(events.iter().map(|event| event["payload"].as_u64().unwrap()));
        assert!(events.iter().all(|event| event["scope"] == json!({})), "{events:?}");
        after = format!("&after={}", events.last().unwrap()["id"].as_str().unwrap());
        if part["more"] == false {
            break;
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    assert_eq!(ask(&server, Method::DELETE, "/api/admin/users/u1/events").await.0, 200);
    assert_eq!(ask(&server, Method::GET, "/api/admin/users/u1").await.1["backlog_length"], 0);
    assert_eq!(
        ask(&server, Method::GET, "/api/admin/users/u1/events").await.1["events"],
        json!([])
    );
}

#[tokio::test]
async fn a_revoked_session_ends_in_both_channels_and_nobody_elses_does() {
    let server = server("").await;
    let message = Uuid::new_v4();
    let open = Client::new()
        .put(server.url(&format!("/api/messages/{message}")))
        .bearer_auth(token(Some("app"), &[Scope::MessagesPublish]));
    assert_eq!(open.json(&json!({ "user_id": "u1" })).send().await.unwrap().status(), 201);
    let mut theirs = [
        follow(&server, "u1", "/api/events").await,
        follow(&server, "u1", &format!("/api/messages/{message}/events")).await,
    ];
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
    let server = server("").await;
    let paths = [
        (Method::GET, "/api/admin/status"),
        (Method::GET, "/api/admin/users/u1"),
        (Method::GET, "/api/admin/users/u1/events"),
        (Method::DELETE, "/api/admin/users/u1/events"),
        (Method::POST, "/api/admin/users/u1/events"),
        (Method::GET, "/api/admin/users/u1/events/stream"),
        (Method::DELETE, "/api/admin/users/u1/connections"),
        (Method::GET, "/api/admin/messages/6f1c3a52-7a0c-4b5e-9d0e-3d2f1b0a9c8d"),
    ];
    for (method, path) in paths {
        let request = || Client::new().request(method.clone(), server.url(path));
        assert_eq!(request().send().await.unwrap().status(), 401, "{method} {path}");
        let all_but_admin = token(Some("u1"), &[Scope::EventsPublish, Scope::MessagesPublish]);
        assert_eq!(
            request().bearer_auth(all_but_admin).send().await.unwrap().status(),
            403,
            "{method} {path}"
        );
        let cookie = format!("session={}", token(Some("root"), &[Scope::Admin]));
        assert_eq!(
            request().header("cookie", cookie).send().await.unwrap().status(),
            401,
            "a cookie is for readers"
        );
        let in_query = server.url(&format!("{path}?access_token={}", operator()));
        assert_eq!(
            Client::new().request(method.clone(), in_query).send().await.unwrap().status(),
            401,
            "and so is the query"
        );
    }
    let rubbish = [
        ("/api/admin/users/%ff", "invalid_user_id"),
        ("/api/admin/users/a%00b", "invalid_user_id"),
        ("/api/admin/users/u1/events?limit=0", "invalid_limit"),
        ("/api/admin/users/u1/events?limit=1001", "invalid_limit"),
        ("/api/admin/users/u1/events?after=x", "invalid_after"),
        ("/api/admin/users/%ff/events/stream", "invalid_user_id"),
        ("/api/admin/users/u1/events/stream?categories=nonsense", "invalid_category"),
        ("/api/admin/messages/7%207", "invalid_message_id"),
    ];
    for (path, code) in rubbish {
        let (status, body) = ask(&server, Method::GET, path).await;
        assert_eq!((status, &body["code"]), (400, &json!(code)), "{path}");
    }
}

#[tokio::test]
async fn a_test_event_is_published_to_the_user_that_the_path_names() {
    let server = server("").await;
    let mut theirs = follow(&server, "u1", "/api/events").await;
    let post = |body: &'static str| {
        let request = Client::new()
            .post(server.url("/api/admin/users/u1/events"))
            .bearer_auth(operator())
            .header("idempotency-key", "k1");
        request.header("content-type", "application/json").body(body)
    };
    let (status, published) = answer(post(r#"{"type":"ai.test","payload":{"n":1.0}}"#)).await;
    assert_eq!(status, 201, "{published}");
    let (id, event) = theirs.event().await;
    assert_eq!(id.as_deref(), published["id"].as_str());
    assert_eq!((&event["payload"], &event["category"]), (&json!({ "n": 1.0 }), &json!("ai")));
    let (status, again) = answer(post(r#"{"type":"ai.test"}"#)).await;
    assert_eq!((status, &again["id"], &again["duplicate"]), (200, &published["id"], &json!(true)));
    for (body, status, field) in [
        (r#"{"user_id":"u2","type":"t"}"#, 422, json!("user_id")),
        (r#"{"broadcast":true,"type":"t"}"#, 422, json!("broadcast")),
        (r#"{"type":"backlog.t"}"#, 422, json!("type")),
        (r#"{"type":"t","payload":}"#, 400, Value::Null),
    ] {
        let (refused, problem) = answer(post(body)).await;
        assert_eq!((refused, &problem["field"]), (status, &field), "{body}: {problem}");
    }
    let lines =
        Client::new().post(server.url("/api/admin/users/u1/events")).bearer_auth(operator());
    assert_eq!(
        answer(lines.header("content-type", "application/x-ndjson").body("{}")).await.0,
        415
    );
}

#[tokio::test]
async fn a_message_is_shown_to_an_operator_whosever_it_is() {
    let server = server("").await;
    let id = Uuid::new_v4();
    let path = format!("/api/admin/messages/{id}");
    assert_eq!(ask(&server, Method::GET, &path).await.0, 404);
    let producer = |method, path: &str| {
        let url = server.url(&format!("/api/messages/{id}{path}"));
        Client::new().request(method, url).bearer_auth(token(None, &[Scope::MessagesPublish]))
    };
    assert_eq!(answer(producer(Method::PUT, "").json(&json!({ "user_id": "u1" }))).await.0, 201);
    assert_eq!(
        answer(producer(Method::POST, "/events").json(&json!({ "type": "chunk" }))).await.0,
        201
    );
    let (status, message) = ask(&server, Method::GET, &path).await;
    assert_eq!(
        (status, &message["status"], &message["user_id"]),
        (200, &json!("streaming"), &json!("u1"))
    );
    assert_eq!(
        (&message["last_sequence_no"], &message["epoch"], &message["ended_at"]),
        (&json!(0), &json!(1), &Value::Null)
    );
}
