//! `/api/messages/{id}`: what producers, and a message's owner, can do with it.
//!
//! Invariant: who may not know of a message is answered as if it were not there; what changes something needs the
//! `Authorization` header, never a cookie.

mod append;
mod draft;
mod lines;
mod view;

use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use uuid::Uuid;

pub(super) use self::view::MessageView;
use self::{draft::Opening, view::StopView};
use super::{
    Api, credentials,
    problem::Problem,
    request_body::{self, MediaType},
    subscribe,
};
use crate::domain::{access::Principal, topic::MessageId};

/// A message's routes.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/messages/{id}", get(view).put(open).delete(delete))
        .route(
            "/api/messages/{id}/events",
            // Without this a HEAD would open a stream.
            get(subscribe).head(async || Problem::method_not_allowed()).post(append::append),
        )
        .route("/api/messages/{id}/heartbeat", post(heartbeat))
        .route("/api/messages/{id}/stop", post(stop))
}

type IdPath = Result<Path<String>, PathRejection>;

/// A message's id is a UUID as it is usually written, so that each message has one path.
pub(super) fn message_id(path: IdPath) -> Result<MessageId, Problem> {
    const TEXT_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;
    let id = path.ok().filter(|Path(text)| text.len() == TEXT_BYTES).and_then(|Path(text)| Uuid::parse_str(&text).ok());
    id.map(MessageId).ok_or_else(|| Problem::bad_request("invalid_message_id", "a message's id is a UUID with its dashes"))
}

/// The producer's word on which producer it is.
fn epoch(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("producer-epoch") else { return Ok(None) };
    let epoch = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    epoch
        .map(Some)
        .ok_or_else(|| Problem::bad_request("invalid_producer_epoch", "`Producer-Epoch` is the number that opening the message answered"))
}

async fn principal(api: &Api, headers: &HeaderMap) -> Result<Principal, Problem> {
    Ok(api.authenticator.authenticate(credentials::bearer(headers)).await?)
}

async fn producer(api: &Api, headers: &HeaderMap) -> Result<(), Problem> {
    Ok(api.producing.authorise(&principal(api, headers).await?)?)
}

async fn subscribe(State(api): State<Api>, path: IdPath, request: Request) -> Response {
    match message_id(path) {
        Ok(id) => subscribe::subscribe_to_message(&api, id, &request.into_parts().0).await,
        Err(problem) => problem.into_response(),
    }
}

async fn open(State(api): State<Api>, path: IdPath, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    producer(&api, &parts.headers).await?;
    let id = message_id(path)?;
    if request_body::media_type(&parts.headers) != MediaType::Json {
        return Err(Problem::unsupported_media_type());
    }
    let Opening { owner, takeover } = draft::opening(&request_body::whole(&api.options, body).await?)?;
    let opened = api.producing.open(id, &owner, takeover).await?;
    let status = if opened.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(MessageView::of(id, &opened.observed, api.producing.producer_idle()))).into_response())
}

async fn view(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    let principal = principal(&api, &headers).await?;
    let id = message_id(path)?;
    let observed = api.producing.view(&principal, id).await?;
    Ok(Json(MessageView::of(id, &observed, api.producing.producer_idle())).into_response())
}

async fn delete(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    producer(&api, &headers).await?;
    api.producing.delete(message_id(path)?).await?;
    Ok(Json(Done { success: true }).into_response())
}

async fn heartbeat(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    producer(&api, &headers).await?;
    let observed = api.producing.heartbeat(message_id(path)?, epoch(&headers)?).await?;
    Ok(Json(StopView::of(&observed, None)).into_response())
}

async fn stop(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    let principal = principal(&api, &headers).await?;
    let observed = api.producing.stop(&principal, message_id(path)?).await?;
    Ok(Json(StopView::of(&observed, Some(api.producing.producer_idle()))).into_response())
}

/// It was done.
#[derive(Serialize)]
struct Done {
    success: bool,
}
