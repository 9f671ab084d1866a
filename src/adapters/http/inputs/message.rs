//! The message that a path names.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use utoipa::{
    IntoParams,
    openapi::{
        SchemaFormat,
        path::{Parameter, ParameterIn},
        schema::KnownFormat,
    },
};
use uuid::Uuid;

use super::parameter::{path, text_schema};
use crate::{
    adapters::http::{problem::Problem, problem_code::Code},
    domain::topic::MessageId,
};

/// The message that the path names. Its id is a UUID as it is usually written, so that each message
/// has one path.
pub(in crate::adapters::http) struct MessagePath(pub(in crate::adapters::http) MessageId);

impl<S: Send + Sync> FromRequestParts<S> for MessagePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        const TEXT_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;
        let text =
            Path::<String>::from_request_parts(parts, state).await.ok().map(|Path(text)| text);
        let id = text
            .filter(|text| text.len() == TEXT_BYTES)
            .and_then(|text| Uuid::parse_str(&text).ok());
        let id = id.ok_or_else(|| {
            Problem::new(Code::InvalidMessageId, "a message's id is a UUID with its dashes")
        })?;
        Ok(Self(MessageId(id)))
    }
}

impl IntoParams for MessagePath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema =
            text_schema(|text| text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))));
        vec![path("id", schema, "The message: a UUID with its dashes.")]
    }
}
