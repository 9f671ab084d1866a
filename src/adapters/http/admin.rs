//! `/api/admin`: what an operator can see and do. All of it needs the scope `admin`.
//!
//! Invariant: nothing is looked at before the scope is.

mod backlog;
mod export;
mod test_event;
mod user_paths;
mod view;

use axum::{
    Json,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    user_paths::in_path_or_query,
    view::{ConnectedView, Done, StatusView, UserView},
};
use super::{
    Api, description,
    inputs::{Caller, MessagePath, NamedUser, UserEventsQuery, UserName},
    messages::MessageView,
    problem::Problem,
    problem_code::Code,
    subscribe,
};
use crate::domain::access::Operator;

/// Whether that is the path of an admin call.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with("/api/admin/")
}

/// The routes of operators.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(in_path_or_query(routes!(user)))
        .routes(in_path_or_query(routes!(backlog::backlog, test_event::publish, purge)))
        .routes(in_path_or_query(routes!(follow)))
        .routes(in_path_or_query(routes!(close_connections)))
        .routes(routes!(message))
        .routes(routes!(export::export))
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

/// This process: its backends, its streams, who is connected.
#[utoipa::path(
    get, path = "/api/admin/status", tag = "operate", operation_id = "process", security(("bearer" = ["admin"])),
    responses((status = 200, description = "The process that answered.", body = StatusView), ProcessRefusals),
)]
async fn status(Caller(operator): Caller<Operator>, State(api): State<Api>) -> Response {
    let state = api.administration.process(&operator);
    let users = state
        .users
        .into_iter()
        .map(|(user, connections)| ConnectedView { user_id: user.to_string(), connections });
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
    private(Json(view))
}

/// A user's backlog, connections and replay budget.
#[utoipa::path(
    get, path = "/api/admin/users/{id}", tag = "operate", operation_id = "user", params(NamedUser),
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "The user's state.", body = UserView), UserRefusals),
)]
async fn user(
    Caller(operator): Caller<Operator>,
    State(api): State<Api>,
    NamedUser(user): NamedUser,
) -> Result<Response, Problem> {
    let state = api
        .administration
        .user(&operator, &user)
        .await
        .map_err(|error| Problem::backend(&error, BACKEND_AWAY))?;
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

/// Remove the events that are kept for a user.
#[utoipa::path(
    delete, path = "/api/admin/users/{id}/events", tag = "operate", operation_id = "purge", params(NamedUser),
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "Removed. Clients that had not read them get `backlog.truncated`.", body = Done), UserRefusals),
)]
async fn purge(
    Caller(operator): Caller<Operator>,
    State(api): State<Api>,
    NamedUser(user): NamedUser,
) -> Result<Response, Problem> {
    api.administration
        .purge(&operator, &user)
        .await
        .map_err(|error| Problem::backend(&error, BACKEND_AWAY))?;
    Ok(private(Json(Done { success: true, connections: None })))
}

/// End a user's streams in every process: a revoked session.
#[utoipa::path(
    delete, path = "/api/admin/users/{id}/connections", tag = "operate", operation_id = "close_connections", params(NamedUser),
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "The connections were closed; `connections` is how many.", body = Done), UserRefusals),
)]
async fn close_connections(
    Caller(operator): Caller<Operator>,
    State(api): State<Api>,
    NamedUser(user): NamedUser,
) -> Result<Response, Problem> {
    let closed = api.administration.close_connections(&operator, &user).await;
    let connections = Some(closed.map_err(|error| Problem::backend(&error, BACKEND_AWAY))?);
    Ok(private(Json(Done { success: true, connections })))
}

const BACKEND_AWAY: &str = "the backend can't be reached at the moment: try again later";

/// A user's events as they come, for an operator who looks on.
///
/// The stream is that of the user's clients. It takes no connection slot of theirs and nothing of
/// their replay budget, and it stays when their connections are closed.
#[utoipa::path(
    get, path = "/api/admin/users/{id}/events/stream", tag = "operate", operation_id = "look_on", params(UserName, UserEventsQuery),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = description::EVENT_STREAM, headers(("Cache-Control" = String), ("X-Accel-Buffering" = String)),
         content((String = "text/event-stream", example = json!(description::EVENT_STREAM_EXAMPLE)))),
        FollowRefusals,
    ),
)]
async fn follow(State(api): State<Api>, user: UserName, request: Request) -> Response {
    subscribe::subscribe_for_operator(&api, &user, &request.into_parts().0).await
}

/// Where a message stands.
#[utoipa::path(
    get, path = "/api/admin/messages/{id}", tag = "operate", operation_id = "message_for_operator", params(MessagePath),
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "The message, without its events.", body = MessageView), MessageRefusals),
)]
async fn message(
    Caller(operator): Caller<Operator>,
    State(api): State<Api>,
    MessagePath(id): MessagePath,
) -> Result<Response, Problem> {
    let observed = api.producing.view(operator.principal(), &id).await?;
    Ok(private(Json(MessageView::of(&id, &observed, api.producing.producer_idle()))))
}

/// What an operator sees must not be cached.
fn private(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}
