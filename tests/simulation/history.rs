//! All that happened in a world, in its order: two runs of one seed are compared by it.

use std::{fmt::Debug, sync::Mutex};

use tokio::time::Instant;

/// Kept only where it is wanted: most worlds need none.
pub(crate) struct History {
    began: Instant,
    lines: Option<Mutex<Vec<String>>>,
}

impl History {
    pub(crate) fn new(is_kept: bool) -> Self {
        Self { began: Instant::now(), lines: is_kept.then(Mutex::default) }
    }

    /// Something happened at this moment.
    pub(crate) fn note(&self, what: &str, details: &dyn Debug) {
        if let Some(lines) = &self.lines {
            lines.lock().unwrap().push(format!("{:?} {what}: {details:?}", self.began.elapsed()));
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.as_ref().map(|lines| lines.lock().unwrap().clone()).unwrap_or_default()
    }
}
