//! The message that a path names.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::parameter::{path, text_schema};
use crate::{
    adapters::http::problem::Problem,
    domain::topic::{InvalidMessageId, MESSAGE_ID_BYTES_MAX, MessageId},
};

/// The message that the path names.
pub(in crate::adapters::http) struct MessagePath(pub(in crate::adapters::http) MessageId);

impl<S: Send + Sync> FromRequestParts<S> for MessagePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        // A path whose escapes are no UTF-8 is no id either.
        let id = path.map_err(|_| InvalidMessageId).and_then(|Path(text)| MessageId::parse(&text));
        Ok(Self(id?))
    }
}

impl IntoParams for MessagePath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = text_schema(|text| {
            text.min_length(Some(1))
                .max_length(Some(MESSAGE_ID_BYTES_MAX))
                .pattern(Some("^[A-Za-z0-9._:-]+$"))
        });
        let about = "The message: an id of the producer's choice. A UUID in any spelling is the same message.";
        vec![path("id", schema, about)]
    }
}
