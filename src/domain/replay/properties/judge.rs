//! The checker: judges what a client received against what was appended. It knows nothing of the
//! machine.

use proptest::prelude::*;

use super::world::{Seen, World};
use crate::domain::{
    cursor::Cursor,
    position::{EventId, Position},
};

/// Judges a client's history against everything that was ever appended.
pub(super) fn judge(world: &World) -> Result<(), TestCaseError> {
    // Entries up to here were taken, hidden, excused by a notice, or not owed to a client that had
    // no cursor.
    let mut settled: Option<Position> = None;
    let mut last_id = None;
    let mut excused = Position::Start;
    for seen in &world.seen {
        match seen {
            Seen::Connected(cursor) => {
                last_id = match cursor {
                    Cursor::After(id) => Some(*id),
                    _ => None,
                };
                settled = match cursor {
                    Cursor::After(id) => Some(Position::After(*id)),
                    Cursor::Oldest => Some(Position::Start),
                    Cursor::Absent | Cursor::Unreadable => None,
                };
                excused = Position::Start;
            }
            Seen::NotTold => {
                prop_assert!(false, "promise 6: something was gone, and the client was not told");
            }
            Seen::MetOrigin(origin) => settled = Some(*origin),
            Seen::Truncated { excuses, justified } => {
                prop_assert!(
                    *justified,
                    "promise 6: a notice, but nothing behind the cursor was gone"
                );
                excused = excused.max(*excuses);
                if settled.is_some_and(|settled| settled > *excuses) {
                    // The cursor was ahead of the journal: what follows begins at the head that is
                    // told next.
                    settled = None;
                    last_id = None;
                }
            }
            Seen::Entry(id) | Seen::MovedTo(id) => {
                prop_assert!(
                    last_id.is_none_or(|last| last < *id),
                    "promise 2: {id} after {last_id:?}"
                );
                if let Some(settled) = settled {
                    let until = Position::After(*id);
                    let hole = owed(world, settled, until).find(|owed| {
                        Position::After(*owed) != until && Position::After(*owed) > excused
                    });
                    prop_assert_eq!(hole, None, "promise 1: lost between {:?} and {}", settled, id);
                    if matches!(seen, Seen::MovedTo(_)) {
                        prop_assert!(
                            owed(world, settled, until)
                                .all(|owed| Position::After(owed) <= excused),
                            "promise 1: moved past an entry"
                        );
                    }
                }
                if let Seen::Entry(id) = seen {
                    let entry = world.log.iter().find(|appended| appended.entry.id == *id);
                    prop_assert!(
                        entry.is_some_and(|appended| world
                            .filter
                            .passes(appended.entry.event.category.as_ref())),
                        "{id} is not for this client"
                    );
                }
                settled = Some(Position::After(*id));
                last_id = Some(*id);
            }
        }
    }
    if let Some(settled) = settled {
        let missing = owed(world, settled, Position::After(EventId::timed(u64::MAX, u64::MAX)))
            .find(|owed| Position::After(*owed) > excused);
        prop_assert_eq!(missing, None, "promise 1: never delivered");
    }
    Ok(())
}

fn owed(world: &World, after: Position, until: Position) -> impl Iterator<Item = EventId> {
    let entries = world.log.iter().map(|appended| &appended.entry);
    entries
        .filter(move |entry| {
            after.is_before(entry.id)
                && !until.is_before(entry.id)
                && world.filter.passes(entry.event.category.as_ref())
        })
        .map(|entry| entry.id)
}
