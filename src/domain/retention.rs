//! What is over the age limit.

use std::time::Duration;

use super::timestamp::Timestamp;

/// The time from which entries count. Those with an earlier id count as removed. Without an age
/// limit all count.
pub fn retained_since(now: Timestamp, replay_max_age: Option<Duration>) -> Timestamp {
    replay_max_age.map_or(Timestamp::default(), |replay_max_age| now.minus(replay_max_age))
}
