//! `POST /api/admin/users/{id}/events`: one event for one user, from an operator who wants to see it arrive.

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};

use super::{IdPath, operator, private, user_id};
use crate::adapters::http::{
    Api,
    problem::Problem,
    publication,
    publish::Receipt,
    request_body::{self, MediaType},
};

pub(super) async fn publish(State(api): State<Api>, path: IdPath, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    operator(&api, &parts.headers).await?;
    let user = user_id(path)?;
    if request_body::media_type(&parts.headers) != MediaType::Json {
        return Err(Problem::unsupported_media_type());
    }
    let idempotency_key = request_body::idempotency_key(&parts.headers)?;
    let body = request_body::whole(&api.options, body).await?;
    let publication = publication::parse_for(user, &body, idempotency_key, api.publisher.registry())?;
    let (status, receipt) = Receipt::of(&api.publisher.publish(publication).await?);
    Ok(private((status, Json(receipt))))
}
