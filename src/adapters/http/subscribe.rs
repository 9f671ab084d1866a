//! `GET /api/events`, and the other calls that answer with a stream: from the request to the stream, or to a refusal that
//! the client can see.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::stream;

use super::{
    Api,
    admin::{self, UserName},
    credentials, description,
    events_query::{ErrorsAs, EventsQuery},
    problem::{Problem, whole_seconds},
    problem_code::Code,
    request_id,
};
use crate::{
    app::subscriptions::{Subscribed, Subscription},
    domain::{
        access::Principal,
        frame::{Format, Frame},
        topic::MessageId,
    },
};

/// The path that a client came by, which decides the default format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entrance {
    Plain,
    V1,
}

impl Entrance {
    const fn default_format(self) -> Format {
        match self {
            Self::Plain => Format::Envelope,
            Self::V1 => Format::Named,
        }
    }
}

/// Delay told to a client while pushing is switched off.
const PUSH_DISABLED_RETRY_MS: u64 = 60_000;
/// Delay told with a refusal that waiting doesn't mend.
const HOPELESS_RETRY_MS: u64 = 60_000;

/// An accepted stream, on its way through the response's extensions to the connection, which drives it.
#[derive(Clone)]
pub(super) struct Handoff(Arc<Mutex<Option<Box<Subscription>>>>);

impl Handoff {
    fn new(subscription: Box<Subscription>) -> Self {
        Self(Arc::new(Mutex::new(Some(subscription))))
    }

    pub(super) fn take(&self) -> Option<Box<Subscription>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

description::refusals! {
    /// Of a subscription to a user's events.
    SubscribeRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BACKEND, &[
        Code::InvalidCategory,
        Code::InvalidFormat,
        Code::InvalidErrors,
        Code::InvalidKeepalive,
        Code::CategoryNotAllowed,
        Code::TooManyConnections,
        Code::ReplayBudgetExhausted,
    ]
}

/// Follow a user's events.
#[utoipa::path(
    get, path = "/api/events", tag = "user events", operation_id = "subscribe", params(description::Subscribing),
    security(("bearer" = []), ("cookie" = []), ("access_token" = [])),
    responses(
        (status = 200, description = description::EVENT_STREAM, headers(("Cache-Control" = String), ("X-Accel-Buffering" = String)),
         content((String = "text/event-stream", example = json!(description::EVENT_STREAM_EXAMPLE)))),
        SubscribeRefusals,
    ),
)]
pub(super) async fn subscribe(State(api): State<Api>, request: Request) -> Response {
    subscribe_by(Entrance::Plain, &api, &request.into_parts().0).await
}

/// Follow a user's events, in the format `named` unless the query says otherwise.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "user events", operation_id = "subscribe_v1", params(description::Subscribing),
    security(("bearer" = []), ("cookie" = []), ("access_token" = [])),
    responses(
        (status = 200, description = description::EVENT_STREAM, headers(("Cache-Control" = String), ("X-Accel-Buffering" = String)),
         content((String = "text/event-stream", example = json!(description::EVENT_STREAM_EXAMPLE)))),
        SubscribeRefusals,
    ),
)]
pub(super) async fn subscribe_v1(State(api): State<Api>, request: Request) -> Response {
    subscribe_by(Entrance::V1, &api, &request.into_parts().0).await
}

async fn subscribe_by(entrance: Entrance, api: &Api, request: &Parts) -> Response {
    let query = EventsQuery::of(&request.uri);
    let format = query.format(entrance.default_format()).unwrap_or(entrance.default_format());
    answer(open(api, entrance, &query, &request.headers).await, &query, request, format, api)
}

pub(super) async fn subscribe_to_message(api: &Api, id: MessageId, request: &Parts) -> Response {
    let query = EventsQuery::of(&request.uri);
    answer(open_message(api, id, &query, &request.headers).await, &query, request, Format::Envelope, api)
}

