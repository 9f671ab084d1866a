//! A request as a span of a trace: its caller's, if it names one.
//!
//! Invariants: no user's id and no token is in a span; a span ends with the head of its answer, so
//! that a stream keeps none open, and an upload's when the upload does. Where no traces are sent, a
//! span is one look at a flag.

use axum::{
    extract::{MatchedPath, Request},
    http::StatusCode,
};
use tracing::{Span, field::Empty};

use crate::ports::traces::TARGET;

/// The span of a request that has been routed.
pub(super) fn span(request: &Request, request_id: &str) -> Span {
    let span = tracing::trace_span!(
        target: TARGET,
        "request",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = Empty,
        http.route = Empty,
        http.response.status_code = Empty,
        request.id = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    // Before anything else is known of it: what it is recorded under is decided with its parent.
    #[cfg(feature = "telemetry")]
    join_callers_trace(&span, request.headers());
    let method = request.method().as_str();
    match request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) {
        Some(route) => {
            span.record("otel.name", format!("{method} {route}"));
            span.record("http.route", route);
        }
        None => {
            span.record("otel.name", method);
        }
    }
    span.record("http.request.method", method);
    span.record("request.id", request_id);
    span
}

#[cfg(feature = "telemetry")]
fn join_callers_trace(span: &Span, headers: &axum::http::HeaderMap) {
    use opentelemetry::propagation::TextMapPropagator;
    use opentelemetry_http::HeaderExtractor;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // It fails for a span that has begun, which this one has not.
    let _ = span.set_parent(parent);
}

/// The head of the answer is known.
pub(super) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
