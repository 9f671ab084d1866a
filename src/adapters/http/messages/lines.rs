//! A whole answer in one request: a line for each event, and a line of result for each, as they
//! come.
//!
//! Invariants: each line is visible to readers before its result is written; the first line that is
//! refused ends the upload, since a text with a silent hole is worse than one that breaks off; a
//! stop is sent at once, also to a producer that is waiting for its model.

use std::{ops::ControlFlow, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use super::{draft, receipt::AppendReceipt};
use crate::{
    adapters::http::{
        Api,
        line_splitter::Line,
        problem::Problem,
        upload::Worker,
        upload_results::{LineResult, Results, Summary, Wanted},
    },
    app::producing::{Draft, ProduceError},
    domain::{
        access::MessageProducer, idempotency_key::IdempotencyKey, message::MessageAppended,
        topic::MessageId,
    },
};

/// How often an upload that is quiet looks whether a stop was asked for. Looking costs the backend
/// one read.
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
    /// The last line, with `results=failures`.
    Summary(Summary),
}

/// Appends the lines of an upload.
pub(super) struct AppendLines {
    api: Api,
    producer: MessageProducer,
    id: MessageId,
    epoch: Option<u64>,
    idempotency_key: Option<IdempotencyKey>,
    stop_told: bool,
}

impl AppendLines {
    pub(super) const fn new(
        api: Api,
        producer: MessageProducer,
        id: MessageId,
        epoch: Option<u64>,
        idempotency_key: Option<IdempotencyKey>,
    ) -> Self {
        Self { api, producer, id, epoch, idempotency_key, stop_told: false }
    }

    fn tell(&mut self, line: u64, appended: MessageAppended, results: &mut Results) {
        results.taken(line, appended.duplicate, AppendReceipt::from(appended));
        if appended.stop_requested && !self.stop_told {
            self.stop_told = true;
            if results.wanted() == Wanted::Failures {
                results.write(&STOP);
            }
        }
    }

    fn parse(&self, number: u64, line: &Line) -> Result<Draft, Problem> {
        match line {
            Line::Whole(text) => {
                draft::draft(text, self.idempotency_key.as_ref().map(|key| key.of_line(number)))
            }
            Line::TooLong => Err(Problem::too_large(self.api.options.max_body_bytes)),
        }
    }
}

const STOP: Stop = Stop { success: true, stop: true };

impl Worker for AppendLines {
    async fn take(
        &mut self,
        first_line: u64,
        lines: &[Line],
        results: &mut Results,
    ) -> ControlFlow<()> {
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
        let answers =
            match self.api.producing.append(&self.producer, &self.id, self.epoch, drafts).await {
                Ok(answers) => answers,
                Err(error) => {
                    results.refused(first_line, &ProduceError::Backend(error).into());
                    return ControlFlow::Break(());
                }
            };
        for (line, answer) in (first_line..).zip(answers) {
            match answer {
                Ok(appended) => self.tell(line, appended, results),
                // What was refused here stands before what could not be read.
                Err(refusal) => refused = Some((line, ProduceError::Append(refusal).into())),
            }
        }
        let Some((line, problem)) = refused else { return ControlFlow::Continue(()) };
        results.refused(line, &problem);
        ControlFlow::Break(())
    }

    /// A stop that was asked for while no line came.
    async fn report_between(&mut self, results: &mut Results) {
        while !self.stop_told {
            tokio::time::sleep(LOOK_FOR_STOP_EVERY).await;
            // What the backend fails to say now, the next line's result will.
            if matches!(self.api.producing.stop_requested(&self.producer, &self.id).await, Ok(true))
            {
                self.stop_told = true;
                return results.write(&STOP);
            }
        }
        std::future::pending::<()>().await;
    }
}
