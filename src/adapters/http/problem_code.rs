//! What can go wrong, by the names that programs rely on.
//!
//! Invariant: a code is stable, and has one status. `docs/http-api.md` lists them all, and a test
//! holds the two together.

use axum::http::StatusCode;

macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $name:ident = $text:literal, $status:ident;)*) => {
        /// What is wrong with a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($(#[doc = $meaning])+ $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in answers, streams and metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The status of an answer with it.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                }
            }

            /// What it says, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($meaning),+).trim_ascii_start(),)*
                }
            }
        }
    };
}

codes! {
    /// The body is not valid JSON.
    InvalidJson = "invalid_json", BAD_REQUEST;
    /// The body broke off.
    IncompleteBody = "incomplete_body", BAD_REQUEST;
    /// The request has no `Host`, several, or a malformed one.
    InvalidHost = "invalid_host", BAD_REQUEST;
    /// The request has several `Authorization` headers.
    InvalidAuthorization = "invalid_authorization", BAD_REQUEST;
    /// `categories` names one that there isn't; the message lists the valid ones.
    InvalidCategory = "invalid_category", BAD_REQUEST;
    /// `format` is neither `envelope` nor `named`.
    InvalidFormat = "invalid_format", BAD_REQUEST;
    /// `errors` is neither `status` nor `stream`.
    InvalidErrors = "invalid_errors", BAD_REQUEST;
    /// `results` is neither `all` nor `failures`.
    InvalidResults = "invalid_results", BAD_REQUEST;
    /// The results of an upload were not read while it was sent.
    ResultsNotRead = "results_not_read", BAD_REQUEST;
    /// `keepalive` is neither `comment` nor `event`.
    InvalidKeepalive = "invalid_keepalive", BAD_REQUEST;
    /// `Idempotency-Key` is not 1 to 256 visible ASCII characters.
    InvalidIdempotencyKey = "invalid_idempotency_key", BAD_REQUEST;
    /// `Producer-Epoch` is not a number.
    InvalidProducerEpoch = "invalid_producer_epoch", BAD_REQUEST;
    /// The message's id is not a UUID with its dashes.
    InvalidMessageId = "invalid_message_id", BAD_REQUEST;
    /// The user's id, in the path or as `user_id` in the query, is not 1 to 256 bytes of
    /// percent-encoded UTF-8 without control characters.
    InvalidUserId = "invalid_user_id", BAD_REQUEST;
    /// `after` is not the id of an event.
    InvalidAfter = "invalid_after", BAD_REQUEST;
    /// `limit` is not a number within its bounds.
    InvalidLimit = "invalid_limit", BAD_REQUEST;
    /// The request carries no token where it may.
    MissingCredentials = "missing_credentials", UNAUTHORIZED;
    /// The token's time is over.
    TokenExpired = "token_expired", UNAUTHORIZED;
    /// The token is not one that this server takes.
    InvalidToken = "invalid_token", UNAUTHORIZED;
    /// The credentials lack a scope, or name no user whose events could be read.
    Forbidden = "forbidden", FORBIDDEN;
    /// The token does not grant that category.
    CategoryNotAllowed = "category_not_allowed", FORBIDDEN;
    /// No tokens are checked (`auth.mode` is `none`), and the request's host is no name of this
    /// machine.
    HostNotAllowed = "host_not_allowed", FORBIDDEN;
    /// No tokens are checked (`auth.mode` is `none`), and a page of another origin asks to change
    /// or administer something.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN;
    /// There is nothing at this path.
    NotFound = "not_found", NOT_FOUND;
    /// There is no such message, or it is another user's.
    MessageNotFound = "message_not_found", NOT_FOUND;
    /// The path does not allow the method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The request took too long to arrive.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT;
    /// The message belongs to another user.
    MessageOwnedByAnother = "message_owned_by_another", CONFLICT;
    /// The message has ended.
    MessageComplete = "message_complete", CONFLICT;
    /// Another producer has taken the message over.
    ProducerFenced = "producer_fenced", CONFLICT;
    /// There is another event under that number.
    SequenceConflict = "sequence_conflict", CONFLICT;
    /// The number would leave a hole; `expected_sequence_no` is the one to go on with.
    SequenceGap = "sequence_gap", CONFLICT;
    /// The event is larger than `server.max_body_bytes`, or a broadcast than a quarter of
    /// `hub.broadcasts_max_bytes`.
    EventTooLarge = "event_too_large", PAYLOAD_TOO_LARGE;
    /// The message would be larger than the backend can keep.
    MessageTooLarge = "message_too_large", PAYLOAD_TOO_LARGE;
    /// The body is neither `application/json` nor, where it may be, `application/x-ndjson`.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE;
    /// The body is compressed, or in another character encoding than UTF-8.
    UnsupportedEncoding = "unsupported_encoding", UNSUPPORTED_MEDIA_TYPE;
    /// A field is wrong; `field` names it.
    InvalidField = "invalid_field", UNPROCESSABLE_ENTITY;
    /// The body is JSON, but not of the right form.
    InvalidEvent = "invalid_event", UNPROCESSABLE_ENTITY;
    /// The user has as many streams open as are allowed.
    TooManyConnections = "too_many_connections", TOO_MANY_REQUESTS;
    /// The user has asked for too many replays in a short time.
    ReplayBudgetExhausted = "replay_budget_exhausted", TOO_MANY_REQUESTS;
    /// Something went wrong on the server; its log has more.
    InternalError = "internal_error", INTERNAL_SERVER_ERROR;
    /// What the backend holds of this user or message is damaged, or another program's; a retry
    /// does not help.
    TopicDamaged = "topic_damaged", INTERNAL_SERVER_ERROR;
    /// The backend can't be reached.
    BackendUnavailable = "backend_unavailable", SERVICE_UNAVAILABLE;
    /// As many backlogs are being read by operators as may be.
    TooManyBacklogs = "too_many_backlogs", SERVICE_UNAVAILABLE;
    /// Too many broadcasts are on their way to connections or processes.
    BroadcastsFull = "broadcasts_full", SERVICE_UNAVAILABLE;
    /// The keys to check tokens with can't be fetched.
    AuthUnavailable = "auth_unavailable", SERVICE_UNAVAILABLE;
    /// There are as many connections as `server.max_connections` allows: only `/healthz`, `/readyz`
    /// and `/metrics` are answered.
    ServerFull = "server_full", SERVICE_UNAVAILABLE;
    /// The process is shutting down.
    Draining = "draining", SERVICE_UNAVAILABLE;
}
