//! Servers that ask for a token, and the tokens.

use rejoin::{
    domain::access::Scope,
    testing::{settings_with_tokens, token},
};
use rejoin_test_support::TestServer;
use serde_json::json;

/// Settings of a server that checks tokens, and takes them from a cookie too.
pub(crate) fn settings() -> String {
    settings_with_tokens("auth.cookie = \"session\"")
}

/// A token of this user.
pub(crate) fn of(user: &str) -> String {
    token(Some(user), &[])
}

/// A token of an operator.
pub(crate) fn operator() -> String {
    token(None, &[Scope::Admin])
}

/// Whoever may publish for all users.
pub(crate) struct Publisher {
    url: String,
    token: String,
    http: reqwest::Client,
}

impl Publisher {
    pub(crate) fn new(server: &TestServer) -> Self {
        Self {
            url: server.url("/api/events"),
            token: token(None, &[Scope::EventsPublish]),
            http: reqwest::Client::new(),
        }
    }

    /// Publishes one event for a user, and gives its id.
    pub(crate) async fn publish(&self, user: &str, number: usize) -> String {
        let event = json!({ "user_id": user, "type": "step", "payload": { "number": number } });
        let response =
            self.http.post(&self.url).bearer_auth(&self.token).json(&event).send().await.unwrap();
        assert_eq!(response.status(), 201);
        let answer: serde_json::Value = response.json().await.unwrap();
        answer["id"].as_str().unwrap().to_owned()
    }
}
