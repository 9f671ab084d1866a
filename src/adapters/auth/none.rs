//! No authentication, for development.
//!
//! Invariant: everyone is one and the same user, so none can be mistaken for another. That the
//! server listens on loopback only is the business of who puts it together.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::{
    domain::{
        access::{Principal, Scope},
        topic::UserId,
    },
    ports::authenticator::{AuthError, Authenticator},
};

/// The id of the user that everyone is.
pub const LOCAL_USER: &str = "local";

/// Takes everyone for the user `local`, with every scope, for ever. A token is not looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAuthentication;

#[async_trait]
impl Authenticator for NoAuthentication {
    async fn authenticate(&self, _token: Option<&str>) -> Result<Principal, AuthError> {
        Ok(Principal {
            user: UserId::parse(LOCAL_USER).ok(),
            scopes: BTreeSet::from(Scope::ALL),
            categories: None,
            expires_at: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_is_local_and_may_do_everything() {
        for token in [None, Some(""), Some("whatever")] {
            let principal = NoAuthentication.authenticate(token).await.unwrap();
            assert_eq!(principal.reader().map(UserId::as_str), Ok("local"));
            for scope in Scope::ALL {
                assert_eq!(principal.require(scope), Ok(()));
            }
            assert_eq!((principal.categories, principal.expires_at), (None, None));
        }
    }
}
