//! The bodies of requests that publish or produce: what they say they are, and what they hold.
//!
//! Invariant: nothing larger than one event may be is ever held.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{ApiOptions, problem::Problem, problem_code::Code};
use crate::ports::journal::IdempotencyKey;

/// Reads a body to its end.
pub(super) async fn whole(options: &ApiOptions, body: Body) -> Result<Bytes, Problem> {
    let bytes_max = options.body_bytes_max;
    // A client that asks before it sends is not told to send what is too large.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Problem::too_large(bytes_max));
    }
    let arrival = tokio::time::timeout(options.request_timeout, Limited::new(body, bytes_max).collect());
    let body = arrival.await.map_err(|_| Problem::request_timeout())?.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Problem::too_large(bytes_max)
        } else {
            Problem::new(Code::IncompleteBody, "the body broke off: send it again")
        }
    })?;
    Ok(body.to_bytes())
}

/// What makes a repeat of this request recognisable.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| IdempotencyKey::parse(text).ok());
    parsed.map(Some).ok_or_else(|| Problem::new(Code::InvalidIdempotencyKey, "`Idempotency-Key` has 1 to 256 visible ASCII characters"))
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    /// One event.
    Json,
    /// One event a line.
    Ndjson,
    /// Nothing that is taken.
    Other,
}

/// A type has to be named: a browser sends `text/plain` and forms across sites without asking, but neither of these.
pub(super) fn media_type(headers: &HeaderMap) -> MediaType {
    let essence = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next());
    match essence.map(|essence| essence.trim().to_ascii_lowercase()).as_deref() {
        Some("application/json") => MediaType::Json,
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => MediaType::Ndjson,
        _ => MediaType::Other,
    }
}
