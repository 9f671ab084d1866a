//! The one place where errors become HTTP answers.
//!
//! Invariant: every error is `{"success": false, "message", "code"}`, its code is stable, its
//! message says what to do, and `Retry-After` is there where waiting helps (promise 11).

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem_code::Code;
use crate::{
    app::{
        administration::ExportRefused,
        backlog::TooManyBacklogs,
        broadcasts::NoRoom,
        producing::ProduceError,
        publishing::{BACKEND_RETRY_AFTER, PublishError},
        refusal::Refusal,
    },
    domain::{
        access::Forbidden,
        frame::Control,
        message::{AppendRefusal, OpenRefusal},
        topic::InvalidMessageId,
    },
    ports::{
        authenticator::AuthError,
        backend_error::{BackendError, BackendErrorKind},
    },
};

/// An error response.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) code: Code,
    pub(super) message: String,
    /// The field of the body that is wrong.
    pub(super) field: Option<&'static str>,
    pub(super) retry_after: Option<Duration>,
    /// The number that a producer should go on with.
    expected_sequence_no: Option<u64>,
}

/// An error, as the body of an answer or as a line among results.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// Always false.
    success: bool,
    /// What is wrong and what to do, for people.
    message: &'a str,
    /// The stable name of what is wrong. Each operation lists those that it answers with.
    code: &'static str,
    /// The field of the body that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'static str>,
    /// The number that a producer should go on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expected_sequence_no: Option<u64>,
}

impl Problem {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: None,
            retry_after: None,
            expected_sequence_no: None,
        }
    }

    fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }

    /// A body that is well-formed, with a field that is wrong.
    pub(super) fn invalid_field(field: &'static str, reason: impl std::fmt::Display) -> Self {
        let message = format!("`{field}`: {reason}");
        Self { field: Some(field), ..Self::new(Code::InvalidField, message) }
    }

    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidEvent, message)
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message = format!(
            "an event has at most {bytes_max} bytes: send a reference to large content instead of the content"
        );
        Self::new(Code::EventTooLarge, message)
    }

    pub(super) fn unsupported_media_type() -> Self {
        let message = "send `Content-Type: application/json` for one event, or `application/x-ndjson` for one event a line";
        Self::new(Code::UnsupportedMediaType, message)
    }

    pub(super) fn incomplete_body() -> Self {
        Self::new(Code::IncompleteBody, "the body broke off: send it again")
    }

    /// The end of an upload, with what its client can do to have the next one taken.
    pub(super) fn results_not_read(advice: &str) -> Self {
        let message = format!(
            "the results were not read, so this line and those behind it were not taken: send them again, and {advice}"
        );
        Self::new(Code::ResultsNotRead, message)
    }

    pub(super) fn request_timeout() -> Self {
        Self::new(Code::RequestTimeout, "the request took too long to arrive: send it again")
    }

    pub(super) fn not_found() -> Self {
        Self::new(Code::NotFound, "there is nothing at this path: see the HTTP API's documentation")
    }

    fn no_such_message(message: String) -> Self {
        Self::new(Code::MessageNotFound, message)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            Code::MethodNotAllowed,
            "method not allowed for this path: see the HTTP API's documentation",
        )
    }

    pub(super) fn internal() -> Self {
        Self::new(Code::InternalError, "something went wrong on the server: its log has more")
    }

    /// What failed is in the log, once; the outside learns whether waiting helps.
    pub(super) fn backend(error: &BackendError, message: impl Into<String>) -> Self {
        match error.kind {
            BackendErrorKind::Damaged => Self::new(
                Code::TopicDamaged,
                "what the backend holds of this user or message is damaged, or another program's: the server's log says what is wrong, and a retry does not help until it is repaired or removed",
            ),
            BackendErrorKind::TooLarge => Self::new(
                Code::EventTooLarge,
                "the event is larger than the backend takes (of NATS: the server's max_payload): send less at once",
            ),
            BackendErrorKind::Rejected => Self::internal(),
            BackendErrorKind::Full => Self::backend_unavailable(
                "the backend has no room left, so nothing was stored: its operator has to make some; what is there can be read",
            ),
            _ => Self::backend_unavailable(message),
        }
    }

    /// Waiting helps.
    pub(super) fn backend_unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::BackendUnavailable, message).retry_after(BACKEND_RETRY_AFTER)
    }

    pub(super) fn draining() -> Self {
        /// A process that drains is gone soon, and whoever takes its place is there soon.
        const RETRY_AFTER: Duration = Duration::from_secs(1);
        let message = "this server is shutting down: send the request again";
        Self::new(Code::Draining, message).retry_after(RETRY_AFTER)
    }

    pub(super) fn server_full() -> Self {
        /// Places are free when streams end, which is not at once.
        const RETRY_AFTER: Duration = Duration::from_secs(5);
        let message = "the server has as many connections as it may have: try again later, or raise server.max_connections";
        Self::new(Code::ServerFull, message).retry_after(RETRY_AFTER)
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.code.status()
    }

    pub(super) fn body(&self) -> ProblemBody<'_> {
        let Self { message, code, field, expected_sequence_no, .. } = self;
        ProblemBody {
            success: false,
            message,
            code: code.as_str(),
            field: *field,
            expected_sequence_no: *expected_sequence_no,
        }
    }

    /// The same as an event in a stream, for clients that can't see a status.
    pub(super) fn to_control(&self) -> Control {
        Control::StreamRefused {
            status: self.status().as_u16(),
            code: self.code.as_str(),
            message: self.message.clone(),
            retry_after_seconds: self.retry_after.map(whole_seconds),
        }
    }
}

