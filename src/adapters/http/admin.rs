//! `/api/admin`: what an operator can see and do. All of it needs the scope `admin`.
//!
//! Invariant: nothing is looked at before the scope is.

mod test_event;

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Path, RawQuery, Request, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Api, credentials,
    messages::{self, MessageView},
    problem::Problem,
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
const SHOWN: usize = 50;
const SHOWN_MAX: usize = 1_000;
/// Most bytes of events in one answer, about.
const SHOWN_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) type IdPath = Result<Path<String>, PathRejection>;

/// The routes of operators.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/admin/status", get(status))
        .route("/api/admin/users/{id}", get(user))
        .route("/api/admin/users/{id}/events", get(backlog).post(test_event::publish).delete(purge))
        // Without this a HEAD would open a stream.
        .route("/api/admin/users/{id}/events/stream", get(follow).head(async || Problem::method_not_allowed()))
        .route("/api/admin/users/{id}/connections", delete(close_connections))
        .route("/api/admin/messages/{id}", get(message))
}

/// What there is of a user.
#[derive(Serialize)]
struct UserView {
    success: bool,
    user_id: String,
    backlog_length: u64,
    /// Null if nothing is retained.
    oldest_id: Option<String>,
    head_id: Option<String>,
    /// Over all processes.
    connections: u32,
    connections_here: u32,
    /// Null for no cap.
    connections_max: Option<u32>,
    /// Null for no budget.
    replays_left: Option<u32>,
    replays_max: Option<u32>,
}

/// A part of a user's backlog.
#[derive(Serialize)]
struct BacklogView {
    success: bool,
    /// Oldest first, as clients see them.
    events: Vec<Box<RawValue>>,
    /// Whether there are more behind the last; ask with its id in `after`.
    more: bool,
}

/// What there is of this process.
#[derive(Serialize)]
struct StatusView {
    success: bool,
    version: &'static str,
    uptime_seconds: u64,
    draining: bool,
    /// By what a backend is used for: whether it answered when it was last asked.
    backends: BTreeMap<&'static str, bool>,
    connections: usize,
    topics_followed: usize,
    ring_bytes: usize,
    /// Who is connected to this process; those with the most connections.
    users: Vec<ConnectedView>,
}

#[derive(Serialize)]
struct ConnectedView {
    user_id: String,
    connections: u32,
}

/// It was done.
#[derive(Serialize)]
struct Done {
    success: bool,
    /// Connections that there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u32>,
}

/// Whoever asks, if they may administer.
pub(super) async fn operator(api: &Api, headers: &HeaderMap) -> Result<Principal, Problem> {
    let principal = api.authenticator.authenticate(credentials::bearer(headers)).await?;
    api.administration.authorise(&principal)?;
    Ok(principal)
}

pub(super) fn user_id(path: IdPath) -> Result<UserId, Problem> {
    let id = path.ok().and_then(|Path(text)| UserId::parse(&text).ok());
    id.ok_or_else(|| {
        Problem::bad_request("invalid_user_id", "a user id has 1 to 256 bytes of UTF-8 without control characters, percent-encoded")
    })
}

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

async fn user(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    operator(&api, &headers).await?;
    let user = user_id(path)?;
    let state = api.administration.user(&user).await.map_err(|_| Problem::backend_unavailable(BACKEND_AWAY))?;
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

async fn backlog(State(api): State<Api>, path: IdPath, RawQuery(query): RawQuery, headers: HeaderMap) -> Result<Response, Problem> {
    operator(&api, &headers).await?;
    let user = user_id(path)?;
    let (after, entries_max) = part(query.as_deref().unwrap_or_default())?;
    let limit = PageLimit { entries_max, bytes_max: SHOWN_BYTES_MAX };
    let page = api.administration.backlog(&user, after, limit).await.map_err(|_| Problem::backend_unavailable(BACKEND_AWAY))?;
    let topic = Topic::User(user);
    let events: Result<Vec<_>, _> =
        page.entries.iter().map(|entry| RawValue::from_string(envelope_json(&topic, entry.id, &entry.event))).collect();
    Ok(private(Json(BacklogView { success: true, events: events.map_err(|_| Problem::internal())?, more: page.more })))
}

async fn purge(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    operator(&api, &headers).await?;
    api.administration.purge(&user_id(path)?).await.map_err(|_| Problem::backend_unavailable(BACKEND_AWAY))?;
    Ok(private(Json(Done { success: true, connections: None })))
}

async fn close_connections(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Result<Response, Problem> {
    operator(&api, &headers).await?;
    let closed = api.administration.close_connections(&user_id(path)?).await;
    let connections = Some(closed.map_err(|_| Problem::backend_unavailable(BACKEND_AWAY))?);
    Ok(private(Json(Done { success: true, connections })))
}

const BACKEND_AWAY: &str = "the backend can't be reached at the moment: try again later";

/// Which part of a backlog the query asks for.
fn part(query: &str) -> Result<(Position, usize), Problem> {
    let (mut after, mut limit) = (Position::Start, SHOWN);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "after" => {
                let id: EventId = value.parse().map_err(|_| Problem::bad_request("invalid_after", "`after` is the id of an event"))?;
                after = Position::After(EventId::timed(id.major(), id.minor().unwrap_or(0)));
            }
            "limit" => {
                let bad = || Problem::bad_request("invalid_limit", format!("`limit` is a number from 1 to {SHOWN_MAX}"));
                limit = value.parse().ok().filter(|limit| (1..=SHOWN_MAX).contains(limit)).ok_or_else(bad)?;
            }
            _ => {}
        }
    }
    Ok((after, limit))
}

async fn follow(State(api): State<Api>, path: IdPath, request: Request) -> Response {
    subscribe::subscribe_for_operator(&api, path, &request.into_parts().0).await
}

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
