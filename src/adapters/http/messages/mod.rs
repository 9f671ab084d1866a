//! `/api/messages/{id}`: what producers, and a message's owner, can do with it.
//!
//! Invariant: who may not know of a message is answered as if it were not there; what changes
//! something needs the `Authorization` header, never a cookie.

mod append;
mod draft;
mod lines;
mod receipt;
mod view;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{ToSchema, openapi::path::Operation};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::view::MessageView;
use self::{draft::Opening, receipt::AppendReceipt, view::StopView};
use super::{
    Api, description,
    inputs::{Caller, MessageEventsQuery, MessagePath, ProducerEpoch},
    problem::Problem,
    problem_code::Code,
    request_body, subscribe,
};
use crate::domain::access::{MessageProducer, Principal};

/// A message's routes.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(view, open, delete))
        .routes(routes!(subscribe, append::append))
        .routes(routes!(heartbeat))
        .routes(routes!(end))
        .routes(routes!(stop))
}

description::refusals! {
    /// Of a subscription to a message.
    SubscribeRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BACKEND,
        &[Code::InvalidMessageId, Code::InvalidFormat, Code::InvalidErrors, Code::InvalidKeepalive, Code::MessageNotFound, Code::TooManyConnections]
}

description::refusals! {
    /// Of an opening.
    OpenRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BODY, description::BACKEND,
        &[Code::InvalidMessageId, Code::MessageOwnedByAnother, Code::MessageComplete]
}

description::refusals! {
    /// Of what the owner may do, and producers.
    LookRefusals = description::AUTHENTICATION, description::BACKEND, &[Code::InvalidMessageId, Code::MessageNotFound]
}

description::refusals! {
    /// Of a removal.
    DeleteRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BACKEND,
        &[Code::InvalidMessageId, Code::MessageNotFound]
}

description::refusals! {
    /// Of an end.
    EndRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BODY, description::BACKEND, &[
        Code::InvalidMessageId,
        Code::InvalidProducerEpoch,
        Code::MessageNotFound,
        Code::ProducerFenced,
        Code::MessageTooLarge,
    ]
}

description::refusals! {
    /// Of a heartbeat.
    HeartbeatRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BACKEND, &[
        Code::InvalidMessageId,
        Code::InvalidProducerEpoch,
        Code::MessageNotFound,
        Code::MessageComplete,
        Code::ProducerFenced,
    ]
}

/// Follow a message.
#[utoipa::path(
    get, path = "/api/messages/{id}/events", tag = "message events", operation_id = "subscribe_to_message",
    params(MessagePath, MessageEventsQuery),
    security(("bearer" = []), ("cookie" = []), ("access_token" = [])),
    responses(
        (status = 200, description = description::MESSAGE_STREAM, headers(("Cache-Control" = String), ("X-Accel-Buffering" = String)),
         content((String = "text/event-stream", example = json!(description::MESSAGE_STREAM_EXAMPLE)))),
        (status = 204, description = "The client has all of a message that has ended. An `EventSource` stops then."),
        SubscribeRefusals,
    ),
)]
async fn subscribe(
    State(api): State<Api>,
    MessagePath(id): MessagePath,
    request: Request,
) -> Response {
    subscribe::subscribe_to_message(&api, &id, &request.into_parts().0).await
}

/// How the call is described, for routes that stand for it.
pub(super) fn subscribe_operation() -> Operation {
    <__path_subscribe as utoipa::Path>::operation()
}

/// Open a message, or take it over.
#[utoipa::path(
    put, path = "/api/messages/{id}", tag = "message events", operation_id = "open_message", params(MessagePath),
    security(("bearer" = ["messages:publish"])),
    request_body(content((draft::OpeningFields = "application/json"))),
    responses(
        (status = 200, description = "It was open before.", body = MessageView),
        (status = 201, description = "Opened.", body = MessageView),
        OpenRefusals,
    ),
)]
async fn open(
    Caller(producer): Caller<MessageProducer>,
    State(api): State<Api>,
    MessagePath(id): MessagePath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    request_body::require_json(&parts.headers)?;
    let Opening { owner, takeover } =
        draft::opening(&request_body::whole(&api.options, body).await?)?;
    let opened = api.producing.open(&producer, &id, &owner, takeover).await?;
    let status = if opened.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(MessageView::of(&id, &opened.observed, api.producing.producer_idle())))
        .into_response())
}

