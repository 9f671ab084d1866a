//! Each request has an id, which its answer and its lines in the log carry.
//!
//! Invariant: an id that comes from outside is short and visible, so that it can't forge a line of
//! the log.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::Instrument;
use uuid::Uuid;

use super::trace;
use crate::ports::entropy::Entropy;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from outside, in bytes.
const ID_BYTES_MAX: usize = 128;

/// Gives the request an id, unless it brings a good one along, and the answer the same.
pub(super) async fn with_request_id(
    State(entropy): State<Arc<dyn Entropy>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = match request.headers().get(HEADER).filter(|id| is_good(id)) {
        Some(id) => id.clone(),
        None => made(&*entropy),
    };
    let text = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("request", id = text);
    let traced = span.in_scope(|| trace::span(&request, text));
    request.headers_mut().insert(HEADER, id.clone());
    let mut response = next.run(request).instrument(traced.clone()).instrument(span).await;
    trace::answered(&traced, response.status());
    response.headers_mut().insert(HEADER, id);
    response
}

/// The id of a request that passed here.
pub(super) fn of(headers: &HeaderMap) -> Option<&str> {
    headers.get(HEADER)?.to_str().ok()
}

fn is_good(id: &HeaderValue) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn made(entropy: &dyn Entropy) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let id = entropy.uuid();
    let id = id.as_simple().encode_lower(&mut buffer);
    // Hexadecimal digits make a header.
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededEntropy;

    #[test]
    fn only_short_and_visible_ids_are_taken_from_outside() {
        for good in ["1", "a-b_c", &"x".repeat(128)] {
            assert!(is_good(&HeaderValue::from_str(good).unwrap()), "{good}");
        }
        for bad in ["", "a b", "a\tb", &"x".repeat(129)] {
            assert!(!is_good(&HeaderValue::from_str(bad).unwrap()), "{bad:?}");
        }
        assert!(!is_good(&HeaderValue::from_bytes(b"\xff").unwrap()));
        let entropy = SeededEntropy::of(1);
        assert!(is_good(&made(&entropy)) && made(&entropy) != made(&entropy));
    }
}
