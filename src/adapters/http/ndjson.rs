//! Many events in one request: a line each, and a line of result for each, as they come.
//!
//! Invariants: lines are published in their order; a line that is too long is refused without being held; when the
//! backend fails the answer ends with that, so that nothing behind it overtakes what a retry will send again.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream};
use serde::Serialize;
use tracing::Span;
use utoipa::ToSchema;

use super::{
    Api,
    line_splitter::Line,
    line_upload::{LineUpload, Next},
    problem::{Problem, ProblemBody},
    publication,
    publish::Receipt,
};
use crate::{
    app::publishing::{Publication, Published},
    ports::journal::IdempotencyKey,
};

/// The answer to one line of an upload.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum LineResult<'a, R> {
    /// It was taken.
    Taken {
        /// Its number, counted from 1 over all lines that are not blank.
        line: u64,
        #[serde(flatten)]
        receipt: R,
    },
    /// It was not.
    Refused {
        /// Its number.
        line: u64,
        /// The status that an answer to it alone would have had.
        status: u16,
        #[serde(flatten)]
        problem: ProblemBody<'a>,
    },
}

/// Publishes line by line while the answer is being sent.
pub(super) fn publish_lines(api: Api, body: Body, idempotency_key: Option<IdempotencyKey>) -> Response {
    let lines = LineUpload::new(body, api.options.body_bytes_max, api.lifecycle.clone());
    line_results(Upload { api, lines, idempotency_key }.results())
}

/// An answer of a line for each.
pub(super) fn line_results(results: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Each result is worth having at once.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    // What is done for the lines belongs to the request, whose handler is over by then.
    let (span, mut results) = (Span::current(), Box::pin(results));
    let results = stream::poll_fn(move |context| span.in_scope(|| results.as_mut().poll_next(context)));
    (StatusCode::OK, headers, Body::from_stream(results)).into_response()
}

struct Upload {
    api: Api,
    lines: LineUpload,
    idempotency_key: Option<IdempotencyKey>,
}

impl Upload {
    fn results(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut upload| async move {
            let results = match upload.lines.next().await {
                Next::Lines(first_line, lines) => upload.publish(first_line, &lines).await,
                Next::Draining(line) => {
                    let mut results = Vec::new();
                    write_line(&mut results, line, Err(Problem::draining()));
                    results.into()
                }
                Next::End => return None,
            };
            Some((Ok(results), upload))
        })
    }

    async fn publish(&mut self, first_line: u64, lines: &[Line]) -> Bytes {
        let mut publications = Vec::with_capacity(lines.len());
        let parsed: Vec<Result<(), Problem>> = (first_line..)
            .zip(lines)
            .map(|(number, line)| self.parse(number, line).map(|publication| publications.push(publication)))
            .collect();
        let (published, failure) = match self.api.publisher.publish_all(publications).await {
            Ok(published) => (published, None),
            Err(error) => (Vec::new(), Some(Problem::from(error))),
        };
        let mut published = published.into_iter().map(|published| published.map_err(Problem::from));
        let mut results = Vec::new();
        for (line, parsed) in (first_line..).zip(parsed) {
            let taken = parsed.and_then(|()| published.next().unwrap_or_else(|| Err(failure.clone().unwrap_or_else(Problem::internal))));
            write_line(&mut results, line, taken);
        }
        if failure.is_some() {
            self.lines.close();
        }
        results.into()
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
    write_result(results, line, taken.map(|published| Receipt::of(&published).1));
}

/// Writes what became of a line.
pub(super) fn write_result(results: &mut Vec<u8>, line: u64, taken: Result<impl Serialize, Problem>) {
    match taken {
        Ok(receipt) => write_json(results, &LineResult::Taken { line, receipt }),
        Err(problem) => {
            let refused: LineResult<'_, ()> = LineResult::Refused { line, status: problem.status().as_u16(), problem: problem.body() };
            write_json(results, &refused);
        }
    }
}

/// Writes a line of JSON.
pub(super) fn write_json(results: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *results, value).expect("strings and numbers always serialise, and a vector takes all");
    results.push(b'\n');
}
