//! `Producer-Epoch`: which of a message's producers calls.

use axum::{extract::FromRequestParts, http::request::Parts};
use utoipa::{
    IntoParams, PartialSchema,
    openapi::path::{Parameter, ParameterIn},
};

use super::parameter::header;
use crate::adapters::http::{problem::Problem, problem_code::Code};

/// The epoch of the producer that calls, if it says it.
pub(in crate::adapters::http) struct ProducerEpoch(pub(in crate::adapters::http) Option<u64>);

impl<S: Sync> FromRequestParts<S> for ProducerEpoch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("producer-epoch") else { return Ok(Self(None)) };
        let epoch = value.to_str().ok().and_then(|text| text.trim().parse().ok());
        let message = "`Producer-Epoch` is the number that opening the message answered";
        epoch
            .map(|epoch| Self(Some(epoch)))
            .ok_or_else(|| Problem::new(Code::InvalidProducerEpoch, message))
    }
}

impl IntoParams for ProducerEpoch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "The `epoch` that opening the message answered. A producer that was taken over from is refused; without the header none is.";
        vec![header("Producer-Epoch", u64::schema(), about)]
    }
}
