//! `POST /api/admin/users/{id}/events`: one event for one user, from an operator who wants to see
//! it arrive.

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};

use super::private;
use crate::{
    adapters::http::{
        Api, description,
        inputs::{Caller, Idempotency, NamedUser},
        problem::Problem,
        problem_code::Code,
        publication,
        receipt::Receipt,
        request_body,
    },
    domain::access::Operator,
};

description::refusals! {
    /// Of a test event.
    TestEventRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BODY, description::BACKEND,
        &[Code::InvalidUserId, Code::InvalidIdempotencyKey]
}

/// Publish a test event to a user.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/events", tag = "operate", operation_id = "publish_test_event",
    params(NamedUser, Idempotency),
    security(("bearer" = ["admin"])),
    request_body(description = "An event. The path or the query names who gets it.", content((description::TestEvent = "application/json"))),
    responses(
        (status = 200, description = "A repeat: the first id.", body = Receipt),
        (status = 201, description = "Published.", body = Receipt),
        (status = 202, description = "Pushing is switched off (`sse.push_enabled`): nothing was stored.", body = Receipt),
        TestEventRefusals,
    ),
)]
pub(super) async fn publish(
    Caller(operator): Caller<Operator>,
    State(api): State<Api>,
    NamedUser(user): NamedUser,
    Idempotency(idempotency_key): Idempotency,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    request_body::require_json(&parts.headers)?;
    let body = request_body::whole(&api.options, body).await?;
    let publication =
        publication::parse_for(user, &body, idempotency_key, api.publisher.registry())?;
    let (status, receipt) =
        Receipt::of(&api.publisher.publish(&operator.into(), publication).await?);
    Ok(private((status, Json(receipt))))
}
