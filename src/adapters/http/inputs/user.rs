//! Which user a call of an operator is about.
//!
//! Invariant: every id that may exist can be named. Clients and proxies that normalise paths take
//! `.` and `..` for steps in a path, however they are encoded; so each call is also at a path
//! without the id, which then stands in the query.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, MatchedPath, Path},
    http::request::Parts,
};
use percent_encoding::percent_decode_str;
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        Required,
        path::{Parameter, ParameterIn},
    },
};

use super::parameter::{parameter, path};
use crate::{
    adapters::http::{problem::Problem, problem_code::Code},
    domain::topic::UserId,
};

/// The name of the parameter in the query.
const IN_QUERY: &str = "user_id";

/// What the request names; nothing where it is no text, or where there is not exactly one.
pub(in crate::adapters::http) struct UserName(Option<String>);

impl UserName {
    /// The user, if this is an id.
    pub(in crate::adapters::http) fn id(&self) -> Result<UserId, Problem> {
        let id = self.0.as_deref().and_then(|text| UserId::parse(text).ok());
        id.ok_or_else(|| {
            Problem::new(
                Code::InvalidUserId,
                "name one user, in the path or as `user_id` in the query: 1 to 256 bytes of UTF-8 without control characters, percent-encoded",
            )
        })
    }

    fn of_query(query: &str) -> Self {
        let mut values = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(key, _)| *key == IN_QUERY);
        let (first, another) = (values.next(), values.next());
        let value = first.filter(|_| another.is_none()).map(|(_, value)| value.replace('+', " "));
        Self(value.and_then(|value| percent_decode_str(&value).decode_utf8().ok().map(Into::into)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UserName {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        if parts.extensions.get::<MatchedPath>().is_some_and(|path| path.as_str().contains("{id}"))
        {
            let in_path = Path::<String>::from_request_parts(parts, state).await;
            return Ok(Self(in_path.ok().map(|Path(id)| id)));
        }
        Ok(Self::of_query(parts.uri.query().unwrap_or_default()))
    }
}

impl IntoParams for UserName {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![path("id", UserIdText::schema(), "The user, percent-encoded.")]
    }
}

/// How a user is named in the query.
pub(in crate::adapters::http) fn user_in_query() -> Parameter {
    let about = "The user. In the query every id can be named; in the path clients and proxies change some, as `.` and `..`.";
    parameter(ParameterIn::Query, IN_QUERY, UserIdText::schema(), about)
        .required(Required::True)
        .build()
}

/// The user that the request names.
pub(in crate::adapters::http) struct NamedUser(pub(in crate::adapters::http) UserId);

impl<S: Send + Sync> FromRequestParts<S> for NamedUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(name) = UserName::from_request_parts(parts, state).await;
        name.id().map(Self)
    }
}

impl IntoParams for NamedUser {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        UserName::into_params(place)
    }
}

/// The id of a user: 1 to 256 bytes of UTF-8 without control characters.
#[derive(ToSchema)]
#[schema(as = UserId, min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
#[expect(dead_code, reason = "it is there to be described: `domain::topic` has the rules")]
pub(in crate::adapters::http) struct UserIdText(String);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_names_exactly_one_user() {
        let named = |query: &str| UserName::of_query(query).id().ok().map(|id| id.to_string());
        for (query, id) in [
            ("user_id=..", ".."),
            ("limit=2&user_id=%2e", "."),
            ("user_id=a%2Fb&after=7-1", "a/b"),
            ("user_id=%252e", "%2e"),
            ("user_id=a+b%2B", "a b+"),
            ("user_id=a=b", "a=b"),
            ("user_id=%F0%9F%98%80", "😀"),
        ] {
            assert_eq!(named(query).as_deref(), Some(id), "{query}");
        }
        for query in [
            "",
            "user_id",
            "user_id=",
            "user_id=%ff",
            "user_id=a%00",
            "user_id=a&user_id=b",
            "id=a",
            "USER_ID=a",
        ] {
            assert_eq!(named(query), None, "{query}");
        }
    }

    proptest! {
        #[test]
        fn every_id_can_be_named(id in "\\PC{1,60}") {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair(IN_QUERY, &id).finish();
            prop_assert_eq!(UserName::of_query(&query).id().map(|id| id.to_string()).ok(), Some(id));
        }
    }
}
