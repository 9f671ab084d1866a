//! A whole answer in one request: a line for each event, and a line of result for each, as they come.
//!
//! Invariants: each line is visible to readers before its result is written; the first line that is refused ends the
//! upload, since a text with a silent hole is worse than one that breaks off; a stop is told at once, also to a producer
//! that is waiting for its model.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::{Stream, stream};
use serde::Serialize;
use utoipa::ToSchema;

use super::{append::AppendReceipt, draft};
use crate::{
    adapters::http::{
        Api,
        line_splitter::Line,
        line_upload::{LineUpload, Next},
        ndjson::{LineResult, line_results, write_json, write_result},
        problem::Problem,
    },
    app::producing::{Draft, ProduceError},
    domain::topic::MessageId,
    ports::{journal::IdempotencyKey, messages::MessageAppended},
};

/// How often an upload that is quiet looks whether a stop was asked for. Looking costs the backend one read.
const LOOK_FOR_STOP_EVERY: Duration = Duration::from_secs(1);

/// A word to a producer that has not just sent a line: the reader wants no more.
#[derive(Serialize, ToSchema)]
#[schema(as = StopWanted)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    /// Always true.
    success: bool,
    /// Always true.
    stop: bool,
}

/// A line of an upload's answer.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there to be described: each kind is written by itself")]
pub(super) enum AppendLine<'a> {
    /// What became of a line.
    Result(LineResult<'a, AppendReceipt>),
    /// A word in between.
    Stop(Stop),
}

struct Upload {
    api: Api,
    lines: LineUpload,
    id: MessageId,
    epoch: Option<u64>,
    idempotency_key: Option<IdempotencyKey>,
    stop_told: bool,
}

/// Appends line by line while the answer is being sent.
pub(super) fn append_lines(api: Api, body: Body, id: MessageId, epoch: Option<u64>, idempotency_key: Option<IdempotencyKey>) -> Response {
    let lines = LineUpload::new(body, api.options.body_bytes_max, api.lifecycle.clone());
    line_results(Upload { api, lines, id, epoch, idempotency_key, stop_told: false }.results())
}

impl Upload {
    fn results(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut upload| async move {
            let mut results = Vec::new();
            while results.is_empty() {
                let look_for_stop = tokio::time::sleep(LOOK_FOR_STOP_EVERY);
                tokio::select! {
                    next = upload.lines.next() => match next {
                        Next::Lines(first_line, lines) => upload.append(first_line, &lines, &mut results).await,
                        Next::Draining(line) => write_result(&mut results, line, Err::<(), _>(Problem::draining())),
                        Next::End => return None,
                    },
                    () = look_for_stop, if !upload.stop_told => upload.look_for_stop(&mut results).await,
                }
            }
            Some((Ok(results.into()), upload))
        })
    }

    async fn append(&mut self, first_line: u64, lines: &[Line], results: &mut Vec<u8>) {
        let mut drafts = Vec::with_capacity(lines.len());
        let mut refused = None;
        for (number, line) in (first_line..).zip(lines) {
            match self.parse(number, line) {
                Ok(draft) => drafts.push(draft),
                Err(problem) => {
                    refused = Some((number, problem));
                    break;
                }
            }
        }
        let answers = match self.api.producing.append(self.id, self.epoch, drafts).await {
            Ok(answers) => answers,
            Err(error) => {
                self.lines.close();
                return write_result(results, first_line, Err::<(), _>(Problem::from(ProduceError::Backend(error))));
            }
        };
        for (line, answer) in (first_line..).zip(answers) {
            match answer {
                Ok(appended) => self.tell(line, appended, results),
                // What was refused here stands before what could not be read.
                Err(refusal) => refused = Some((line, ProduceError::Append(refusal).into())),
            }
        }
        if let Some((line, problem)) = refused {
            self.lines.close();
            write_result(results, line, Err::<(), _>(problem));
        }
    }

    fn tell(&mut self, line: u64, appended: MessageAppended, results: &mut Vec<u8>) {
        self.stop_told |= appended.stop_requested;
        write_result(results, line, Ok(AppendReceipt::from(appended)));
    }

    async fn look_for_stop(&mut self, results: &mut Vec<u8>) {
        // What the backend fails to say now, the next line's result will.
        if matches!(self.api.producing.stop_requested(self.id).await, Ok(true)) {
            self.stop_told = true;
            write_json(results, &Stop { success: true, stop: true });
        }
    }

    fn parse(&self, number: u64, line: &Line) -> Result<Draft, Problem> {
        match line {
            Line::Whole(text) => draft::draft(text, self.idempotency_key.as_ref().map(|key| key.of_line(number))),
            Line::TooLong => Err(Problem::too_large(self.api.options.body_bytes_max)),
        }
    }
}