/// Where a message stands: for its owner, for producers and for admins.
#[utoipa::path(
    get, path = "/api/messages/{id}", tag = "message events", operation_id = "message", params(MessagePath),
    security(("bearer" = [])),
    responses((status = 200, description = "The message, without its events.", body = MessageView), LookRefusals),
)]
async fn view(
    Caller(principal): Caller<Principal>,
    State(api): State<Api>,
    MessagePath(id): MessagePath,
) -> Result<Response, Problem> {
    let observed = api.producing.view(&principal, &id).await?;
    Ok(Json(MessageView::of(&id, &observed, api.producing.producer_idle())).into_response())
}

/// Remove a message.
#[utoipa::path(
    delete, path = "/api/messages/{id}", tag = "message events", operation_id = "delete_message", params(MessagePath),
    security(("bearer" = ["messages:publish"])),
    responses((status = 200, description = "Removed.", body = Done), DeleteRefusals),
)]
async fn delete(
    Caller(producer): Caller<MessageProducer>,
    State(api): State<Api>,
    MessagePath(id): MessagePath,
) -> Result<Response, Problem> {
    api.producing.delete(&producer, &id).await?;
    Ok(Json(Done { success: true }).into_response())
}

/// The producer lives.
#[utoipa::path(
    post, path = "/api/messages/{id}/heartbeat", tag = "message events", operation_id = "heartbeat", params(MessagePath, ProducerEpoch),
    security(("bearer" = ["messages:publish"])),
    responses((status = 200, description = "Noted. It says whether the reader wants no more.", body = StopView), HeartbeatRefusals),
)]
async fn heartbeat(
    Caller(producer): Caller<MessageProducer>,
    State(api): State<Api>,
    MessagePath(id): MessagePath,
    ProducerEpoch(epoch): ProducerEpoch,
) -> Result<Response, Problem> {
    let observed = api.producing.heartbeat(&producer, &id, epoch).await?;
    Ok(Json(StopView::of(&observed, None)).into_response())
}

/// End a message without an event of one's own.
///
/// In the formats `payload` and `named` its readers get an event `end` or `error` without a
/// payload, in the format `data` its id alone. A message that has ended already stays as it is.
#[utoipa::path(
    post, path = "/api/messages/{id}/end", tag = "message events", operation_id = "end_message", params(MessagePath, ProducerEpoch),
    security(("bearer" = ["messages:publish"])),
    request_body(content((draft::EndFields = "application/json"))),
    responses((status = 200, description = "It has ended.", body = AppendReceipt), EndRefusals),
)]
async fn end(
    Caller(producer): Caller<MessageProducer>,
    State(api): State<Api>,
    MessagePath(id): MessagePath,
    ProducerEpoch(epoch): ProducerEpoch,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = request_body::whole(&api.options, body).await?;
    if !body.is_empty() {
        request_body::require_json(&parts.headers)?;
    }
    let ended = api.producing.end(&producer, &id, epoch, draft::end(&body)?).await?;
    Ok(Json(AppendReceipt::from(ended)).into_response())
}

/// The reader wants no more: for the message's owner, for producers and for admins.
///
/// From then on every append and heartbeat says `"stop": true`, and the producer ends the message.
#[utoipa::path(
    post, path = "/api/messages/{id}/stop", tag = "message events", operation_id = "stop", params(MessagePath),
    security(("bearer" = [])),
    responses((status = 200, description = "Noted.", body = StopView), LookRefusals),
)]
async fn stop(
    Caller(principal): Caller<Principal>,
    State(api): State<Api>,
    MessagePath(id): MessagePath,
) -> Result<Response, Problem> {
    let observed = api.producing.stop(&principal, &id).await?;
    Ok(Json(StopView::of(&observed, Some(api.producing.producer_idle()))).into_response())
}

/// It was done.
#[derive(Serialize, ToSchema)]
struct Done {
    /// Always true.
    success: bool,
}
