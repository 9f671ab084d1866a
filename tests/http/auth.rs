//! Who may read and publish, over HTTP.

use std::time::Duration;

use rejoin::{
    adapters::{
        auth::mint::{self, TokenRequest},
        system_clock::SystemClock,
    },
    domain::{
        access::Scope, category::Category, frame_decoder::Decoded, timestamp::Timestamp,
        topic::UserId,
    },
    ports::clock::Clock,
    testing::{SECRET, mint, mint_at, settings_with_tokens},
};
use rejoin_test_support::{Connection, TestServer};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

async fn server(settings: &str) -> TestServer {
    TestServer::start(&settings_with_tokens(settings)).await
}

fn reader(user: &str) -> TokenRequest {
    TokenRequest {
        user: UserId::parse(user).ok(),
        ttl: Duration::from_mins(10),
        ..TokenRequest::default()
    }
}

fn publisher() -> String {
    mint(&TokenRequest {
        scopes: [Scope::EventsPublish].into(),
        ttl: Duration::from_mins(10),
        ..TokenRequest::default()
    })
}

fn get(server: &TestServer, path: &str) -> RequestBuilder {
    Client::new().get(server.url(path))
}

async fn publish(server: &TestServer, user: &str, payload: Value) {
    let body = json!({ "user_id": user, "type": "t", "payload": payload });
    let request =
        Client::new().post(server.url("/api/events")).bearer_auth(publisher()).json(&body);
    assert_eq!(request.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn promise_8_a_user_reads_their_own_events_alone_whatever_their_id_contains() {
    let server = server("").await;
    let users = ["u1", "u1 ", "user:u1", "u*", "u1:u2", "{u1}", "u1/../u2", "日本", "u1\u{200b}"];
    for user in users {
        publish(&server, user, json!(user)).await;
    }
    for user in users {
        let response = get(&server, "/api/events?last_event_id=0")
            .bearer_auth(mint(&reader(user)))
            .send()
            .await
            .unwrap();
        let mut stream = Connection::of(response);
        let (_, envelope) = stream.event().await;
        assert_eq!((&envelope["payload"], &envelope["user_id"]), (&json!(user), &json!(user)));
        publish(&server, user, json!("second")).await;
        assert_eq!(
            stream.event().await.1["payload"],
            "second",
            "nothing of anybody else's came between"
        );
    }
}

#[tokio::test]
async fn promise_11_missing_and_wrong_credentials_are_told_apart() {
    let server = server("").await;
    let expired = mint_at(&reader("u1"), Timestamp::default());
    let forged =
        mint::token("another secret that is long enough, too", &reader("u1"), SystemClock.now())
            .unwrap();
    for (token, code) in [
        (None, "missing_credentials"),
        (Some(expired), "token_expired"),
        (Some(forged), "invalid_token"),
        (Some("x".into()), "invalid_token"),
    ] {
        let mut request = get(&server, "/api/events");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        assert_eq!(response.json::<Value>().await.unwrap()["code"], code);
    }
}

#[tokio::test]
async fn a_token_without_an_end_reads_and_publishes_where_that_is_allowed() {
    let claims = json!({ "sub": "u1", "scope": "events:publish" });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let endless = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let strict = server("").await;
    let refused = get(&strict, "/api/events").bearer_auth(&endless).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let refused: Value = refused.json().await.unwrap();
    assert!(
        refused["code"] == "invalid_token"
            && refused["message"].as_str().unwrap().contains("auth.jwt.require_exp"),
        "{refused}"
    );

    let lax = server("auth.jwt.require_exp = false").await;
    let mut stream =
        Connection::of(get(&lax, "/api/events").bearer_auth(&endless).send().await.unwrap());
    let event = json!({ "user_id": "u1", "type": "t", "payload": 7 });
    let published = Client::new()
        .post(lax.url("/api/events"))
        .bearer_auth(&endless)
        .json(&event)
        .send()
        .await
        .unwrap();
    assert_eq!(published.status(), 201);
    assert_eq!(stream.event().await.1["payload"], 7);
    // One that has ended has ended.
    let expired = mint_at(&reader("u1"), Timestamp::default());
    assert_eq!(get(&lax, "/api/events").bearer_auth(expired).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn publishing_needs_its_scope_and_reading_needs_a_user() {
    let server = server("").await;
    let event = json!({ "user_id": "u1", "type": "t" });
    let refused = Client::new()
        .post(server.url("/api/events"))
        .bearer_auth(mint(&reader("u1")))
        .json(&event)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.json::<Value>().await.unwrap()["code"]),
        (403, &json!("forbidden"))
    );
    let refused = get(&server, "/api/events").bearer_auth(publisher()).send().await.unwrap();
    assert_eq!(refused.status(), 403);
}

#[tokio::test]
async fn a_token_that_names_categories_grants_no_others() {
    let server = server("").await;
    let limited = mint(&TokenRequest {
        categories: Some([Category::parse("ai").unwrap()].into()),
        ..reader("u1")
    });
    let refused =
        get(&server, "/api/events?categories=security").bearer_auth(&limited).send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.json::<Value>().await.unwrap()["code"]),
        (403, &json!("category_not_allowed"))
    );
    publish(&server, "u1", json!("uncategorised")).await;
    let body = json!({ "user_id": "u1", "type": "ai.done" });
    Client::new()
        .post(server.url("/api/events"))
        .bearer_auth(publisher())
        .json(&body)
        .send()
        .await
        .unwrap();
    let response =
        get(&server, "/api/events?last_event_id=0").bearer_auth(&limited).send().await.unwrap();
    assert_eq!(Connection::of(response).event().await.1["type"], "ai.done");
}

