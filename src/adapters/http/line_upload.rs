//! A request's body as lines, while it arrives.
//!
//! Invariant: what waits here is what one read of the body brought; a line that is too long is
//! reported of without being held.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream::BoxStream};

use super::{
    line_splitter::{Line, LineSplitter},
    problem::Problem,
};
use crate::{app::lifecycle::Lifecycle, ports::authenticator::AuthError};

/// Most lines that are taken together.
const LINES_PER_BATCH: usize = 256;
/// Most of a body that is read only to be thrown away.
const DISCARDED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A body of lines.
pub(super) struct LineUpload {
    body: BoxStream<'static, Result<Bytes, axum::Error>>,
    splitter: LineSplitter,
    /// Whole lines that have arrived.
    waiting: VecDeque<Line>,
    lines_taken: u64,
    ended: Option<Ended>,
    lifecycle: Lifecycle,
    /// When the publisher's credentials end.
    expires_at: Option<Instant>,
}

/// Why no more lines come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The body did.
    Body,
    /// The body broke off; a publisher that still listens has yet to be notified.
    BrokenOff,
    /// The process drains; the publisher has yet to be notified.
    Draining,
    /// The publisher's credentials ended; it has yet to be notified.
    Expired,
}

/// What comes next.
pub(super) enum Next {
    /// Lines, the first of which has this number, counted from 1 over all that are not blank.
    Lines(u64, Vec<Line>),
    /// The line of this number, and what follows, is not taken.
    Refused(u64, Problem),
    /// Nothing.
    End,
}

impl LineUpload {
    pub(super) fn new(
        body: Body,
        line_bytes_max: usize,
        lifecycle: Lifecycle,
        expires_at: Option<Instant>,
    ) -> Self {
        Self {
            body: body.into_data_stream().boxed(),
            splitter: LineSplitter::new(line_bytes_max),
            waiting: VecDeque::new(),
            lines_taken: 0,
            ended: None,
            lifecycle,
            expires_at,
        }
    }

    /// The number of the next line, whether it comes or not.
    pub(super) const fn next_line(&self) -> u64 {
        self.lines_taken + 1
    }

    /// Takes the lines that have arrived, or waits for some. To stop waiting loses nothing.
    pub(super) async fn next(&mut self) -> Next {
        while self.waiting.is_empty() && self.ended.is_none() {
            self.receive().await;
        }
        if self.expires_at.is_some_and(|at| at <= tokio::time::Instant::now().into_std())
            && self.ended != Some(Ended::Draining)
        {
            // Lines that have arrived and were not taken yet are as late as those behind them.
            self.waiting.clear();
            self.ended = Some(Ended::Expired);
        }
        if !self.waiting.is_empty() {
            let first_line = self.next_line();
            let batch: Vec<Line> =
                self.waiting.drain(..self.waiting.len().min(LINES_PER_BATCH)).collect();
            self.lines_taken += batch.len() as u64;
            return Next::Lines(first_line, batch);
        }
        match self.ended.replace(Ended::Body) {
            Some(Ended::Draining) => Next::Refused(self.next_line(), Problem::draining()),
            Some(Ended::BrokenOff) => Next::Refused(self.next_line(), Problem::incomplete_body()),
            Some(Ended::Expired) => Next::Refused(self.next_line(), AuthError::Expired.into()),
            Some(Ended::Body) | None => Next::End,
        }
    }

    /// Reads what is left of the body, and throws it away: for so long at the most, and up to a
    /// bound in bytes.
    pub(super) async fn discard(&mut self, within: Duration) {
        let discarding = async {
            let mut bytes_left = DISCARDED_BYTES_MAX;
            while let Some(Ok(bytes)) = self.body.next().await {
                match bytes_left.checked_sub(bytes.len()) {
                    Some(left) => bytes_left = left,
                    None => return,
                }
            }
        };
        // What is not read by then has to fail.
        let _ = tokio::time::timeout(within, discarding).await;
    }

    /// Waits for more of the body, its end, the end of the credentials, or that of the process.
    async fn receive(&mut self) {
        let expired = async {
            match self.expires_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            next = self.body.next() => next,
            () = expired => {
                self.ended = Some(Ended::Expired);
                return;
            }
            () = self.lifecycle.draining().cancelled() => {
                self.ended = Some(Ended::Draining);
                return;
            }
        };
        match next {
            Some(Ok(bytes)) => self.waiting.extend(self.splitter.split(&bytes)),
            // What stands behind the last line end of a body that broke off is half a line.
            Some(Err(_)) => self.ended = Some(Ended::BrokenOff),
            None => {
                self.waiting.extend(self.splitter.finish());
                self.ended = Some(Ended::Body);
            }
        }
    }
}
