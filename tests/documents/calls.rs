//! A server that checks tokens, and requests for the operations that its description names.

use std::time::Duration;

use rejoin::{
    adapters::{
        auth::mint::{self, TokenRequest},
        system_clock::SystemClock,
    },
    domain::{access::Scope, category::Category, timestamp::Timestamp, topic::UserId},
    ports::clock::Clock,
};
use rejoin_test_support::TestServer;
use reqwest::{Client, Method, RequestBuilder};

pub(crate) const SECRET: &str = "a secret that only these tests know, long enough";

/// A server that checks tokens, with these settings beside.
pub(crate) async fn server(settings: &str) -> TestServer {
    TestServer::start(&format!("auth.mode = \"jwt\"\nauth.jwt.secret = \"{SECRET}\"\n{settings}")).await
}

/// A token of a user who may do all.
pub(crate) fn token(user: &str) -> String {
    mint(&TokenRequest { user: UserId::parse(user).ok(), scopes: Scope::ALL.into(), ..TokenRequest::default() })
}

/// A token that names no user and grants nothing.
pub(crate) fn powerless() -> String {
    mint(&TokenRequest::default())
}

/// A token that grants one category.
pub(crate) fn limited_to(category: &str) -> String {
    let categories = Some([Category::parse(category).unwrap()].into());
    mint(&TokenRequest { user: UserId::parse("u1").ok(), categories, ..TokenRequest::default() })
}

/// The same, of an operator.
pub(crate) fn operator_limited_to(category: &str) -> String {
    let categories = Some([Category::parse(category).unwrap()].into());
    mint(&TokenRequest { scopes: [Scope::Admin].into(), categories, ..TokenRequest::default() })
}

/// A token whose time was over long ago.
pub(crate) fn expired() -> String {
    mint::token(SECRET, &TokenRequest { ttl: Duration::from_secs(1), ..TokenRequest::default() }, Timestamp::from_ms(0)).unwrap()
}

fn mint(request: &TokenRequest) -> String {
    let request = TokenRequest { ttl: Duration::from_mins(10), ..request.clone() };
    mint::token(SECRET, &request, SystemClock.now()).unwrap()
}

/// A request for an operation such as `get /api/messages/{id}`, with this id and query.
pub(crate) fn call(server: &TestServer, operation: &str, id: &str, query: &str) -> RequestBuilder {
    let (method, path) = operation.split_once(' ').unwrap();
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    Client::new().request(method, server.url(&(path.replace("{id}", id) + query)))
}
