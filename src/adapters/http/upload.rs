//! An upload: lines come in, results go out, at the same time.
//!
//! Invariants: it runs on a task of its own, so that it goes on while the client does not read, as
//! long as there is nothing to be read; what waits for the client is the results of two batches at
//! the most. A client that does not take its results gets the reason when it reads at last: until
//! then the rest of its body is read and thrown away, since most clients read only when they have
//! sent everything.

use std::{
    convert::Infallible,
    ops::ControlFlow,
    pin::pin,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use tokio::sync::mpsc::{self, error::SendTimeoutError};
use tracing::{Instrument, Span};

use super::{
    Api,
    line_splitter::Line,
    line_upload::{LineUpload, Next},
    problem::Problem,
    upload_results::{Results, Wanted},
};
use crate::app::lifecycle::Lifecycle;

/// How long a client may take none of its results, at the most. Several HTTP clients give up
/// sending after 5 seconds without progress, and would never read why the server stopped.
const STALLED_AFTER_MAX: Duration = Duration::from_secs(3);

/// What is done with the lines of an upload.
pub(super) trait Worker: Send + 'static {
    /// Takes lines, the first of which has this number, and writes their results. Returns whether
    /// more are taken.
    fn take(
        &mut self,
        first_line: u64,
        lines: &[Line],
        results: &mut Results,
    ) -> impl Future<Output = ControlFlow<()>> + Send;

    /// Waits for something to report between lines, and writes it. It may be cancelled at any
    /// moment.
    fn report_between(&mut self, _results: &mut Results) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// An upload's request.
pub(super) struct Upload {
    pub(super) body: Body,
    pub(super) wanted: Wanted,
    /// When the publisher's credentials end.
    pub(super) expires_at: Option<Instant>,
}

/// Has `worker` take the lines while the answer is being sent.
pub(super) fn answer(
    api: &Api,
    Upload { body, wanted, expires_at }: Upload,
    worker: impl Worker,
) -> Response {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let task = Task {
        lines: LineUpload::new(body, api.options.max_body_bytes, api.lifecycle.clone(), expires_at),
        results: Results::new(wanted),
        sender,
        write_timeout: api.options.write_timeout,
        lifecycle: api.lifecycle.clone(),
    };
    // What is done for the lines belongs to the request, whose handler is over by then.
    api.lifecycle.spawn(task.run(worker).instrument(Span::current()));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        // Each result is worth having at once.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let results = stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|bytes| bytes.map(Ok::<_, Infallible>))
    });
    (StatusCode::OK, headers, Body::from_stream(results)).into_response()
}

struct Task {
    lines: LineUpload,
    results: Results,
    sender: mpsc::Sender<Bytes>,
    write_timeout: Duration,
    lifecycle: Lifecycle,
}

impl Task {
    async fn run(mut self, mut worker: impl Worker) {
        loop {
            let flow = tokio::select! {
                next = self.lines.next() => match next {
                    Next::Lines(first_line, lines) => worker.take(first_line, &lines, &mut self.results).await,
                    Next::Refused(line, problem) => {
                        self.results.refused(line, &problem);
                        ControlFlow::Break(())
                    }
                    Next::End => ControlFlow::Break(()),
                },
                () = worker.report_between(&mut self.results) => ControlFlow::Continue(()),
                // The client is gone.
                () = self.sender.closed() => return,
            };
            if flow.is_break() {
                return self.end_after(Bytes::new()).await;
            }
            let results = self.results.take();
            if results.is_empty() {
                continue;
            }
            match self.sender.send_timeout(results, self.stalled_after()).await {
                Ok(()) => {}
                Err(SendTimeoutError::Closed(_)) => return,
                Err(SendTimeoutError::Timeout(unread)) => {
                    self.results.refused(self.lines.next_line(), &not_read(self.results.wanted()));
                    return self.end_after(unread).await;
                }
            }
        }
    }

    /// Sends the last results, after those that a client that has stalled did not take.
    async fn end_after(mut self, unread: Bytes) {
        self.results.end();
        let stalled = !unread.is_empty();
        let last = [unread, self.results.take()].concat();
        let stalled_after = self.stalled_after();
        let Self { mut lines, sender, write_timeout, lifecycle, .. } = self;
        let delivered = async {
            if !last.is_empty() && sender.send(last.into()).await.is_err() {
                return;
            }
            // There is room again when they have been taken.
            let _ = sender.reserve().await;
        };
        let ended = async {
            let (mut delivered, mut discarded) =
                (pin!(delivered), pin!(lines.discard(write_timeout)));
            tokio::select! {
                // What has been taken is in some buffer: the client may still be sending, and read
                // later.
                () = delivered.as_mut() => if stalled { discarded.await },
                () = discarded.as_mut() => drop(tokio::time::timeout(write_timeout, delivered).await),
            }
        };
        tokio::select! {
            () = ended => {}
            // A process that drains does not wait for long.
            () = async { lifecycle.draining().cancelled().await; tokio::time::sleep(stalled_after).await } => {}
        }
    }

    fn stalled_after(&self) -> Duration {
        self.write_timeout.min(STALLED_AFTER_MAX)
    }
}

fn not_read(wanted: Wanted) -> Problem {
    Problem::results_not_read(match wanted {
        Wanted::All => "read them while you send, or send the upload with `?results=failures`",
        Wanted::Failures => {
            "too many lines fail: read the failures while you send, or send fewer lines at once"
        }
    })
}
