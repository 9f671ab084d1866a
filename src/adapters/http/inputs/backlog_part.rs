//! Which part of a user's backlog an operator asks for.

use axum::{extract::FromRequestParts, http::request::Parts};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Type,
        path::{Parameter, ParameterIn},
    },
};

use super::parameter::{query, text_schema};
use crate::{
    adapters::http::{problem::Problem, problem_code::Code},
    domain::position::{EventId, Position},
};

/// Events that are shown unless the request says otherwise, and at most.
const SHOWN: usize = 50;
const SHOWN_MAX: usize = 1_000;

/// The part.
pub(in crate::adapters::http) struct BacklogPart {
    /// Behind what it begins.
    pub(in crate::adapters::http) after: Position,
    /// Most events of it.
    pub(in crate::adapters::http) limit: usize,
}

impl<S: Sync> FromRequestParts<S> for BacklogPart {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut part = Self { after: Position::Start, limit: SHOWN };
        for (key, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        {
            match &*key {
                "after" => {
                    let bad = |_| Problem::new(Code::InvalidAfter, "`after` is the id of an event");
                    let id: EventId = value.parse().map_err(bad)?;
                    part.after =
                        Position::After(EventId::timed(id.major(), id.minor().unwrap_or(0)));
                }
                "limit" => {
                    let bad = || {
                        Problem::new(
                            Code::InvalidLimit,
                            format!("`limit` is a number from 1 to {SHOWN_MAX}"),
                        )
                    };
                    let limit = value.parse().ok().filter(|limit| (1..=SHOWN_MAX).contains(limit));
                    part.limit = limit.ok_or_else(bad)?;
                }
                _ => {}
            }
        }
        Ok(part)
    }
}

impl IntoParams for BacklogPart {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let event_id = text_schema(|text| text.pattern(Some(r"^\d{1,19}(-\d{1,19})?$")));
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(SHOWN_MAX));
        let about =
            "The id behind which the part begins; without it the part begins at the oldest event.";
        vec![
            query("after", event_id, about),
            query("limit", limit.default(Some(SHOWN.into())), "Most events of the answer."),
        ]
    }
}
