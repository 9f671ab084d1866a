//! The body of an answer, on its way to a client that may be slow.
//!
//! Invariants: a request is not over before its answer is; what an HTTP/2 connection holds of
//! answers that its client has not taken is counted, and it is known for how long the client has
//! taken nothing of each.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};

use super::activity::Exchange;

/// Most bytes of a body that hyper is given at once over HTTP/2. It holds them until the client's
/// window lets them pass.
const PIECE_BYTES_MAX: usize = 16 * 1024;
/// While so many bytes of answers wait on one HTTP/2 connection, no further request on it is
/// answered. It is more than the largest answer, so that one client behind a proxy that shares its
/// connection with others does not hold them up.
const UNTAKEN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    delivery: Option<Delivery>,
    _exchange: Exchange,
}

impl Answer {
    /// Over HTTP/1, where it has the connection to itself: what the socket does not take is seen
    /// there.
    pub(super) const fn alone(body: Body, exchange: Exchange) -> Self {
        Self { body, delivery: None, _exchange: exchange }
    }

    /// Over HTTP/2, where each answer has a window of its own.
    pub(super) fn shared(
        body: Body,
        exchange: Exchange,
        untaken: &Arc<Untaken>,
        progress: Arc<Progress>,
    ) -> Self {
        let delivery = Delivery::new(&body, untaken, progress);
        Self { body, delivery: Some(delivery), _exchange: exchange }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        match &mut this.delivery {
            None => Pin::new(&mut this.body).poll_frame(context),
            Some(delivery) => delivery.poll_piece(Pin::new(&mut this.body), context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.delivery.as_ref().is_none_or(|delivery| delivery.rest.is_empty())
            && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.delivery.as_ref().map_or(0, |delivery| delivery.rest.len() as u64);
        let (hint, mut whole) = (self.body.size_hint(), SizeHint::new());
        // The upper bound first: the lower one may not exceed it.
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole.set_lower(hint.lower() + rest);
        whole
    }
}

/// The delivery of an answer over HTTP/2, piece by piece.
struct Delivery {
    /// What is left of the body's last frame.
    rest: Bytes,
    /// How much of `untaken` is this answer's.
    counted_bytes: usize,
    untaken: Arc<Untaken>,
    progress: Arc<Progress>,
}

impl Delivery {
    fn new(body: &Body, untaken: &Arc<Untaken>, progress: Arc<Progress>) -> Self {
        // What is only made while it is taken counts for nothing.
        let counted_bytes =
            body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        untaken.bytes.fetch_add(counted_bytes, Ordering::Relaxed);
        Self { rest: Bytes::new(), counted_bytes, untaken: Arc::clone(untaken), progress }
    }

    fn poll_piece(
        &mut self,
        body: Pin<&mut Body>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            // hyper asks for more only when the client's window has let the last piece pass.
            self.progress.set(None);
            match body.poll_frame(context).map_ok(Frame::into_data) {
                Poll::Ready(Some(Ok(Ok(data)))) => self.rest = data,
                Poll::Ready(Some(Ok(Err(trailers)))) => return Poll::Ready(Some(Ok(trailers))),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES_MAX));
        self.progress.set(Some(Instant::now()));
        self.uncount(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn uncount(&mut self, bytes: usize) {
        let bytes = bytes.min(self.counted_bytes);
        self.counted_bytes -= bytes;
        self.untaken.taken(bytes);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.uncount(usize::MAX);
        self.progress.set(None);
    }
}

/// The answers on one HTTP/2 connection that its client has yet to take.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    bytes: AtomicUsize,
    room: Notify,
}

impl Untaken {
    /// Waits until another request may be answered.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.bytes.load(Ordering::Relaxed) < UNTAKEN_BYTES_MAX {
                return;
            }
            room.await;
        }
    }

    fn taken(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before >= UNTAKEN_BYTES_MAX && before - bytes < UNTAKEN_BYTES_MAX {
            self.room.notify_waiters();
        }
    }
}

/// Since when the client has let nothing of an answer pass, while there is something.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<Option<Instant>>);

impl Progress {
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, stalled_since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stalled_since;
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::time::{sleep, timeout};

    use super::{super::activity::Activity, *};

    fn answer(bytes: usize, untaken: &Arc<Untaken>) -> (Answer, Arc<Progress>) {
        let (activity, progress) = (Arc::<Activity>::default(), Arc::<Progress>::default());
        let body = Body::from(vec![b'x'; bytes]);
        (Answer::shared(body, Exchange::begin(&activity), untaken, Arc::clone(&progress)), progress)
    }

    async fn take(answer: &mut Answer) -> Option<usize> {
        let frame = poll_fn(|context| Pin::new(&mut *answer).poll_frame(context)).await?;
        Some(frame.unwrap().into_data().unwrap().len())
    }

    #[tokio::test(start_paused = true)]
    async fn promise_7_an_answer_is_given_out_in_pieces_and_its_client_is_watched() {
        let (mut answer, progress) = answer(40_000, &Arc::default());
        assert_eq!((answer.size_hint().exact(), progress.stalled_since()), (Some(40_000), None));
        let mut sizes = Vec::new();
        while !answer.is_end_stream() {
            sizes.push(take(&mut answer).await.unwrap());
            assert_eq!(progress.stalled_since(), Some(Instant::now()));
            assert_eq!(
                answer.size_hint().exact(),
                Some(40_000 - sizes.iter().sum::<usize>() as u64)
            );
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(sizes, [PIECE_BYTES_MAX, PIECE_BYTES_MAX, 40_000 - 2 * PIECE_BYTES_MAX]);
        assert_eq!((take(&mut answer).await, progress.stalled_since()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn promise_7_requests_wait_while_too_much_of_the_answers_waits() {
        let untaken = Arc::<Untaken>::default();
        let (mut first, _) = answer(UNTAKEN_BYTES_MAX, &untaken);
        let (second, _) = answer(10, &untaken);
        assert!(timeout(Duration::from_mins(1), untaken.room()).await.is_err());
        take(&mut first).await;
        untaken.room().await;
        let (third, _) = answer(UNTAKEN_BYTES_MAX, &untaken);
        assert!(timeout(Duration::from_mins(1), untaken.room()).await.is_err());
        let waiting = tokio::spawn({
            let untaken = Arc::clone(&untaken);
            async move { untaken.room().await }
        });
        drop(third);
        waiting.await.unwrap();
        drop((first, second));
        assert_eq!(untaken.bytes.load(Ordering::Relaxed), 0);
    }
}
