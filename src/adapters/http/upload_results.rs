//! What is answered to an upload: a result for each line, or only those of the lines that failed,
//! and a summary.

use axum::body::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Problem, ProblemBody};

/// Which results are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One for each line.
    #[default]
    All,
    /// Those of lines that failed, and a summary.
    Failures,
}

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

/// The last line of an answer to `results=failures`.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[schema(as = UploadSummary)]
pub(super) struct Summary {
    /// Whether every line was taken.
    success: bool,
    /// Lines that were looked at. Those behind a failure that ended the upload are not among them.
    lines: u64,
    /// Lines that were taken, with the duplicates.
    taken: u64,
    /// Lines that had been taken before, by their `Idempotency-Key` or number.
    duplicates: u64,
    /// Lines that failed.
    failed: u64,
}

/// Results that wait to be sent.
#[derive(Debug)]
pub(super) struct Results {
    wanted: Wanted,
    waiting: Vec<u8>,
    summary: Summary,
}

impl Results {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, waiting: Vec::new(), summary: Summary::default() }
    }

    pub(super) const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// A line was taken, now or before.
    pub(super) fn taken(&mut self, line: u64, duplicate: bool, receipt: impl Serialize) {
        self.summary.lines += 1;
        self.summary.taken += 1;
        self.summary.duplicates += u64::from(duplicate);
        if self.wanted == Wanted::All {
            self.write(&LineResult::Taken { line, receipt });
        }
    }

    /// A line failed.
    pub(super) fn refused(&mut self, line: u64, problem: &Problem) {
        self.summary.lines += 1;
        self.summary.failed += 1;
        let refused: LineResult<'_, ()> = LineResult::Refused {
            line,
            status: problem.status().as_u16(),
            problem: problem.body(),
        };
        self.write(&refused);
    }

    /// Writes a line of its own.
    pub(super) fn write(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut self.waiting, value)
            .expect("strings and numbers always serialise, and a vector takes all");
        self.waiting.push(b'\n');
    }

    /// No more lines are taken.
    pub(super) fn end(&mut self) {
        if self.wanted == Wanted::Failures {
            self.write(&Summary { success: self.summary.failed == 0, ..self.summary });
        }
    }

    /// Everything that has not been sent yet.
    pub(super) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.waiting).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_and_a_summary_are_answered_where_that_is_wanted() {
        let mut results = Results::new(Wanted::Failures);
        results.taken(1, false, ());
        results.taken(2, true, ());
        assert!(results.take().is_empty());
        results.refused(3, &Problem::not_found());
        results.end();
        let text = String::from_utf8(results.take().to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(r#"{"line":3,"status":404,"success":false"#), "{text}");
        assert_eq!(
            lines[1..],
            [r#"{"success":false,"lines":3,"taken":2,"duplicates":1,"failed":1}"#]
        );
    }
}
