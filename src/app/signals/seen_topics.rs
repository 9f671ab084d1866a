//! Topics of which something was said before.
//!
//! Invariant: a bounded number of them is remembered. When there are more, all are forgotten, so
//! that something may be said twice.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::domain::topic::Topic;

const TOPICS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct SeenTopics(Mutex<HashSet<Topic>>);

impl SeenTopics {
    /// `true` if it was not known before.
    pub(super) fn note(&self, topic: &Topic) -> bool {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.contains(topic) {
            return false;
        }
        if topics.len() >= TOPICS_MAX {
            topics.clear();
        }
        topics.insert(topic.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topic::UserId;

    #[test]
    fn a_topic_is_new_once_and_the_number_is_bounded() {
        let (seen, topic) =
            (SeenTopics::default(), |n: usize| Topic::User(UserId::parse(&n.to_string()).unwrap()));
        assert!(seen.note(&topic(0)) && !seen.note(&topic(0)));
        for n in 0..3 * TOPICS_MAX {
            let _ = seen.note(&topic(n));
        }
        assert!(seen.0.lock().unwrap().len() <= TOPICS_MAX);
    }
}
