//! Who is asking?

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::access::Principal;

/// Turns credentials into a [`Principal`].
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Checks a bearer token: a JWT or a publisher's static key; `None` when the request carries
    /// none.
    ///
    /// Laws: an answer depends on the token and the time alone, never on who else asks. A token is
    /// accepted only if its signature, algorithm, times, and where configured its issuer and
    /// audience, are all as they must be.
    ///
    /// # Errors
    /// [`AuthError`].
    async fn authenticate(&self, token: Option<&str>) -> Result<Principal, AuthError>;
}

/// Why credentials were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The request carries no credentials, and needs them.
    #[error("this request needs credentials: send `Authorization: Bearer <token>`")]
    Missing,
    /// The credentials were valid, but are over.
    #[error("the token has expired: get a new one")]
    Expired,
    /// The credentials are not acceptable. The text says why, without telling anything about keys.
    #[error("the token is not acceptable: {0}")]
    Invalid(String),
    /// The keys to check them with can't be had at the moment.
    #[error("the keys to check tokens with can't be fetched at the moment")]
    Unavailable {
        /// When it is worth trying again.
        retry_after: Duration,
    },
}