/// An operator's stream of a user's events. Its token is in the header: what a cookie or the query may carry is for reading
/// one's own.
pub(super) async fn subscribe_for_operator(api: &Api, user: &UserName, request: &Parts) -> Response {
    let query = EventsQuery::of(&request.uri);
    let format = query.format(Format::Envelope).unwrap_or_default();
    answer(open_for_operator(api, user, &query, &request.headers).await, &query, request, format, api)
}

fn answer(opened: Result<Subscribed, Problem>, query: &EventsQuery<'_>, request: &Parts, format: Format, api: &Api) -> Response {
    let errors_as = match query.errors_as() {
        Ok(errors_as) => errors_as,
        Err(problem) => return problem.into_response(),
    };
    match opened {
        Ok(Subscribed::Stream(mut subscription)) => {
            subscription.log_opening(request_id::of(&request.headers));
            // The connection puts the stream in its place.
            let mut response = event_stream(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()));
            response.extensions_mut().insert(Handoff::new(subscription));
            response
        }
        Ok(Subscribed::PushDisabled) => event_stream(Frame::farewell(None, Some(PUSH_DISABLED_RETRY_MS), "push disabled").body().into()),
        // A browser's `EventSource` would take a status for a reason to give up.
        Ok(Subscribed::Draining { retry_ms }) => event_stream(Frame::farewell(None, Some(retry_ms), "draining").body().into()),
        // The one status that tells an `EventSource` to stop, for good and without an error.
        Ok(Subscribed::MessageOver) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => {
            api.signals.refused(problem.code.as_str());
            match errors_as {
                ErrorsAs::Status => problem.into_response(),
                ErrorsAs::Stream => refused_stream(&problem, format, api.options.retry_ms),
            }
        }
    }
}

async fn open(api: &Api, entrance: Entrance, query: &EventsQuery<'_>, headers: &HeaderMap) -> Result<Subscribed, Problem> {
    // Looked at before anything is taken.
    query.errors_as()?;
    let principal = reader(api, query, headers).await?;
    let subscribe = query.request(headers, entrance.default_format(), api.publisher.registry())?;
    Ok(api.subscriptions.open(&principal, subscribe).await?)
}

async fn open_message(api: &Api, id: MessageId, query: &EventsQuery<'_>, headers: &HeaderMap) -> Result<Subscribed, Problem> {
    query.errors_as()?;
    let principal = reader(api, query, headers).await?;
    let style = query.style(Format::Envelope)?;
    Ok(api.subscriptions.open_message(&principal, id, query.message_cursor(headers), style).await?)
}

async fn open_for_operator(api: &Api, user: &UserName, query: &EventsQuery<'_>, headers: &HeaderMap) -> Result<Subscribed, Problem> {
    query.errors_as()?;
    let operator = admin::operator(api, headers).await?;
    let user = user.id()?;
    let subscribe = query.request(headers, Format::Envelope, api.publisher.registry())?;
    Ok(api.subscriptions.open_for_operator(&operator, &user, subscribe).await?)
}

async fn reader(api: &Api, query: &EventsQuery<'_>, headers: &HeaderMap) -> Result<Principal, Problem> {
    let token = credentials::of_reader(headers, query.access_token.as_deref(), &api.options);
    Ok(api.authenticator.authenticate(token).await?)
}

/// A refusal that a browser's `EventSource` can see, and after which it comes back by itself.
fn refused_stream(problem: &Problem, format: Format, retry_ms: u64) -> Response {
    let retry_ms = match problem.retry_after {
        Some(delay) => retry_ms.max(whole_seconds(delay) * 1_000),
        // The one refusal without a time that waiting mends: the message may be opened yet.
        None if problem.code == Code::MessageNotFound => retry_ms,
        None => retry_ms.max(HOPELESS_RETRY_MS),
    };
    let mut body = Frame::retry(retry_ms).body().to_vec();
    body.extend_from_slice(&Frame::control(format, &problem.to_control()).body());
    event_stream(body.into())
}

fn event_stream(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        // nginx and those that learnt from it buffer a response unless they are told not to.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (StatusCode::OK, headers, body).into_response()
}
