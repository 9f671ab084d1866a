//! What a client still sends when its request has been answered: it is read and thrown away, so
//! that a client that sends all before it reads can read the answer. Closing instead would have its
//! kernel throw the answer away.
//!
//! Invariants: nothing of it is kept, and there is a bound to its bytes and to its time; a body is
//! not asked for before its request is answered, since a client that waits for `100 Continue` would
//! be told to send it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::activity::Exchange;

/// Most bytes that are thrown away behind one answer.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest time for them.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Longest time without one of them.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// A body of so few bytes is on its way when its head is here: it is soon read, and the connection
/// can go on.
const BRIEF_BYTES_MAX: u64 = 64 * 1024;

/// A request's body, whose rest, when it is dropped before its end, goes to who holds the other
/// end.
pub(super) struct RequestBody {
    rest: Option<Rest>,
    left_to: Option<oneshot::Sender<Rest>>,
}

/// The rest of a request's body.
pub(super) struct Rest {
    body: Incoming,
    _exchange: Exchange,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, exchange: Exchange) -> (Self, oneshot::Receiver<Rest>) {
        let (sender, receiver) = oneshot::channel();
        (Self { rest: Some(Rest { body, _exchange: exchange }), left_to: Some(sender) }, receiver)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let polled = Pin::new(&mut rest.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(|rest| rest.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.as_ref().map_or(SizeHint::with_exact(0), |rest| rest.body.size_hint())
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Some(rest), Some(left_to)) = (self.rest.take(), self.left_to.take())
            && !rest.body.is_end_stream()
        {
            // If it is not taken the connection is over.
            let _ = left_to.send(rest);
        }
    }
}

impl Rest {
    /// Whether it is so small that its client has sent it by now.
    pub(super) fn is_brief(&self) -> bool {
        self.body.size_hint().upper().is_some_and(|bytes| bytes <= BRIEF_BYTES_MAX)
    }

    /// Reads it to its end, as far as that is worthwhile. `true` if it has come to its end.
    pub(super) async fn discard(mut self) -> bool {
        let (mut allowance, mut ended) = (Allowance::new(), self.body.is_end_stream());
        let mut read = async || {
            let frame = self.body.frame().await;
            ended = frame.is_none();
            Some(length(&frame?.ok()?))
        };
        while allowance.spend(read()).await {}
        ended
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

/// Ends a connection on which hyper has stopped to read.
pub(super) async fn discard_all(mut socket: TcpStream) {
    let mut allowance = Allowance::new();
    if socket.shutdown().await.is_ok() {
        let mut piece = vec![0; 16 * 1024];
        while allowance
            .spend(async {
                socket
                    .read(&mut piece)
                    .await
                    .ok()
                    .filter(|count| *count > 0)
                    .map(|count| count as u64)
            })
            .await
        {}
    }
}

/// How much may still be read, and until when.
struct Allowance {
    bytes: u64,
    until: Instant,
}

impl Allowance {
    fn new() -> Self {
        Self { bytes: BYTES_MAX, until: Instant::now() + TIME_MAX }
    }

    /// Reads once. Returns whether to go on: there was something, and in time, and more is allowed.
    async fn spend(&mut self, read: impl Future<Output = Option<u64>>) -> bool {
        let until = self.until.min(Instant::now() + SILENCE_MAX);
        let Ok(Some(bytes)) = timeout_at(until, read).await else { return false };
        self.bytes = self.bytes.saturating_sub(bytes);
        self.bytes > 0
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    /// How many reads are allowed, and how long they take together.
    async fn reads(mut read: impl AsyncFnMut() -> Option<u64>) -> (u64, Duration) {
        let (began, mut allowance, mut count) = (Instant::now(), Allowance::new(), 0);
        while allowance.spend(read()).await {
            count += 1;
        }
        (count, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn promise_7_what_is_thrown_away_is_bounded_in_bytes_and_time() {
        assert_eq!(reads(async || ready(Some(1024 * 1024)).await).await, (63, Duration::ZERO));
        assert_eq!(reads(async || pending().await).await, (0, SILENCE_MAX));
        let trickle = reads(async || {
            sleep(Duration::from_secs(4)).await;
            Some(1)
        });
        assert_eq!(trickle.await, (7, TIME_MAX));
        assert_eq!(reads(async || None).await, (0, Duration::ZERO), "the end");
    }
}
