//! A server that checks tokens, and requests for the operations that its description names.

use std::time::Duration;

use rejoin::{
    adapters::auth::mint::{self, TokenRequest},
    domain::{access::Scope, category::Category, timestamp::Timestamp, topic::UserId},
    testing::{SECRET, mint, settings_with_tokens},
};
use rejoin_test_support::TestServer;
use reqwest::{Client, Method, RequestBuilder};

/// A server that checks tokens, with these settings beside.
pub(crate) async fn server(settings: &str) -> TestServer {
    TestServer::start(&settings_with_tokens(settings)).await
}

/// A token of a user who may do all.
pub(crate) fn token(user: &str) -> String {
    mint(&TokenRequest {
        user: UserId::parse(user).ok(),
        scopes: Scope::ALL.into(),
        ..TokenRequest::default()
    })
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
    let request = TokenRequest { ttl: Duration::from_secs(1), ..TokenRequest::default() };
    mint::token(SECRET, &request, Timestamp::from_ms(0)).unwrap()
}

/// A request for an operation such as `get /api/messages/{id}`, with this id and query.
pub(crate) fn call(server: &TestServer, operation: &str, id: &str, query: &str) -> RequestBuilder {
    let (method, path) = operation.split_once(' ').unwrap();
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    Client::new().request(method, server.url(&(path.replace("{id}", id) + query)))
}
