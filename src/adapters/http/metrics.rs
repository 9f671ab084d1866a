//! `GET /metrics`: all numbers, as Prometheus reads them.
//!
//! Invariant: clients that take the answer slowly, or not at all, share one text a second, however
//! many they are.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use super::Api;

/// All numbers, in Prometheus' text format 0.0.4.
#[utoipa::path(
    get, path = "/metrics", tag = "operate", operation_id = "metrics", security(()),
    responses((status = 200, description = "See `docs/operations/metrics.md`.", content((String = "text/plain")))),
)]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    api.subscriptions.publish_gauges();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.text())
        .into_response()
}

/// The text of all metrics.
pub struct MetricsText {
    render: Box<dyn Fn() -> String + Send + Sync>,
    /// The text that was made last, while an answer still holds it.
    last: Mutex<Weak<Rendered>>,
}

struct Rendered {
    text: String,
    at: Instant,
}

/// An answer's share of a text.
struct Share(Arc<Rendered>);

impl AsRef<[u8]> for Share {
    fn as_ref(&self) -> &[u8] {
        self.0.text.as_bytes()
    }
}

impl MetricsText {
    /// For how long a text that is still being sent is sent to others too.
    const SHARED_FOR: Duration = Duration::from_secs(1);

    /// `render` writes all metrics as they are.
    pub fn new(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { render: Box::new(render), last: Mutex::default() }
    }

    fn text(&self) -> Bytes {
        // A text is put in its place whole.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let rendered = last
            .upgrade()
            .filter(|rendered| rendered.at.elapsed() < Self::SHARED_FOR)
            .unwrap_or_else(|| {
                let rendered = Arc::new(Rendered { text: (self.render)(), at: Instant::now() });
                *last = Arc::downgrade(&rendered);
                rendered
            });
        Bytes::from_owner(Share(rendered))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn promise_7_answers_that_are_not_taken_share_a_text_and_the_next_one_is_new() {
        let renders = AtomicUsize::new(0);
        let metrics = MetricsText::new(move || renders.fetch_add(1, Ordering::Relaxed).to_string());
        for expected in [&b"0"[..], b"1"] {
            assert_eq!(&*metrics.text(), expected, "the one before has been taken");
        }
        let stalled: Vec<Bytes> = (0..1_000).map(|_| metrics.text()).collect();
        assert!(stalled.iter().all(|text| text.as_ptr() == stalled[0].as_ptr()));
        advance(MetricsText::SHARED_FOR).await;
        assert_eq!((&*metrics.text(), &*stalled[0]), (&b"3"[..], &b"2"[..]));
    }
}
