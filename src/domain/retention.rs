//! What is over the age limit.

use std::time::Duration;

use super::timestamp::Timestamp;

/// The time from which entries count. Those with an earlier id count as removed. Without an age limit all count.
pub fn retained_since(now: Timestamp, age_max: Option<Duration>) -> Timestamp {
    age_max.map_or(Timestamp::default(), |age_max| now.minus(age_max))
}
