//! `GET /api/events`, and the other calls that answer with a stream: from the request to the
//! stream, or to a refusal that the client can see.

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
use utoipa::openapi::path::Operation;

use super::{
    Api, credentials, description,
    inputs::{CursorParameter, ErrorsAs, EventsQuery, Formats, UserEventsQuery, UserName},
    problem::{Problem, whole_seconds},
    problem_code::Code,
    request_id,
};
use crate::{
    app::{
        message_subscriptions::{MessageRequest, MessageSubscribed},
        refusal::Refusal,
        subscription::Subscription,
        subscriptions::{SubscribeRequest, Subscribed},
    },
    domain::{
        access::{Operator, Principal},
        frame::{Endings, Format, Frame, StreamStyle},
        topic::MessageId,
    },
};

/// After how long a client comes back while pushing is switched off.
const PUSH_DISABLED_RETRY_MS: u64 = 60_000;
/// After how long a client comes back that was refused for a reason that waiting does not change.
const PERMANENT_REFUSAL_RETRY_MS: u64 = 60_000;

/// An accepted stream, on its way through the response's extensions to the connection, which drives
/// it.
#[derive(Clone)]
struct Handoff(Arc<Mutex<Option<Box<Subscription>>>>);

/// Whether a response is the beginning of a stream.
pub(super) fn is_stream(response: &Response) -> bool {
    response.extensions().get::<Handoff>().is_some()
}

/// The stream that a response begins: whoever takes it drives it.
pub(super) fn take_stream(response: &mut Response) -> Option<Box<Subscription>> {
    let Handoff(slot) = response.extensions_mut().remove()?;
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
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
    get, path = "/api/events", tag = "user events", operation_id = "subscribe", params(UserEventsQuery),
    security(("bearer" = []), ("cookie" = []), ("access_token" = [])),
    responses(
        (status = 200, description = description::EVENT_STREAM, headers(("Cache-Control" = String), ("X-Accel-Buffering" = String)),
         content((String = "text/event-stream", example = json!(description::EVENT_STREAM_EXAMPLE)))),
        SubscribeRefusals,
    ),
)]
pub(super) async fn subscribe(State(api): State<Api>, request: Request) -> Response {
    follow_user(&api, &request.into_parts().0, StreamHabits::of(Formats::OfEvents(Format::Whole)))
        .await
}

/// Follow a user's events, in the format `named` unless the query says otherwise.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "user events", operation_id = "subscribe_v1", params(UserEventsQuery),
    security(("bearer" = []), ("cookie" = []), ("access_token" = [])),
    responses(
        (status = 200, description = description::EVENT_STREAM, headers(("Cache-Control" = String), ("X-Accel-Buffering" = String)),
         content((String = "text/event-stream", example = json!(description::EVENT_STREAM_EXAMPLE)))),
        SubscribeRefusals,
    ),
)]
pub(super) async fn subscribe_v1(State(api): State<Api>, request: Request) -> Response {
    follow_user(&api, &request.into_parts().0, StreamHabits::of(Formats::OfEvents(Format::Named)))
        .await
}

/// How the call is described, for routes that stand for it.
pub(super) fn operation() -> Operation {
    <__path_subscribe as utoipa::Path>::operation()
}

/// What a path has its clients get, where they don't choose.
pub(super) struct StreamHabits<'a> {
    /// The formats that it offers.
    pub(super) formats: Formats,
    /// Another name of the cursor.
    pub(super) cursor: Option<&'a CursorParameter>,
    /// How the stream of a message ends.
    pub(super) endings: Option<Arc<Endings>>,
}

impl StreamHabits<'_> {
    const fn of(formats: Formats) -> Self {
        Self { formats, cursor: None, endings: None }
    }
}

/// The same for a message.
#[derive(Clone, Copy, Default)]
pub(super) struct MessageHabits<'a> {
    /// The status of a message that is not there, where it is not 404. A reader does not wait for
    /// it then.
    pub(super) unknown: Option<StatusCode>,
    /// The status of a message that has ended, where it is not sent again.
    pub(super) finished: Option<StatusCode>,
    /// The header that has the number of the message's last event.
    pub(super) last_index_header: Option<&'a HeaderName>,
}

pub(super) async fn follow_user(api: &Api, request: &Parts, habits: StreamHabits<'_>) -> Response {
    let call = StreamCall::of(api, request, habits);
    let opened = async {
        let principal = call.reader().await?;
        Ok(api.subscriptions.open(&principal, call.user_request()?).await?)
    };
    call.answer(opened).await
}

pub(super) async fn subscribe_to_message(api: &Api, id: &MessageId, request: &Parts) -> Response {
    let habits = StreamHabits::of(Formats::OfMessage);
    follow_message(api, id, request, habits, MessageHabits::default()).await
}

pub(super) async fn follow_message(
    api: &Api,
    id: &MessageId,
    request: &Parts,
    habits: StreamHabits<'_>,
    of_message: MessageHabits<'_>,
) -> Response {
    let MessageHabits { unknown, finished, last_index_header } = of_message;
    let call = StreamCall::of(api, request, habits);
    let (mut last_sequence_no, mut is_unknown) = (None, false);
    let opened = async {
        let principal = call.reader().await?;
        let request = MessageRequest {
            start: call.query.message_start(call.headers),
            style: call.style()?,
            waits: unknown.is_none(),
            wants_finished: finished.is_none(),
        };
        let opened = api.subscriptions.open_message(&principal, id, request).await;
        is_unknown = matches!(opened, Err(Refusal::NoSuchMessage));
        let MessageSubscribed { subscribed, last_sequence_no: last } = opened?;
        last_sequence_no = last;
        Ok(subscribed)
    };
    let mut response = call.answer(opened).await;
    if let Some(status) = unknown.filter(|_| is_unknown) {
        return empty(status);
    }
    if response.status() == StatusCode::NO_CONTENT
        && let Some(status) = finished
    {
        return empty(status);
    }
    if let (Some(name), Some(last)) = (last_index_header, last_sequence_no)
        && response.status() == StatusCode::OK
    {
        response.headers_mut().insert(name.clone(), last.into());
    }
    response
}

