//! Looking whether what is stored keeps the promises that are made of it.

use super::{Archives, Exporter, Record, Tally};
use crate::{
    domain::{
        event::Entry,
        position::{EventId, Position},
        timestamp::Timestamp,
        topic::Topic,
    },
    ports::backend_error::{BackendError, BackendErrorKind},
};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` where it is the backend as a whole.
    pub topic: Option<Topic>,
    /// What.
    pub what: String,
}

/// Reads all that there is, and looks at it.
pub struct Verifier {
    archives: Archives,
    exporter: Exporter,
    /// The latest topic, and the id before the next entry.
    at: Option<(Topic, Position)>,
}

impl Verifier {
    /// Begins.
    pub fn new(archives: Archives, now: Timestamp) -> Self {
        Self { exporter: Exporter::new(archives.clone(), now), archives, at: None }
    }

    /// What was looked at so far.
    pub const fn tally(&self) -> Tally {
        self.exporter.tally()
    }

    /// Looks on, up to the next problem; `None` if there is no other. `seen` is called with how far
    /// it is.
    ///
    /// # Errors
    /// The backend's, where it is away.
    pub async fn next(
        &mut self,
        mut seen: impl FnMut(Tally),
    ) -> Result<Option<Problem>, BackendError> {
        while let Some(record) = self.exporter.next().await? {
            seen(self.exporter.tally());
            if let Some(problem) = self.look(record) {
                return Ok(Some(problem));
            }
        }
        Ok(None)
    }

    /// What is wrong with the backends as such. To be asked once, behind the last topic.
    ///
    /// # Errors
    /// The backend's, where it is away.
    pub async fn of_backends(&self) -> Result<Vec<Problem>, BackendError> {
        let mut problems = Vec::new();
        for archive in [&self.archives.of_events, &self.archives.of_messages] {
            match archive.check().await {
                Ok(()) => {}
                Err(error) if error.kind == BackendErrorKind::Timeout => return Err(error),
                Err(error) => {
                    let problem = Problem { topic: None, what: error.with_cause() };
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
        Ok(problems)
    }

    fn look(&mut self, record: Record) -> Option<Problem> {
        match record {
            Record::Begin { .. } | Record::End(_) => None,
            Record::Topic { user, after, .. } => {
                self.at = Some((Topic::User(user), after.into()));
                None
            }
            Record::Message { id, .. } => {
                self.at = Some((Topic::Message(id), Position::Start));
                None
            }
            Record::Entry(entry) => self.look_at(&entry),
            Record::Unreadable { topic, why } => Some(Problem { topic: Some(topic), what: why }),
        }
    }

    fn look_at(&mut self, entry: &Entry) -> Option<Problem> {
        let (topic, before) = self.at.as_mut()?;
        let what = what_is_wrong(topic, *before, entry);
        *before = entry.id.into();
        what.map(|what| Problem { topic: Some(topic.clone()), what })
    }
}

fn what_is_wrong(topic: &Topic, before: Position, entry: &Entry) -> Option<String> {
    let id = entry.id;
    if !before.is_before(id) {
        return Some(format!("entry {id} stands behind {}", shown(before)));
    }
    if let Topic::Message(_) = topic {
        let expected = before.id().map_or(0, |before| before.major() + 1);
        return (id != EventId::sequence(expected))
            .then(|| format!("event {expected} is missing: event {id} is next"));
    }
    let lost = entry.prev.filter(|prev| *prev > before)?;
    Some(format!(
        "entry {id} was appended behind {}, but {} is before it",
        shown(lost),
        shown(before)
    ))
}

fn shown(position: Position) -> String {
    position.id().map_or_else(|| "the start".to_owned(), |id| id.to_string())
}
