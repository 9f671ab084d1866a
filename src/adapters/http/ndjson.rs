//! Many events in one request: a line each, and a line of result for each, as they come.
//!
//! Invariants: lines are published in their order; a line that is too long is refused without being
//! held; when the backend fails the answer ends with that, so that nothing behind it overtakes what
//! a retry will send again.

use std::ops::ControlFlow;

use utoipa::ToSchema;

use super::{
    Api,
    line_splitter::Line,
    problem::Problem,
    publication,
    receipt::Receipt,
    upload::Worker,
    upload_results::{LineResult, Results, Summary},
};
use crate::{
    app::publishing::Publication,
    domain::{access::EventPublisher, idempotency_key::IdempotencyKey},
};

/// A line of an upload's answer.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there to be described: each kind is written by itself")]
pub(super) enum PublishLine<'a> {
    /// What became of a line.
    Result(LineResult<'a, Receipt>),
    /// The last line, with `results=failures`.
    Summary(Summary),
}

/// Publishes the lines of an upload.
pub(super) struct PublishLines {
    pub(super) api: Api,
    pub(super) publisher: EventPublisher,
    pub(super) idempotency_key: Option<IdempotencyKey>,
}

impl Worker for PublishLines {
    async fn take(
        &mut self,
        first_line: u64,
        lines: &[Line],
        results: &mut Results,
    ) -> ControlFlow<()> {
        let mut publications = Vec::with_capacity(lines.len());
        let parsed: Vec<Result<(), Problem>> = (first_line..)
            .zip(lines)
            .map(|(number, line)| {
                self.parse(number, line).map(|publication| publications.push(publication))
            })
            .collect();
        let (published, failure) =
            match self.api.publisher.publish_all(&self.publisher, publications).await {
                Ok(published) => (published, None),
                Err(error) => (Vec::new(), Some(Problem::from(error))),
            };
        let mut published = published.into_iter().map(|published| published.map_err(Problem::from));
        for (line, parsed) in (first_line..).zip(parsed) {
            match parsed.and_then(|()| {
                published
                    .next()
                    .unwrap_or_else(|| Err(failure.clone().unwrap_or_else(Problem::internal)))
            }) {
                Ok(published) => {
                    let (_, receipt) = Receipt::of(&published);
                    results.taken(line, receipt.is_duplicate(), receipt);
                }
                Err(problem) => results.refused(line, &problem),
            }
        }
        if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl PublishLines {
    fn parse(&self, number: u64, line: &Line) -> Result<Publication, Problem> {
        let options = &self.api.options;
        match line {
            Line::Whole(text) => {
                let key = self.idempotency_key.as_ref().map(|key| key.of_line(number));
                publication::parse(text, key, options.recipients_max, self.api.publisher.registry())
            }
            Line::TooLong => Err(Problem::too_large(options.max_body_bytes)),
        }
    }
}