/// What a route answers where there is no stream: no content, or that there is no such thing.
fn empty(status: StatusCode) -> Response {
    if status == StatusCode::NO_CONTENT {
        status.into_response()
    } else {
        Problem::from(Refusal::NoSuchMessage).into_response()
    }
}

/// An operator's stream of a user's events. Its token is in the header: what a cookie or the query
/// may carry is for reading one's own.
pub(super) async fn subscribe_for_operator(
    api: &Api,
    user: &UserName,
    request: &Parts,
) -> Response {
    let habits = StreamHabits::of(Formats::OfEvents(Format::Whole));
    let call = StreamCall::of(api, request, habits);
    let opened = async {
        let operator =
            Operator::try_from(call.principal(credentials::bearer(call.headers)).await?)?;
        let user = user.id()?;
        Ok(api.subscriptions.open_for_operator(&operator, &user, call.user_request()?).await?)
    };
    call.answer(opened).await
}

/// A call that is answered with a stream.
struct StreamCall<'a> {
    api: &'a Api,
    query: EventsQuery<'a>,
    headers: &'a HeaderMap,
    /// The path decides these.
    formats: Formats,
    endings: Option<Arc<Endings>>,
}

impl<'a> StreamCall<'a> {
    fn of(api: &'a Api, request: &'a Parts, habits: StreamHabits<'_>) -> Self {
        let StreamHabits { formats, cursor, endings } = habits;
        let query = EventsQuery::of(&request.uri);
        let query = match cursor {
            Some(parameter) => query.with_cursor(&request.uri, parameter),
            None => query,
        };
        Self { api, query, headers: &request.headers, formats, endings }
    }

    fn style(&self) -> Result<StreamStyle, Problem> {
        Ok(StreamStyle { endings: self.endings.clone(), ..self.query.style(self.formats)? })
    }

    async fn reader(&self) -> Result<Principal, Problem> {
        let in_query = self.query.access_token.as_deref();
        self.principal(credentials::of_reader(self.headers, in_query, &self.api.options)).await
    }

    async fn principal(&self, token: Option<&str>) -> Result<Principal, Problem> {
        Ok(self.api.authenticator.authenticate(token).await?)
    }

    fn user_request(&self) -> Result<SubscribeRequest, Problem> {
        self.query.request(self.headers, self.style()?, self.api.publisher.registry())
    }

    /// Opens the stream, and answers with it or with the refusal.
    async fn answer(&self, opened: impl Future<Output = Result<Subscribed, Problem>>) -> Response {
        // How to refuse has to be known before anything is taken.
        let errors_as = match self.query.errors_as() {
            Ok(errors_as) => errors_as,
            Err(problem) => return problem.into_response(),
        };
        match opened.await {
            Ok(Subscribed::Stream(mut subscription)) => {
                subscription.log_opening(request_id::of(self.headers));
                // The connection puts the stream in its place.
                let mut response =
                    event_stream(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()));
                response.extensions_mut().insert(Handoff(Arc::new(Mutex::new(Some(subscription)))));
                response
            }
            Ok(Subscribed::PushDisabled) => event_stream(
                Frame::farewell(None, Some(PUSH_DISABLED_RETRY_MS), "push disabled").body().into(),
            ),
            // A browser's `EventSource` would take a status for a reason to give up.
            Ok(Subscribed::Draining { retry_ms }) => {
                event_stream(Frame::farewell(None, Some(retry_ms), "draining").body().into())
            }
            // The one status that makes an `EventSource` stop, for good and without an error.
            Ok(Subscribed::MessageOver) => StatusCode::NO_CONTENT.into_response(),
            Err(problem) => {
                self.api.signals.refused(problem.code.as_str());
                match errors_as {
                    ErrorsAs::Status => problem.into_response(),
                    ErrorsAs::Stream => self.refused_stream(&problem),
                }
            }
        }
    }

    /// A refusal that a browser's `EventSource` can see, and after which it comes back by itself.
    fn refused_stream(&self, problem: &Problem) -> Response {
        let usual_ms = self.api.options.retry_ms;
        let retry_ms = match problem.retry_after {
            Some(delay) => usual_ms.max(whole_seconds(delay) * 1_000),
            // The one refusal without a time that waiting mends: the message may be opened yet.
            None if problem.code == Code::MessageNotFound => usual_ms,
            None => usual_ms.max(PERMANENT_REFUSAL_RETRY_MS),
        };
        // A format that is unknown may be what was refused.
        let format = self.query.format(self.formats).unwrap_or_else(|_| self.formats.default());
        let mut body = Frame::retry(retry_ms).body().to_vec();
        body.extend_from_slice(&Frame::control(format, &problem.to_control()).body());
        event_stream(body.into())
    }
}

fn event_stream(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        // nginx and those that learnt from it buffer a response unless they are asked not to.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (StatusCode::OK, headers, body).into_response()
}