/// Rounded up: who comes back after so many seconds is not too early.
pub(super) fn whole_seconds(delay: Duration) -> u64 {
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(delay) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(delay)));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            let challenge = if self.code == Code::MissingCredentials {
                "Bearer"
            } else {
                "Bearer error=\"invalid_token\""
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl From<TooManyBacklogs> for Problem {
    fn from(refusal: TooManyBacklogs) -> Self {
        Self::new(Code::TooManyBacklogs, refusal.to_string()).retry_after(BACKEND_RETRY_AFTER)
    }
}

impl From<ExportRefused> for Problem {
    fn from(refusal: ExportRefused) -> Self {
        match refusal {
            ExportRefused::Forbidden(forbidden) => forbidden.into(),
            ExportRefused::TooMany(too_many) => too_many.into(),
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let message = error.to_string();
        match error {
            AuthError::Missing => Self::new(Code::MissingCredentials, message),
            AuthError::Expired => Self::new(Code::TokenExpired, message),
            AuthError::Invalid(_) => Self::new(Code::InvalidToken, message),
            AuthError::Unavailable { retry_after } => {
                Self::new(Code::AuthUnavailable, message).retry_after(retry_after)
            }
        }
    }
}

impl From<InvalidMessageId> for Problem {
    fn from(error: InvalidMessageId) -> Self {
        Self::new(Code::InvalidMessageId, error.to_string())
    }
}

impl From<Forbidden> for Problem {
    fn from(error: Forbidden) -> Self {
        Self::new(Code::Forbidden, error.to_string())
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Backend(ref cause) => Self::backend(cause, error.to_string()),
            PublishError::NoRoom(NoRoom::TooLarge { .. }) => {
                Self::new(Code::EventTooLarge, error.to_string())
            }
            PublishError::NoRoom(NoRoom::Full) => {
                Self::new(Code::BroadcastsFull, error.to_string()).retry_after(BACKEND_RETRY_AFTER)
            }
        }
    }
}

impl From<ProduceError> for Problem {
    fn from(error: ProduceError) -> Self {
        let message = error.to_string();
        match error {
            ProduceError::Forbidden(forbidden) => forbidden.into(),
            ProduceError::NoSuchMessage | ProduceError::Append(AppendRefusal::Unknown) => {
                Self::no_such_message(message)
            }
            ProduceError::Open(OpenRefusal::Another) => {
                Self::new(Code::MessageOwnedByAnother, message)
            }
            ProduceError::Open(OpenRefusal::Complete)
            | ProduceError::Append(AppendRefusal::Complete) => {
                Self::new(Code::MessageComplete, message)
            }
            ProduceError::Append(AppendRefusal::Fenced { .. }) => {
                Self::new(Code::ProducerFenced, message)
            }
            ProduceError::Append(AppendRefusal::Conflict { .. }) => {
                Self::new(Code::SequenceConflict, message)
            }
            ProduceError::Append(AppendRefusal::Gap { expected_sequence_no }) => Self {
                expected_sequence_no: Some(expected_sequence_no),
                ..Self::new(Code::SequenceGap, message)
            },
            ProduceError::Append(AppendRefusal::TooLarge) => {
                Self::new(Code::MessageTooLarge, message)
            }
            ProduceError::Backend(cause) => Self::backend(&cause, message),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Forbidden(forbidden) => forbidden.into(),
            Refusal::NoSuchMessage => Self::no_such_message(message),
            Refusal::CategoryNotAllowed(_) => Self::new(Code::CategoryNotAllowed, message),
            Refusal::TooManyConnections(refused) => {
                Self::new(Code::TooManyConnections, message).retry_after(refused.retry_after)
            }
            Refusal::ReplayBudgetExhausted(exhausted) => {
                Self::new(Code::ReplayBudgetExhausted, message).retry_after(exhausted.retry_after)
            }
            Refusal::Backend(cause) => Self::backend(&cause, message),
        }
    }
}
