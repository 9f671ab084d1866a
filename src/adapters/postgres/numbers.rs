//! Between the domain's numbers, which have no sign, and Postgres's, which have one.

use std::time::Duration;

use crate::domain::position::Position;

/// What is beyond Postgres's numbers is as good as their largest.
pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Nothing that this adapter stores is below zero.
pub(super) fn from_i64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A position among a user's events, as milliseconds and counter: -1 before all.
pub(super) fn columns_of(position: Position) -> (i64, i64) {
    position.id().map_or((-1, -1), |id| (to_i64(id.major()), to_i64(id.minor().unwrap_or(0))))
}

/// A quarter of what there is, so that it can be added to, or taken from, any time.
const MILLIS_MAX: i64 = i64::MAX / 4;

/// A length of time in milliseconds.
pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(MILLIS_MAX).min(MILLIS_MAX)
}

/// The same of a time that may have no end.
pub(super) fn millis_or_endless(time: Option<Duration>) -> i64 {
    time.map_or(MILLIS_MAX, millis)
}
