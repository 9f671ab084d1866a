//! `/api/admin`: what an operator can see and do. All of it needs the scope `admin`.
//!
//! Invariant: nothing is looked at before the scope is.

mod test_event;
mod view;

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde_json::value::RawValue;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::view::{BacklogView, ConnectedView, Done, StatusView, UserView};
use super::{
    Api, credentials, description,
    messages::{self, MessageView},
    problem::Problem,
    problem_code::Code,
    subscribe,
};
use crate::{
    domain::{
        access::Principal,
        frame::envelope_json,
        position::{EventId, Position},
        topic::{Topic, UserId},
    },
    ports::topic_log::PageLimit,
};

/// Events of a backlog that are shown unless the request says otherwise, and at most.
pub(super) const SHOWN: usize = 50;
pub(super) const SHOWN_MAX: usize = 1_000;
/// Most bytes of events in one answer, about.
const SHOWN_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) type IdPath = Result<Path<String>, PathRejection>;

/// The routes of operators.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(user))
        .routes(routes!(backlog, test_event::publish, purge))
        .routes(routes!(follow))
        .routes(routes!(close_connections))
        .routes(routes!(message))
}

description::refusals! {
    /// Of a look at the process.
    ProcessRefusals = description::AUTHENTICATION, description::AUTHORISATION
}

description::refusals! {
    /// Of what concerns a user.
    UserRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BACKEND, &[Code::InvalidUserId]
}

description::refusals! {
    /// Of a look at a backlog.
    BacklogRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BACKEND,
        &[Code::InvalidUserId, Code::InvalidAfter, Code::InvalidLimit]
}

description::refusals! {
    /// Of a look at what comes.
    FollowRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BACKEND,
        &[
            Code::InvalidUserId,
            Code::InvalidCategory,
            Code::InvalidFormat,
            Code::InvalidErrors,
            Code::InvalidKeepalive,
            Code::CategoryNotAllowed,
        ]
}

description::refusals! {
    /// Of a look at a message.
    MessageRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BACKEND,
        &[Code::InvalidMessageId, Code::MessageNotFound]
}

/// Whoever asks, if they may administer.
pub(super) async fn operator(api: &Api, headers: &HeaderMap) -> Result<Principal, Problem> {
    let principal = api.authenticator.authenticate(credentials::bearer(headers)).await?;
    api.administration.authorise(&principal)?;
    Ok(principal)
}

pub(super) fn user_id(path: IdPath) -> Result<UserId, Problem> {
    let id = path.ok().and_then(|Path(text)| UserId::parse(&text).ok());
    id.ok_or_else(|| Problem::new(Code::InvalidUserId, "a user id has 1 to 256 bytes of UTF-8 without control characters, percent-encoded"))
}

/// This process: its backends, its streams, who is connected.
#[utoipa::path(
    get, path = "/api/admin/status", tag = "operate", operation_id = "process", security(("bearer" = ["admin"])),
    responses((status = 200, description = "The process that answered.", body = StatusView), ProcessRefusals),
)]
async fn status(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    operator(&api, &headers).await?;
    let state = api.administration.process();
    let users = state.users.into_iter().map(|(user, connections)| ConnectedView { user_id: user.to_string(), connections });
    let view = StatusView {
        success: true,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: state.uptime_seconds,
        draining: state.draining,
        backends: state.backends,
        connections: state.connections,
        topics_followed: state.topics_followed,
        ring_bytes: state.ring_bytes,
        users: users.collect(),
    };
    Ok(private(Json(view)))
}

/// A user's backlog, connections and replay budget.
#[utoipa::path(
    get, path = "/api/admin/users/{id}", tag = "operate", operation_id = "user", params(description::OneUser),
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "What there is of the user.", body = UserView), UserRefusals),
)]
async fn user(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    operator(&api, &headers).await?;
    let user = user_id(path)?;
    let state = api.administration.user(&user).await.map_err(|error| Problem::backend(&error, BACKEND_AWAY))?;
    let view = UserView {
        success: true,
        user_id: user.to_string(),
        backlog_length: state.backlog_length,
        oldest_id: state.bounds.oldest.map(|id| id.to_string()),
        head_id: state.bounds.head.id().map(|id| id.to_string()),
        connections: state.usage.connections,
        connections_here: state.usage.connections_here,
        connections_max: state.usage.connections_max,
        replays_left: state.usage.replays_left,
        replays_max: state.usage.replays_max,
    };
    Ok(private(Json(view)))
}

