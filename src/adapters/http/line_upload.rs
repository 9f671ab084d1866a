//! A request's body as lines, while it arrives.
//!
//! Invariant: what waits here is what one read of the body brought; a line that is too long is told of without being held.

use std::collections::VecDeque;

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream::BoxStream};

use super::line_splitter::{Line, LineSplitter};
use crate::app::lifecycle::Lifecycle;

/// Most lines that are taken together.
const LINES_PER_BATCH: usize = 256;

/// A body of lines.
pub(super) struct LineUpload {
    body: BoxStream<'static, Result<Bytes, axum::Error>>,
    splitter: LineSplitter,
    /// Whole lines that have arrived.
    waiting: VecDeque<Line>,
    lines_taken: u64,
    ended: Option<Ended>,
    lifecycle: Lifecycle,
}

/// Why no more lines come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The body did, or broke off; or enough was said.
    Body,
    /// The process drains; the publisher has yet to be told.
    Draining,
}

/// What comes next.
pub(super) enum Next {
    /// Lines, the first of which has this number, counted from 1 over all that are not blank.
    Lines(u64, Vec<Line>),
    /// The process drains: the line of this number, and what follows, is not taken.
    Draining(u64),
    /// Nothing.
    End,
}

impl LineUpload {
    pub(super) fn new(body: Body, line_bytes_max: usize, lifecycle: Lifecycle) -> Self {
        let body = body.into_data_stream().boxed();
        Self { body, splitter: LineSplitter::new(line_bytes_max), waiting: VecDeque::new(), lines_taken: 0, ended: None, lifecycle }
    }

    /// Takes the lines that have arrived, or waits for some. To stop waiting loses nothing.
    pub(super) async fn next(&mut self) -> Next {
        while self.waiting.is_empty() && self.ended.is_none() {
            self.receive().await;
        }
        if !self.waiting.is_empty() {
            let first_line = self.lines_taken + 1;
            let batch: Vec<Line> = self.waiting.drain(..self.waiting.len().min(LINES_PER_BATCH)).collect();
            self.lines_taken += batch.len() as u64;
            return Next::Lines(first_line, batch);
        }
        match self.ended.replace(Ended::Body) {
            Some(Ended::Draining) => Next::Draining(self.lines_taken + 1),
            Some(Ended::Body) | None => Next::End,
        }
    }

    /// Takes no more lines, though they may have arrived.
    pub(super) fn close(&mut self) {
        self.waiting.clear();
        self.ended = Some(Ended::Body);
    }

    /// Waits for more of the body, its end, or the end of the process.
    async fn receive(&mut self) {
        let next = tokio::select! {
            next = self.body.next() => next,
            () = self.lifecycle.draining().cancelled() => {
                self.ended = Some(Ended::Draining);
                return;
            }
        };
        match next {
            Some(Ok(bytes)) => self.waiting.extend(self.splitter.split(&bytes)),
            // What stands behind the last line end of a body that broke off is half a line.
            Some(Err(_)) => self.ended = Some(Ended::Body),
            None => {
                self.waiting.extend(self.splitter.finish());
                self.ended = Some(Ended::Body);
            }
        }
    }
}
