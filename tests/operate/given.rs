//! A server that checks tokens, and who comes to it: an operator, a publisher, users.

use rejoin::{
    domain::access::Scope,
    testing::{settings_with_tokens, token},
};
use rejoin_test_support::{Connection, TestServer};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// A server with these settings beside those for tokens.
pub(crate) async fn server(settings: &str) -> TestServer {
    TestServer::start(&settings_with_tokens(&format!(
        "auth.cookie = \"session\"\nauth.query_token = true\n{settings}"
    )))
    .await
}

/// An operator's token: it names no user, as a program's does.
pub(crate) fn operator() -> String {
    token(None, &[Scope::Admin])
}

pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Asks as an operator.
pub(crate) async fn ask(server: &TestServer, method: Method, path: &str) -> (u16, Value) {
    answer(Client::new().request(method, server.url(path)).bearer_auth(operator())).await
}

/// Publishes as an application, and gives the event's id.
pub(crate) async fn publish(server: &TestServer, user: &str, payload: usize) -> String {
    let body = json!({ "user_id": user, "type": "t", "payload": payload });
    let request = Client::new()
        .post(server.url("/api/events"))
        .bearer_auth(token(Some("app"), &[Scope::EventsPublish]))
        .json(&body);
    let (status, answer) = answer(request).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

/// Follows as a user.
pub(crate) async fn follow(server: &TestServer, user: &str, path: &str) -> Connection {
    Connection::of(
        Client::new()
            .get(server.url(path))
            .bearer_auth(token(Some(user), &[]))
            .send()
            .await
            .unwrap(),
    )
}

/// Asks for a user's live tail with this token.
pub(crate) async fn look_on(
    server: &TestServer,
    token: &str,
    user: &str,
    cursor: Option<&str>,
) -> Response {
    let mut request = Client::new()
        .get(server.url(&format!("/api/admin/users/{user}/events/stream")))
        .bearer_auth(token);
    if let Some(cursor) = cursor {
        request = request.header("last-event-id", cursor);
    }
    request.send().await.unwrap()
}
