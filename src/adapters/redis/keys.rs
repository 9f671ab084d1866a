//! The names of all keys and channels, and nowhere else.
//!
//! Invariants: no user id and no idempotency key can be written so that it reaches another's key:
//! what is free text stands alone between a fixed beginning and a fixed end, or behind a text in
//! braces that can hold none; in a cluster the keys of one topic have the topic's id in braces, and
//! so belong to one slot.
//!
//! Users' streams and the channels have the names that other programs know them by:
//! `user:<id>:stream`, `user:<id>` and `channel:<message id>`; in a cluster the streams' ids stand
//! in braces.

use std::{collections::HashMap, sync::LazyLock};

use redis::cluster_routing::Slot;

use crate::domain::{
    idempotency_key::IdempotencyKey,
    topic::{MessageId, Topic, UserId},
};

/// A text for each slot of a cluster that belongs to it.
static SLOT_TAGS: LazyLock<HashMap<Slot, String>> = LazyLock::new(|| {
    let mut tags = HashMap::new();
    let mut number = 0_u32;
    while tags.len() < SLOTS {
        let tag = number.to_string();
        tags.entry(Slot::for_key(&tag)).or_insert(tag);
        number += 1;
    }
    tags
});

const SLOTS: usize = 16_384;

/// Topics whose keys one script may touch: those of a slot in a cluster; else all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group(Option<Slot>);

/// The names of one deployment.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
    cluster: bool,
    database: i64,
}

impl Keys {
    pub(super) const fn new(prefix: String, cluster: bool, database: i64) -> Self {
        Self { prefix, cluster, database }
    }

    /// The number of the database that the keys are in. Channels belong to none, so that what is
    /// told there says it.
    pub(super) const fn database(&self) -> i64 {
        self.database
    }

