//! `Idempotency-Key`.

use axum::{extract::FromRequestParts, http::request::Parts};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::parameter::{header, text_schema};
use crate::{
    adapters::http::{problem::Problem, problem_code::Code},
    domain::idempotency_key::{IDEMPOTENCY_KEY_BYTES_MAX, IdempotencyKey},
};

/// What makes a repeat of the request recognisable, if it has such.
pub(in crate::adapters::http) struct Idempotency(
    pub(in crate::adapters::http) Option<IdempotencyKey>,
);

impl<S: Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let key = value.to_str().ok().and_then(|text| IdempotencyKey::parse(text).ok());
        let refusal = || {
            let message = format!(
                "`Idempotency-Key` has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"
            );
            Problem::new(Code::InvalidIdempotencyKey, message)
        };
        key.map(|key| Self(Some(key))).ok_or_else(refusal)
    }
}

impl IntoParams for Idempotency {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = text_schema(|text| {
            text.min_length(Some(1))
                .max_length(Some(IDEMPOTENCY_KEY_BYTES_MAX))
                .pattern(Some("^[!-~]+$"))
        });
        let about = "Makes a repeat recognisable: the same key on the same topic appends once, for `events.idempotency_window_seconds`. In an upload each line has a key of its own, made of this and its number.";
        vec![header("Idempotency-Key", schema, about)]
    }
}
