//! The bodies of requests that publish or produce: what they say they are, and what they hold.
//!
//! Invariant: nothing larger than one event may be is ever held.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{ApiOptions, body_encoding, problem::Problem};

/// Reads a body to its end.
pub(super) async fn whole(options: &ApiOptions, body: Body) -> Result<Bytes, Problem> {
    let bytes_max = options.max_body_bytes;
    // A client that asks before it sends (`Expect`) is not asked to send what is too large.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Problem::too_large(bytes_max));
    }
    let arrival =
        tokio::time::timeout(options.request_timeout, Limited::new(body, bytes_max).collect());
    let body = arrival.await.map_err(|_| Problem::request_timeout())?.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Problem::too_large(bytes_max)
        } else {
            Problem::incomplete_body()
        }
    })?;
    Ok(body.to_bytes())
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    /// One event.
    Json,
    /// One event a line.
    Ndjson,
}

/// What the body holds, by what its headers say. A type has to be named: a browser sends
/// `text/plain` and forms across sites without asking, but neither of these.
pub(super) fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let media_type = match essence.as_str() {
        "application/json" => MediaType::Json,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => MediaType::Ndjson,
        _ => return Err(Problem::unsupported_media_type()),
    };
    body_encoding::check(headers, content_type)?;
    Ok(media_type)
}

/// Refuses all but a single JSON value.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if media_type(headers)? == MediaType::Json {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type())
    }
}
