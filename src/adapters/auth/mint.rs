//! Makes development tokens and publishers' keys.
//!
//! Invariant: what is made here is accepted by the server that has the same settings, and a
//! publisher's key can't be guessed.

use std::{collections::BTreeSet, time::Duration};

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use super::{
    algorithm::Algorithm,
    keys::{self, KEY_PREFIX},
    verifying_key::{UnusableKey, checked_secret},
};
use crate::domain::{access::Scope, category::Category, timestamp::Timestamp, topic::UserId};

/// What a development token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// Whose events its holder may read.
    pub user: Option<UserId>,
    /// What its holder may do.
    pub scopes: BTreeSet<Scope>,
    /// The categories its holder may read; `None` for all.
    pub categories: Option<BTreeSet<Category>>,
    /// For how long.
    pub ttl: Duration,
    /// `iss`, where the server wants one.
    pub issuer: Option<String>,
    /// `aud`, where the server wants one.
    pub audience: Option<String>,
    /// Whether it may be signed with a secret that can be guessed.
    pub allow_weak_secret: bool,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The server would not take this secret.
    #[error("JWT secret: {0}")]
    Secret(#[from] UnusableKey),
    /// Signing failed.
    #[error("the token could not be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// A new publisher's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The key, for the publisher. It can't be had again.
    pub key: String,
    /// Its SHA-256 in hexadecimal, for the configuration.
    pub sha256: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    categories: Option<&'a BTreeSet<Category>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    iat: u64,
    exp: u64,
}

/// Makes a token, signed with HS256.
///
/// # Errors
/// [`MintError`].
pub fn token(secret: &str, request: &TokenRequest, now: Timestamp) -> Result<String, MintError> {
    let now_s = now.as_ms() / 1000;
    let claims = Claims {
        sub: request.user.as_ref().map(UserId::as_str),
        scope: request.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "),
        categories: request.categories.as_ref(),
        iss: request.issuer.as_deref(),
        aud: request.audience.as_deref(),
        iat: now_s,
        exp: now_s.saturating_add(request.ttl.as_secs()),
    };
    let key = EncodingKey::from_secret(checked_secret(secret, request.allow_weak_secret)?);
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::Hs256.jws()), &claims, &key)?)
}

/// Makes a publisher's key: [`secret`] behind [`KEY_PREFIX`].
pub fn static_key() -> NewKey {
    let key = format!("{KEY_PREFIX}{}", secret());
    let sha256 = keys::digest_to_hex(keys::digest(&key));
    NewKey { key, sha256 }
}

/// Makes a secret for HS256: 43 random characters of the base64url alphabet, 258 bits.
pub fn secret() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    #[expect(
        clippy::disallowed_methods,
        reason = "a secret is for the system's generator alone, which no test drives"
    )]
    let random: [u8; 43] = rand::random();
    // 64 divides 256, so that every character is as likely as any other.
    random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth::keys::{StaticKey, StaticKeys, digest, looks_like_key};

    #[test]
    fn a_new_key_is_taken_by_its_digest_and_never_made_twice() {
        let (one, two) = (static_key(), static_key());
        assert_ne!(one, two);
        assert_eq!(one.key.len(), KEY_PREFIX.len() + 43);
        assert!(looks_like_key(&one.key));
        let sha256 = digest(&one.key);
        assert_eq!(one.sha256, hex::encode(sha256));
        let entry = StaticKey { name: "crm".into(), sha256, scopes: BTreeSet::new() };
        let keys = StaticKeys::new([entry]).unwrap();
        assert!(keys.find(&one.key).is_some());
        assert!(keys.find(&two.key).is_none());
    }

    #[test]
    fn a_new_secret_is_fit_to_sign_with_and_never_made_twice() {
        let (one, two) = (secret(), secret());
        assert_ne!(one, two);
        assert!(checked_secret(&one, false).is_ok());
    }

    #[test]
    fn a_secret_that_the_server_refuses_makes_no_token() {
        let made = token("short", &TokenRequest::default(), Timestamp::default());
        assert!(matches!(made, Err(MintError::Secret(UnusableKey::WeakSecret(_)))));
        let allowed = TokenRequest { allow_weak_secret: true, ..TokenRequest::default() };
        assert!(token("short", &allowed, Timestamp::default()).is_ok());
        assert!(token(" ", &allowed, Timestamp::default()).is_err());
    }
}
