//! The topics that a process listens to, and how far each has been told.
//!
//! Invariant: a topic's position never goes back while it is watched, unless the topic lost all it had; nothing is told
//! of a topic that is not watched, or whose position is not known yet.

use std::collections::HashMap;

use crate::{
    adapters::postgres::hint::TopicNumber,
    domain::{position::Position, topic::Topic},
};

/// How far a topic has been told: `None` until its head was asked for.
type Told = Option<Position>;

#[derive(Debug, Default)]
pub(super) struct Watched {
    told: HashMap<Topic, Told>,
    by_number: HashMap<TopicNumber, Vec<Topic>>,
}

impl Watched {
    /// `true` if it was not watched before.
    pub(super) fn watch(&mut self, topic: &Topic) -> bool {
        if self.told.contains_key(topic) {
            return false;
        }
        self.told.insert(topic.clone(), None);
        self.by_number.entry(TopicNumber::of(topic)).or_default().push(topic.clone());
        true
    }

    pub(super) fn unwatch(&mut self, topic: &Topic) {
        if self.told.remove(topic).is_none() {
            return;
        }
        let number = TopicNumber::of(topic);
        if let Some(topics) = self.by_number.get_mut(&number) {
            topics.retain(|other| other != topic);
            if topics.is_empty() {
                self.by_number.remove(&number);
            }
        }
    }

    /// Nothing is known of any position any more.
    pub(super) fn doubt_all(&mut self) {
        self.told.values_mut().for_each(|told| *told = None);
    }

    /// The topics whose positions are not known.
    pub(super) fn doubtful(&self) -> Vec<Topic> {
        self.told.iter().filter(|(_, told)| told.is_none()).map(|(topic, _)| topic.clone()).collect()
    }

    /// A topic's head was asked for.
    pub(super) fn settle(&mut self, topic: &Topic, head: Position) {
        if let Some(told @ None) = self.told.get_mut(topic) {
            *told = Some(head);
        }
    }

    /// The topics that some of these numbers are of, with their positions.
    pub(super) fn find<'a>(&self, numbers: impl IntoIterator<Item = &'a TopicNumber>) -> Vec<(Topic, Position)> {
        let topics = numbers.into_iter().filter_map(|number| self.by_number.get(number)).flatten();
        topics.filter_map(|topic| Some((topic.clone(), (*self.told.get(topic)?)?))).collect()
    }

    /// All topics, with their positions.
    pub(super) fn all(&self) -> Vec<(Topic, Position)> {
        self.told.iter().filter_map(|(topic, told)| Some((topic.clone(), (*told)?))).collect()
    }

    /// Whether this entry is to be told now: it is behind the topic's position, which moves there.
    pub(super) fn advance(&mut self, topic: &Topic, to: Position) -> bool {
        match self.told.get_mut(topic) {
            Some(Some(told)) if *told < to => {
                *told = to;
                true
            }
            _ => false,
        }
    }

    /// A topic has lost all it had, and begins anew if it does. `false` if nobody listens.
    pub(super) fn restart(&mut self, topic: &Topic) -> bool {
        match self.told.get_mut(topic) {
            Some(Some(told)) => {
                *told = Position::Start;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{position::EventId, topic::UserId};

    fn topic(id: &str) -> Topic {
        Topic::User(UserId::parse(id).unwrap())
    }

    #[test]
    fn only_what_is_watched_and_known_is_told_and_once() {
        let mut watched = Watched::default();
        let (one, two) = (topic("u1"), topic("u2"));
        let at = |ms| Position::After(EventId::timed(ms, 1));
        assert!(watched.watch(&one) && !watched.watch(&one));
        assert!(!watched.advance(&one, at(9)), "its position is not known");
        assert_eq!(watched.doubtful(), std::slice::from_ref(&one));
        watched.settle(&one, at(5));
        watched.settle(&one, at(3));
        assert_eq!(watched.find(&[TopicNumber::of(&one), TopicNumber::of(&two)]), [(one.clone(), at(5))]);
        assert!(watched.advance(&one, at(6)) && !watched.advance(&one, at(6)) && !watched.advance(&two, at(6)));
        watched.doubt_all();
        assert!(watched.all().is_empty());
        watched.unwatch(&one);
        watched.unwatch(&one);
        assert!(watched.doubtful().is_empty() && watched.by_number.is_empty());
    }
}