/// The events that are kept for a user, oldest first.
#[utoipa::path(
    get, path = "/api/admin/users/{id}/events", tag = "operate", operation_id = "backlog", params(description::OneBacklog),
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "A part of the backlog.", body = BacklogView), BacklogRefusals),
)]
async fn backlog(State(api): State<Api>, path: IdPath, RawQuery(query): RawQuery, headers: HeaderMap) -> Result<Response, Problem> {
    operator(&api, &headers).await?;
    let user = user_id(path)?;
    let (after, entries_max) = part(query.as_deref().unwrap_or_default())?;
    let limit = PageLimit { entries_max, bytes_max: SHOWN_BYTES_MAX };
    let page = api.administration.backlog(&user, after, limit).await.map_err(|error| Problem::backend(&error, BACKEND_AWAY))?;
    let topic = Topic::User(user);
    let events: Result<Vec<_>, _> =
        page.entries.iter().map(|entry| RawValue::from_string(envelope_json(&topic, entry.id, &entry.event))).collect();
    Ok(private(Json(BacklogView { success: true, events: events.map_err(|_| Problem::internal())?, more: page.more })))
}

/// Remove the events that are kept for a user.
#[utoipa::path(
    delete, path = "/api/admin/users/{id}/events", tag = "operate", operation_id = "purge", params(description::OneUser),
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "Removed. Clients that had not read them are told `backlog.truncated`.", body = Done), UserRefusals),
)]
async fn purge(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    operator(&api, &headers).await?;
    api.administration.purge(&user_id(path)?).await.map_err(|error| Problem::backend(&error, BACKEND_AWAY))?;
    Ok(private(Json(Done { success: true, connections: None })))
}

/// End a user's streams in every process: a revoked session.
#[utoipa::path(
    delete, path = "/api/admin/users/{id}/connections", tag = "operate", operation_id = "close_connections", params(description::OneUser),
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "Told to end; `connections` says how many there were.", body = Done), UserRefusals),
)]
async fn close_connections(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    operator(&api, &headers).await?;
    let closed = api.administration.close_connections(&user_id(path)?).await;
    let connections = Some(closed.map_err(|error| Problem::backend(&error, BACKEND_AWAY))?);
    Ok(private(Json(Done { success: true, connections })))
}

const BACKEND_AWAY: &str = "the backend can't be reached at the moment: try again later";

/// Which part of a backlog the query asks for.
fn part(query: &str) -> Result<(Position, usize), Problem> {
    let (mut after, mut limit) = (Position::Start, SHOWN);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "after" => {
                let id: EventId = value.parse().map_err(|_| Problem::new(Code::InvalidAfter, "`after` is the id of an event"))?;
                after = Position::After(EventId::timed(id.major(), id.minor().unwrap_or(0)));
            }
            "limit" => {
                let bad = || Problem::new(Code::InvalidLimit, format!("`limit` is a number from 1 to {SHOWN_MAX}"));
                limit = value.parse().ok().filter(|limit| (1..=SHOWN_MAX).contains(limit)).ok_or_else(bad)?;
            }
            _ => {}
        }
    }
    Ok((after, limit))
}

/// A user's events as they come, for an operator who looks on.
///
/// The stream is that of the user's clients. It takes no connection slot of theirs and nothing of their replay budget, and it stays
/// when their connections are closed.
#[utoipa::path(
    get, path = "/api/admin/users/{id}/events/stream", tag = "operate", operation_id = "look_on", params(description::LookingOn),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = description::EVENT_STREAM, headers(("Cache-Control" = String), ("X-Accel-Buffering" = String)),
         content((String = "text/event-stream", example = json!(description::EVENT_STREAM_EXAMPLE)))),
        FollowRefusals,
    ),
)]
async fn follow(State(api): State<Api>, path: IdPath, request: Request) -> Response {
    subscribe::subscribe_for_operator(&api, path, &request.into_parts().0).await
}

/// Where a message stands.
#[utoipa::path(
    get, path = "/api/admin/messages/{id}", tag = "operate", operation_id = "message_for_operator", params(description::OneMessage),
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "The message, without its events.", body = MessageView), MessageRefusals),
)]
async fn message(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    let operator = operator(&api, &headers).await?;
    let id = messages::message_id(path)?;
    let observed = api.producing.view(&operator, id).await?;
    Ok(private(Json(MessageView::of(id, &observed, api.producing.producer_idle()))))
}

/// What an operator sees is for nobody's cache.
fn private(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}
