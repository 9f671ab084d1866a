//! Judges what a client saw against what was appended. It knows nothing of how either came about.

use rejoin::domain::{
    category::CategoryFilter,
    cursor::Cursor,
    position::{EventId, Position},
};

use crate::backend::Logged;

/// What a client saw, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// A connection began, with this cursor.
    Connected(Cursor),
    /// An entry, when the journal's origin was this.
    Entry { id: EventId, payload: String, origin: Position },
    /// Its cursor was moved.
    MovedTo { id: EventId, origin: Position },
    /// It was told that entries are gone: those up to `excuses` are, and `justified` tells whether
    /// it lacked any.
    Truncated { excuses: Position, justified: bool },
}

/// What has been settled of one client's history so far.
struct Judge<'a> {
    log: &'a [Logged],
    filter: &'a CategoryFilter,
    /// Everything up to here was taken, hidden or excused; `None` while the client is owed nothing.
    settled: Option<Position>,
    last_id: Option<EventId>,
    excused: Position,
}

/// Promises 1, 2, 3 and 6, for one client that has had the time to get everything.
/// `origin` is the journal's at the end.
pub(crate) fn judge(
    seen: &[Seen],
    log: &[Logged],
    filter: &CategoryFilter,
    origin: Position,
) -> Result<(), String> {
    let mut judge = Judge { log, filter, settled: None, last_id: None, excused: Position::Start };
    for (index, next) in seen.iter().enumerate() {
        judge.take(next).map_err(|failure| with_end_of(&seen[..=index], &failure))?;
    }
    match judge.settled {
        None => Err(with_end_of(seen, "the client has never been told where it stands")),
        Some(settled) => {
            let lost = judge
                .nothing_lost(if settled == Position::Start { origin } else { settled }, |_| true);
            lost.map_err(|lost| {
                with_end_of(seen, &format!("promise 1: {lost} was never delivered"))
            })
        }
    }
}

fn with_end_of(seen: &[Seen], failure: &str) -> String {
    let end: Vec<_> =
        seen[seen.len().saturating_sub(12)..].iter().map(|seen| format!("  {seen:?}")).collect();
    format!("{failure}; it saw\n{}", end.join("\n"))
}

impl Judge<'_> {
    fn take(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Connected(cursor) => {
                (self.last_id, self.settled) = match cursor {
                    Cursor::After(id) => (Some(*id), Some(Position::After(*id))),
                    Cursor::Oldest => (None, Some(Position::Start)),
                    Cursor::Absent | Cursor::Unreadable => (None, None),
                };
                self.excused = Position::Start;
            }
            Seen::Truncated { justified: false, .. } => {
                return Err(
                    "promise 6: a notice, but nothing behind the cursor was gone".to_owned()
                );
            }
            Seen::Truncated { excuses, .. } => {
                self.excused = self.excused.max(*excuses);
                if *excuses != Position::Start
                    && self.settled.is_some_and(|settled| settled > *excuses)
                {
                    // The cursor was ahead of the journal: what follows begins at the head that is
                    // told next.
                    (self.settled, self.last_id) = (None, None);
                }
            }
            Seen::Entry { id, payload, origin } => {
                let logged = self
                    .log
                    .iter()
                    .find(|logged| logged.id == *id)
                    .ok_or_else(|| format!("{id} was never appended"))?;
                if logged.payload != *payload || !self.filter.passes(logged.category.as_ref()) {
                    return Err(format!(
                        "{id} is not for this client, or not what was appended: {payload}"
                    ));
                }
                self.advance(*id, *origin, |lost| lost < *id)?;
            }
            Seen::MovedTo { id, origin } => self.advance(*id, *origin, |lost| lost <= *id)?,
        }
        Ok(())
    }

    fn advance(
        &mut self,
        id: EventId,
        origin: Position,
        before: impl Fn(EventId) -> bool,
    ) -> Result<(), String> {
        if self.last_id.is_some_and(|last| last >= id) {
            return Err(format!("promise 2: {id} after {:?}", self.last_id));
        }
        if let Some(settled) = self.settled {
            // Who asked for all that is retained asked this incarnation of the journal.
            let settled = if settled == Position::Start { origin } else { settled };
            self.nothing_lost(settled, before)
                .map_err(|lost| format!("promise 1: lost between {settled:?} and {id}: {lost}"))?;
        }
        self.settled = Some(id.into());
        self.last_id = Some(id);
        Ok(())
    }

    /// Nothing that the client is owed lies behind `settled`.
    fn nothing_lost(
        &self,
        settled: Position,
        among: impl Fn(EventId) -> bool,
    ) -> Result<(), EventId> {
        let owed = |logged: &&Logged| {
            settled.is_before(logged.id)
                && among(logged.id)
                && self.excused.is_before(logged.id)
                && self.filter.passes(logged.category.as_ref())
        };
        self.log.iter().find(owed).map_or(Ok(()), |lost| Err(lost.id))
    }
}

/// What was appended has one order, and each publication is there once.
pub(crate) fn judge_log(log: &[Logged], acknowledged: &[(EventId, String)]) -> Result<(), String> {
    for pair in log.windows(2) {
        if pair[0].id >= pair[1].id {
            return Err(format!("ids do not increase: {} after {}", pair[1].id, pair[0].id));
        }
    }
    for (index, logged) in log.iter().enumerate() {
        if log[index + 1..].iter().any(|other| {
            (&other.payload, other.incarnation) == (&logged.payload, logged.incarnation)
        }) {
            return Err(format!("promise 5: {} was appended twice", logged.payload));
        }
    }
    let missing = acknowledged.iter().find(|(id, payload)| {
        !log.iter().any(|logged| (logged.id, &logged.payload) == (*id, payload))
    });
    missing.map_or(Ok(()), |missing| {
        Err(format!("promise 4: acknowledged, but not there: {missing:?}"))
    })
}
