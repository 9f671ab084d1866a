//! The feed: notifications as hints, and entries as the journal has them.
//!
//! Invariant: what is reported of a topic was read from its table behind what was reported before,
//! so it comes in order, without a gap, and as it was committed.

mod announcements;
mod positions;
mod reading;
mod source;

pub(super) use self::{
    announcements::{ANNOUNCE, FIND_ANNOUNCEMENTS, LATEST_ANNOUNCEMENT, PostgresAnnouncements},
    reading::{FEED_MESSAGE_EVENTS, FEED_MESSAGE_HEADS, FEED_USER_EVENTS, FEED_USER_HEADS},
    source::PostgresSource,
};
