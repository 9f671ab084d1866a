//! The topics that a process watches, and what has changed of them since the feed last looked.
//!
//! Invariant: a topic that is watched is listened to, or is among those that the feed has yet to
//! begin with; whoever begins to watch is answered after that, or not at all.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot};

use crate::domain::topic::Topic;

/// The topics that are watched. One for each feed.
#[derive(Debug, Default)]
pub(super) struct WatchSet {
    watches: Mutex<Watches>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Watches {
    watched: HashSet<Topic>,
    changes: Changes,
}

/// What the feed has yet to do.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Topics to listen to.
    pub(super) begun: HashSet<Topic>,
    /// Topics that are still listened to, and no longer watched.
    pub(super) ended: HashSet<Topic>,
    /// Who waits for it.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
}

impl WatchSet {
    /// Watches a topic: whether that is new, and when the feed listens to it. An error there means
    /// that the feed was lost before.
    pub(super) fn watch(&self, topic: &Topic) -> (bool, oneshot::Receiver<()>) {
        let (listens, listening) = oneshot::channel();
        let mut watches = self.watches();
        let is_new = watches.watched.insert(topic.clone());
        if is_new && !watches.changes.ended.remove(topic) {
            watches.changes.begun.insert(topic.clone());
        }
        watches.changes.waiting.push(listens);
        self.changed.notify_one();
        (is_new, listening)
    }

    pub(super) fn unwatch(&self, topic: &Topic) {
        let mut watches = self.watches();
        if watches.watched.remove(topic) && !watches.changes.begun.remove(topic) {
            watches.changes.ended.insert(topic.clone());
            self.changed.notify_one();
        }
    }

    pub(super) fn contains(&self, topic: &Topic) -> bool {
        self.watches().watched.contains(topic)
    }

    /// Waits until there are changes. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What changed since the last time.
    pub(super) fn take_changes(&self) -> Changes {
        std::mem::take(&mut self.watches().changes)
    }

    /// Nothing is listened to any more.
    pub(super) fn begin_anew(&self) {
        let Watches { watched, changes } = &mut *self.watches();
        changes.begun.clone_from(watched);
        changes.ended.clear();
    }

    /// Refuses whoever waits.
    pub(super) fn refuse_waiting(&self) {
        self.watches().changes.waiting.clear();
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        // It is changed in whole steps.
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topic::UserId;

    fn topics(ids: &[&str]) -> HashSet<Topic> {
        ids.iter().map(|id| Topic::User(UserId::parse(id).unwrap())).collect()
    }

    fn changes(set: &WatchSet) -> (HashSet<Topic>, HashSet<Topic>) {
        let Changes { begun, ended, .. } = set.take_changes();
        (begun, ended)
    }

    #[test]
    fn what_is_watched_is_listened_to_or_about_to_be() {
        let set = WatchSet::default();
        let [one, two] = ["u1", "u2"].map(|id| topics(&[id]).into_iter().next().unwrap());
        assert!(set.watch(&one).0 && !set.watch(&one).0 && set.watch(&two).0);
        set.unwatch(&two);
        assert_eq!(
            changes(&set),
            (topics(&["u1"]), topics(&[])),
            "what came and went meanwhile was never listened to"
        );
        set.unwatch(&one);
        set.unwatch(&one);
        assert!(set.watch(&one).0);
        assert_eq!(
            changes(&set),
            (topics(&[]), topics(&[])),
            "what went and came is still listened to"
        );
        set.unwatch(&one);
        assert_eq!(changes(&set), (topics(&[]), topics(&["u1"])));
        let (_, mut waiting) = set.watch(&two);
        set.begin_anew();
        set.refuse_waiting();
        assert!(waiting.try_recv().is_err());
        assert_eq!(changes(&set), (topics(&["u2"]), topics(&[])));
        set.begin_anew();
        assert_eq!(changes(&set), (topics(&["u2"]), topics(&[])));
    }
}
