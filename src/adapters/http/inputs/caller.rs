//! Who calls, by the `Authorization` header, and what they may do.
//!
//! Invariant: a handler that takes a [`Caller`] runs only for callers that are what it says. It
//! comes first among the handler's arguments, so that nothing else of the request is looked at
//! before.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{
    adapters::http::{Api, credentials, problem::Problem},
    domain::access::Principal,
};

/// A caller whose credentials were checked: a [`Principal`], or one with a scope, such as an
/// [`Operator`](crate::domain::access::Operator).
pub(in crate::adapters::http) struct Caller<P>(pub(in crate::adapters::http) P);

impl<P> FromRequestParts<Api> for Caller<P>
where
    P: TryFrom<Principal>,
    Problem: From<P::Error>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let principal = api.authenticator.authenticate(credentials::bearer(&parts.headers)).await?;
        Ok(Self(principal.try_into()?))
    }
}

impl From<Infallible> for Problem {
    /// Everyone whose credentials were checked is a [`Principal`].
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