#[tokio::test]
async fn a_cookie_or_a_query_token_counts_where_it_is_configured_and_for_reading_alone() {
    let strict = server("").await;
    let lenient = server("auth.cookie = \"session\"\nauth.query_token = true").await;
    let token = mint(&TokenRequest { scopes: [Scope::EventsPublish].into(), ..reader("u1") });
    for (server, status) in [(&strict, 401), (&lenient, 200)] {
        let in_query = get(server, &format!("/api/events?access_token={token}"));
        assert_eq!(in_query.send().await.unwrap().status(), status);
        let in_cookie =
            get(server, "/api/events").header("cookie", format!("a=b; session={token}"));
        assert_eq!(in_cookie.send().await.unwrap().status(), status);
        let event = json!({ "user_id": "u1", "type": "t" });
        let by_cookie = Client::new()
            .post(server.url("/api/events"))
            .header("cookie", format!("session={token}"))
            .json(&event);
        assert_eq!(by_cookie.send().await.unwrap().status(), 401);
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let server = server("").await;
    let short = mint(&TokenRequest { ttl: Duration::from_secs(2), ..reader("u1") });
    let response = get(&server, "/api/events").bearer_auth(&short).send().await.unwrap();
    let all = Connection::of(response).rest().await;
    assert_eq!(all.last(), Some(&Decoded::Comment("token expired".into())), "{all:?}");
    assert_eq!(get(&server, "/api/events").bearer_auth(&short).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_static_key_publishes_and_reads_nothing() {
    let key = mint::static_key();
    let settings = format!(
        "[[auth.keys]]\nname = \"app\"\nsha256 = \"{}\"\nscopes = [\"events:publish\"]",
        key.sha256
    );
    let server = server(&settings).await;
    let event = json!({ "user_id": "u1", "type": "t" });
    let request = Client::new().post(server.url("/api/events")).bearer_auth(&key.key).json(&event);
    assert_eq!(request.send().await.unwrap().status(), 201);
    assert_eq!(
        get(&server, "/api/events").bearer_auth(&key.key).send().await.unwrap().status(),
        403
    );
}
