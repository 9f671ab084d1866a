//! Servers that ask for a token, and the tokens.

use std::{collections::BTreeSet, time::Duration};

use rejoin::{
    adapters::{auth::mint, system_clock::SystemClock},
    domain::{access::Scope, topic::UserId},
    ports::clock::Clock,
};
use rejoin_test_support::TestServer;
use serde_json::json;

const SECRET: &str = "a secret of the tests, which is long enough";

/// Settings of a server that checks tokens, and takes them from a cookie too.
pub(crate) const SETTINGS: &str = r#"
[auth]
mode = "jwt"
cookie = "session"
[auth.jwt]
secret = "a secret of the tests, which is long enough"
"#;

/// A token of this user.
pub(crate) fn of(user: &str) -> String {
    token(Some(user), BTreeSet::new())
}

/// A token of an operator.
pub(crate) fn operator() -> String {
    token(None, [Scope::Admin].into())
}

fn token(user: Option<&str>, scopes: BTreeSet<Scope>) -> String {
    let user = user.map(|user| UserId::parse(user).unwrap());
    let request = mint::TokenRequest { user, scopes, ttl: Duration::from_mins(10), ..mint::TokenRequest::default() };
    mint::token(SECRET, &request, SystemClock.now()).unwrap()
}

/// Whoever may publish for all users.
pub(crate) struct Publisher {
    url: String,
    token: String,
    http: reqwest::Client,
}

impl Publisher {
    pub(crate) fn new(server: &TestServer) -> Self {
        Self { url: server.url("/api/events"), token: token(None, [Scope::EventsPublish].into()), http: reqwest::Client::new() }
    }

    /// Publishes one event for a user, and gives its id.
    pub(crate) async fn publish(&self, user: &str, number: usize) -> String {
        let event = json!({ "user_id": user, "type": "step", "payload": { "number": number } });
        let response = self.http.post(&self.url).bearer_auth(&self.token).json(&event).send().await.unwrap();
        assert_eq!(response.status(), 201);
        let answer: serde_json::Value = response.json().await.unwrap();
        answer["id"].as_str().unwrap().to_owned()
    }
}
