//! Many events in one request: a line each, and a line of result for each, as they come.
//!
//! Invariants: lines are published in their order; a line that is too long is refused without being held; when the
//! backend fails the answer ends with that, so that nothing behind it overtakes what a retry will send again.

use std::{collections::VecDeque, convert::Infallible};

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use serde::Serialize;

use super::{
    Api,
    line_splitter::{Line, LineSplitter},
    problem::{Problem, ProblemBody},
    publication,
    publish::Receipt,
};
use crate::{
    app::publishing::{Publication, Published},
    ports::journal::IdempotencyKey,
};

/// Most lines that are published together.
const LINES_PER_BATCH: usize = 256;

/// The answer to one line, counted from 1 over all that are not blank.
#[derive(Serialize)]
#[serde(untagged)]
enum LineResult<'a> {
    Taken {
        line: u64,
        #[serde(flatten)]
        receipt: Receipt,
    },
    Refused {
        line: u64,
        status: u16,
        #[serde(flatten)]
        problem: ProblemBody<'a>,
    },
}

/// Publishes line by line while the answer is being sent.
pub(super) fn publish_lines(api: Api, body: Body, idempotency_key: Option<IdempotencyKey>) -> Response {
    let upload = Upload {
        splitter: LineSplitter::new(api.options.body_bytes_max),
        body: body.into_data_stream().boxed(),
        waiting: VecDeque::new(),
        lines_taken: 0,
        ended: None,
        idempotency_key,
        api,
    };
    let results = Body::from_stream(upload.results());
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], results).into_response()
}

struct Upload {
    api: Api,
    body: BoxStream<'static, Result<Bytes, axum::Error>>,
    splitter: LineSplitter,
    /// Whole lines that have arrived.
    waiting: VecDeque<Line>,
    lines_taken: u64,
    ended: Option<Ended>,
    idempotency_key: Option<IdempotencyKey>,
}

/// Why no more lines are taken.
enum Ended {
    /// The body did, or broke off.
    Body,
    /// The server did; the publisher has yet to be told.
    Server(Problem),
}

impl Upload {
    fn results(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut upload| async move {
            while upload.waiting.is_empty() && upload.ended.is_none() {
                upload.receive().await;
            }
            let results = if upload.waiting.is_empty() { upload.last_words()? } else { upload.publish().await };
            Some((Ok(results), upload))
        })
    }

    /// Waits for more of the body, its end, or the end of the process.
    async fn receive(&mut self) {
        let next = tokio::select! {
            next = self.body.next() => next,
            () = self.api.lifecycle.draining().cancelled() => {
                self.ended = Some(Ended::Server(Problem::draining()));
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

    async fn publish(&mut self) -> Bytes {
        let first_line = self.lines_taken + 1;
        let batch: Vec<Line> = self.waiting.drain(..self.waiting.len().min(LINES_PER_BATCH)).collect();
        self.lines_taken += batch.len() as u64;
        let mut publications = Vec::with_capacity(batch.len());
        let parsed: Vec<Result<(), Problem>> = (first_line..)
            .zip(&batch)
            .map(|(number, line)| self.parse(number, line).map(|publication| publications.push(publication)))
            .collect();
        let (published, failure) = match self.api.publisher.publish_all(publications).await {
            Ok(published) => (published, None),
            Err(error) => (Vec::new(), Some(Problem::from(error))),
        };
        let mut published = published.into_iter();
        let mut results = Vec::new();
        for (line, parsed) in (first_line..).zip(parsed) {
            let taken = parsed.and_then(|()| published.next().ok_or_else(|| failure.clone().unwrap_or_else(Problem::internal)));
            write_line(&mut results, line, taken);
        }
        if failure.is_some() {
            self.waiting.clear();
            self.ended = Some(Ended::Body);
        }
        results.into()
    }

    fn last_words(&mut self) -> Option<Bytes> {
        let Some(Ended::Server(problem)) = self.ended.replace(Ended::Body) else { return None };
        let mut results = Vec::new();
        write_line(&mut results, self.lines_taken + 1, Err(problem));
        Some(results.into())
    }

    fn parse(&self, number: u64, line: &Line) -> Result<Publication, Problem> {
        let options = &self.api.options;
        match line {
            Line::Whole(text) => {
                let key = self.idempotency_key.as_ref().map(|key| key.of_line(number));
                publication::parse(text, key, options.recipients_max, self.api.publisher.registry())
            }
            Line::TooLong => Err(Problem::too_large(options.body_bytes_max)),
        }
    }
}

fn write_line(results: &mut Vec<u8>, line: u64, taken: Result<Published, Problem>) {
    let written = match taken {
        Ok(published) => serde_json::to_writer(&mut *results, &LineResult::Taken { line, receipt: Receipt::of(&published).1 }),
        Err(problem) => {
            let refused = LineResult::Refused { line, status: problem.status.as_u16(), problem: problem.body() };
            serde_json::to_writer(&mut *results, &refused)
        }
    };
    written.expect("strings and numbers always serialise, and a vector takes all");
    results.push(b'\n');
}
