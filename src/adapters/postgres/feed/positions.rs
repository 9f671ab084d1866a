//! How far each topic that is listened to has been reported.
//!
//! Invariant: a topic's position never goes back while it is listened to, unless the topic lost all
//! it had.

use std::collections::HashMap;

use crate::{
    adapters::postgres::hint::TopicHash,
    domain::{position::Position, topic::Topic},
};

#[derive(Debug, Default)]
pub(super) struct Positions {
    reported: HashMap<Topic, Position>,
    by_number: HashMap<TopicHash, Vec<Topic>>,
}

impl Positions {
    /// Begins with a topic, at its head.
    pub(super) fn add(&mut self, topic: &Topic, head: Position) {
        if self.reported.insert(topic.clone(), head).is_none() {
            self.by_number.entry(TopicHash::of(topic)).or_default().push(topic.clone());
        }
    }

    pub(super) fn remove(&mut self, topic: &Topic) {
        self.reported.remove(topic);
        let number = TopicHash::of(topic);
        if let Some(topics) = self.by_number.get_mut(&number) {
            topics.retain(|other| other != topic);
            if topics.is_empty() {
                self.by_number.remove(&number);
            }
        }
    }

    /// The topics that some of these numbers are of, with their positions.
    pub(super) fn find<'a>(
        &self,
        numbers: impl IntoIterator<Item = &'a TopicHash>,
    ) -> Vec<(Topic, Position)> {
        let topics = numbers.into_iter().filter_map(|number| self.by_number.get(number)).flatten();
        topics.filter_map(|topic| Some((topic.clone(), *self.reported.get(topic)?))).collect()
    }

    /// All topics, with their positions.
    pub(super) fn all(&self) -> Vec<(Topic, Position)> {
        self.reported.iter().map(|(topic, reported)| (topic.clone(), *reported)).collect()
    }

    /// Whether this entry is to be reported now: it is behind the topic's position, which moves
    /// there.
    pub(super) fn advance(&mut self, topic: &Topic, to: Position) -> bool {
        let reported = self.reported.get_mut(topic).filter(|reported| **reported < to);
        reported.map(|reported| *reported = to).is_some()
    }

    /// A topic has lost all it had, and begins anew if it does.
    pub(super) fn restart(&mut self, topic: &Topic) {
        if let Some(reported) = self.reported.get_mut(topic) {
            *reported = Position::Start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{position::EventId, topic::UserId};

    #[test]
    fn only_what_is_listened_to_is_reported_and_once() {
        let mut positions = Positions::default();
        let [one, two] = ["u1", "u2"].map(|id| Topic::User(UserId::parse(id).unwrap()));
        let at = |ms| Position::After(EventId::timed(ms, 1));
        positions.add(&one, at(5));
        assert_eq!(
            positions.find(&[TopicHash::of(&one), TopicHash::of(&two)]),
            [(one.clone(), at(5))]
        );
        assert!(!positions.advance(&one, at(4)) && positions.advance(&one, at(6)));
        assert!(!positions.advance(&one, at(6)) && !positions.advance(&two, at(6)));
        positions.restart(&one);
        assert!(positions.advance(&one, at(1)));
        assert_eq!(positions.all(), [(one.clone(), at(1))]);
        positions.remove(&one);
        positions.remove(&one);
        assert!(positions.all().is_empty() && positions.by_number.is_empty());
    }
}