    /// What an announcement says of the database, ready to stand in its JSON.
    pub(super) fn database_mark(&self) -> String {
        if self.database == 0 { String::new() } else { format!(r#""db":{},"#, self.database) }
    }

    /// The group of a topic.
    pub(super) fn group(&self, topic: &Topic) -> Group {
        self.group_of(&self.stream(topic))
    }

    fn group_of(&self, key: &str) -> Group {
        Group(self.cluster.then(|| Slot::for_key(key)))
    }

    /// The entries of a topic.
    pub(super) fn stream(&self, topic: &Topic) -> String {
        let prefix = &self.prefix;
        match topic {
            Topic::User(user) if self.cluster => {
                format!("{prefix}user:{{{}}}:stream", braceless(user.as_str()))
            }
            Topic::User(user) => format!("{prefix}user:{user}:stream"),
            Topic::Message(id) if self.cluster => format!("{prefix}message:{{{id}}}"),
            Topic::Message(id) => format!("{prefix}message:{id}"),
        }
    }

    /// What the name of each user's stream begins and ends with, where there is one server.
    pub(super) fn stream_of_any_user(&self) -> (String, &'static str) {
        (format!("{}user:", self.prefix), ":stream")
    }

    /// Where is told what is appended to a topic.
    pub(super) fn channel(&self, topic: &Topic) -> String {
        match topic {
            Topic::User(user) => format!("{}user:{user}", self.prefix),
            Topic::Message(id) => format!("{}channel:{id}", self.prefix),
        }
    }

    /// The topic of a channel, if it is one's.
    pub(super) fn topic_of(&self, channel: &str) -> Option<Topic> {
        let name = channel.strip_prefix(&self.prefix)?;
        if let Some(user) = name.strip_prefix("user:") {
            return UserId::parse(user).ok().map(Topic::User);
        }
        MessageId::parse(name.strip_prefix("channel:")?).ok().map(Topic::Message)
    }

    /// What every process is to hear, and the channel that says that there is something new.
    pub(super) fn announcements(&self) -> String {
        format!("{}rejoin:announcements:{}", self.prefix, self.database)
    }

    /// A key that is never there, for asking whether the server can be written to.
    pub(super) fn probe(&self) -> String {
        format!("{}rejoin:probe", self.prefix)
    }

    /// When the journal was created, as far as a topic is concerned.
    pub(super) fn origin(&self, topic: &Topic) -> String {
        self.shared("origin", self.group(topic))
    }

    /// The latest time that was returned for topics without a stream.
    pub(super) fn clock(&self, topic: &Topic) -> String {
        self.shared("clock", self.group(topic))
    }

    /// What an idempotency key of a topic got.
    pub(super) fn idempotency(&self, topic: &Topic, key: &IdempotencyKey) -> String {
        match topic {
            Topic::User(user) => {
                format!("{}idempotency:{{{}}}:{key}", self.prefix, braceless(user.as_str()))
            }
            Topic::Message(id) => format!("{}message-idempotency:{{{id}}}:{key}", self.prefix),
        }
    }

    /// What is known of a message beside its events.
    pub(super) fn message_state(&self, id: &MessageId) -> String {
        format!("{}message-state:{{{id}}}", self.prefix)
    }

    /// The index of a message among others by its producer's silence.
    pub(super) fn messages_by_silence(&self, id: &MessageId) -> String {
        self.shared("messages", self.group(&Topic::Message(id.clone())))
    }

    /// All such indexes.
    pub(super) fn all_messages_by_silence(&self) -> Vec<String> {
        self.in_all_groups("messages")
    }

    /// The index of a user's stream among others by their newest entries.
    pub(super) fn users_by_newest_entry(&self, topic: &Topic) -> String {
        self.shared("users", self.group(topic))
    }

    /// Under which name a topic stands in an index.
    pub(super) fn index_member(topic: &Topic) -> String {
        match topic {
            Topic::User(user) => user.to_string(),
            Topic::Message(id) => id.to_string(),
        }
    }

    /// All such indexes.
    pub(super) fn all_users_by_newest_entry(&self) -> Vec<String> {
        self.in_all_groups("users")
    }

    /// Whose turn it is to remove old streams.
    pub(super) fn sweep_turn(&self) -> String {
        format!("{}rejoin:sweep", self.prefix)
    }

    /// A user's connection slots.
    pub(super) fn leases(&self, user: &UserId) -> String {
        format!("{}leases:{{{}}}", self.prefix, braceless(user.as_str()))
    }

    /// The group of a user's connection slots.
    pub(super) fn leases_group(&self, user: &UserId) -> Group {
        self.group_of(&self.leases(user))
    }

    /// A user's replays.
    pub(super) fn replay_budget(&self, user: &UserId) -> String {
        format!("{}replays:{{{}}}", self.prefix, braceless(user.as_str()))
    }

    fn in_all_groups(&self, name: &str) -> Vec<String> {
        let groups: Vec<_> =
            if self.cluster { SLOT_TAGS.keys().copied().map(Some).collect() } else { vec![None] };
        groups.into_iter().map(|slot| self.shared(name, Group(slot))).collect()
    }

    /// Where a user's snapshots were capped.
    pub(super) fn continuations(&self, user: &UserId) -> String {
        format!("{}continuations:{{{}}}", self.prefix, braceless(user.as_str()))
    }

    /// A key that the topics of a group share.
    fn shared(&self, name: &str, Group(slot): Group) -> String {
        match slot.and_then(|slot| SLOT_TAGS.get(&slot)) {
            Some(tag) => format!("{}rejoin:{name}:{{{tag}}}", self.prefix),
            None => format!("{}rejoin:{name}", self.prefix),
        }
    }
}

/// An id without braces, and different from that of every other id.
fn braceless(id: &str) -> String {
    id.replace('%', "%25").replace('{', "%7B").replace('}', "%7D")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn user(id: &str) -> Topic {
        Topic::User(UserId::parse(id).unwrap())
    }

    fn message(id: u128) -> Topic {
        Topic::Message(uuid::Uuid::from_u128(id).into())
    }

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::parse(text).unwrap()
    }

    #[test]
    fn streams_and_channels_have_the_names_that_other_programs_know() {
        let keys = Keys::new(String::new(), false, 0);
        assert_eq!(keys.stream(&user("a:b{c}")), "user:a:b{c}:stream");
        assert_eq!(keys.channel(&user("a:b{c}")), "user:a:b{c}");
        assert_eq!(keys.channel(&message(1)), "channel:00000000-0000-0000-0000-000000000001");
        let prefixed = Keys::new("app:".to_owned(), false, 0);
        assert_eq!(prefixed.stream(&user("u1")), "app:user:u1:stream");
        assert_eq!(prefixed.channel(&user("u1")), "app:user:u1");
    }

    fn text_message(id: &str) -> Topic {
        Topic::Message(MessageId::parse(id).unwrap())
    }

    #[test]
    fn a_channel_is_read_as_its_topic_and_no_other_is() {
        let keys = Keys::new("app:".to_owned(), false, 0);
        for topic in
            [user("u1"), user("user:u1"), user("channel:x"), message(7), text_message("chat-1")]
        {
            assert_eq!(keys.topic_of(&keys.channel(&topic)), Some(topic));
        }
        for channel in [
            "user:u1",
            "app:user:",
            "app:channel:a b",
            "app:channel:",
            "app:rejoin:announcements:0",
            "",
        ] {
            assert_eq!(keys.topic_of(channel), None, "{channel}");
        }
    }

    #[test]
    fn there_is_a_tag_for_every_slot() {
        assert!(
            SLOT_TAGS
                .iter()
                .all(|(slot, tag)| Slot::for_key(format!("rejoin:origin:{{{tag}}}")) == *slot)
        );
        let keys = Keys::new(String::new(), true, 0);
        assert_eq!(keys.all_messages_by_silence().into_iter().collect::<HashSet<_>>().len(), SLOTS);
    }

    proptest! {
        #[test]
        fn in_a_cluster_the_keys_of_a_topic_share_a_slot(id in "\\PC{1,20}|[{}%]{1,6}", message_id: u128, idempotency in "[!-~]{1,20}") {
            let keys = Keys::new("app:".to_owned(), true, 0);
            for topic in [user(&id), message(message_id)] {
                let slot = Slot::for_key(keys.stream(&topic));
                let idempotency = keys.idempotency(&topic, &key(&idempotency));
                for other in [keys.origin(&topic), keys.clock(&topic), keys.users_by_newest_entry(&topic), idempotency] {
                    prop_assert_eq!(Slot::for_key(other), slot);
                }
                if let Topic::Message(id) = topic {
                    prop_assert_eq!(Slot::for_key(keys.message_state(&id)), slot);
                    prop_assert_eq!(Slot::for_key(keys.messages_by_silence(&id)), slot);
                }
            }
        }

        #[test]
        fn promise_8_no_two_things_share_a_key(
            a in "[a{}%:s]{1,8}|\\PC{1,12}", b in "[a{}%:s]{1,8}|\\PC{1,12}", k in "[a:{}%]{1,6}", l in "[a:{}%]{1,6}", cluster: bool,
        ) {
            prop_assume!(a != b);
            let keys = Keys::new(String::new(), cluster, 0);
            let names = |id: &str| {
                let (topic, id) = (user(id), UserId::parse(id).unwrap());
                let idempotency = [keys.idempotency(&topic, &key(&k)), keys.idempotency(&topic, &key(&l))];
                let of_user = [keys.stream(&topic), keys.leases(&id), keys.replay_budget(&id), keys.continuations(&id)];
                of_user.into_iter().chain(idempotency).collect::<HashSet<_>>()
            };
            let (of_a, of_b) = (names(&a), names(&b));
            prop_assert_eq!(of_a.len(), if k == l { 5 } else { 6 });
            prop_assert!(of_a.is_disjoint(&of_b), "{:?} {:?}", of_a, of_b);
        }
    }
}
