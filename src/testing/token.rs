//! Tokens, and the settings of servers that take them.

use std::time::Duration;

use crate::{
    adapters::{
        auth::mint::{self, TokenRequest},
        system_clock::SystemClock,
    },
    domain::{access::Scope, timestamp::Timestamp, topic::UserId},
    ports::clock::Clock,
};

/// What tests sign tokens with.
pub const SECRET: &str = "a secret that only tests know, long enough";

/// The settings of a server that checks tokens, with more of them behind.
pub fn settings_with_tokens(more: &str) -> String {
    format!("auth.mode = \"jwt\"\nauth.jwt.secret = \"{SECRET}\"\n{more}")
}

/// A token of a user, or of a program where there is none, that lasts.
pub fn token(user: Option<&str>, scopes: &[Scope]) -> String {
    let user = user.map(|user| UserId::parse(user).unwrap());
    mint(&TokenRequest {
        user,
        scopes: scopes.iter().copied().collect(),
        ..TokenRequest::default()
    })
}

/// A token that says this. Unless it says otherwise it lasts for two hours.
pub fn mint(request: &TokenRequest) -> String {
    mint_at(request, SystemClock.now())
}

/// A token that was made at this time.
pub fn mint_at(request: &TokenRequest, now: Timestamp) -> String {
    let ttl = if request.ttl.is_zero() { Duration::from_hours(2) } else { request.ttl };
    mint::token(SECRET, &TokenRequest { ttl, ..request.clone() }, now).unwrap()
}
