//! Calls to a backend, as parts of a request's trace.

use tracing::{Instrument, field::Empty};

use crate::ports::traces::TARGET;

/// Does a call that writes so many events, in a span that is called so.
pub(super) async fn traced<T, E>(
    name: &'static str,
    events: usize,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let span = tracing::trace_span!(target: TARGET, "call", otel.name = name, otel.kind = "client", otel.status_code = Empty, events);
    let result = call.instrument(span.clone()).await;
    if result.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    result
}
