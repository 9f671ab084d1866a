//! Authentication: there is none ([`none`]), or a bearer token is checked: a publisher's static
//! key ([`keys`]) or a signed token ([`jwt`]). [`mint`] makes both for the command line.
//!
//! Invariant: what is accepted was proven by a key that was configured, or published by the
//! configured issuer. A token never chooses how it is checked: its `alg` and `kid` select among
//! what is allowed, and nothing else of its header is obeyed.

use async_trait::async_trait;

use crate::{
    domain::access::Principal,
    ports::authenticator::{AuthError, Authenticator},
};

pub mod algorithm;
mod claims;
mod jwks;
pub mod jwt;
pub mod key_set;
pub mod keys;
pub mod mint;
pub mod none;
pub mod verifying_key;

use jwt::JwtAuthenticator;
use keys::StaticKeys;

/// Longest token that is looked at, in bytes. Real ones have a few hundred, seldom a few thousand.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Static keys first, then signed tokens.
pub struct KeysThenJwt {
    keys: StaticKeys,
    jwt: JwtAuthenticator,
}

impl KeysThenJwt {
    /// Both in one. The keys may be none.
    pub const fn new(keys: StaticKeys, jwt: JwtAuthenticator) -> Self {
        Self { keys, jwt }
    }
}

#[async_trait]
impl Authenticator for KeysThenJwt {
    async fn authenticate(&self, token: Option<&str>) -> Result<Principal, AuthError> {
        match token.and_then(|token| self.keys.find(token)) {
            Some(publisher) => Ok(publisher.clone()),
            None if token.is_some_and(keys::looks_like_key) => {
                Err(AuthError::Invalid("no such publisher's key is configured".into()))
            }
            None => self.jwt.authenticate(token).await,
        }
    }
}
