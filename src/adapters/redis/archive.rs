//! Redis as a whole.
//!
//! Users are listed by the keys of their streams; in a cluster by the index of streams, which has
//! none that only other programs write to.

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::{
    connection::Connection, failure::about, failure::malformed_reply, journal::RedisJournal,
    keys::Keys, messages::INDEXES_AT_ONCE, scripts::RESTORE,
};
use crate::{
    adapters::backend_kit::stored_event,
    domain::topic::{MessageId, Topic, UserId},
    ports::{
        archive::{Archive, ListPlace, Listing, Part, Restored},
        backend_error::BackendError,
    },
};

/// Names that are looked at in one call, about.
const NAMES_ABOUT: usize = 1_000;

/// What `SCAN` and `ZSCAN` answer.
type Scanned = (String, Vec<String>);

#[async_trait]
impl Archive for RedisJournal {
    async fn users(&self, from: Option<&ListPlace>) -> Result<Listing<UserId>, BackendError> {
        if let Connection::Cluster(_) = *self.appends {
            return self
                .members(&self.keys.all_users_by_newest_entry(), from, |user| {
                    UserId::parse(user).ok()
                })
                .await;
        }
        let (begins, ends) = self.keys.stream_of_any_user();
        let mut scan = redis::cmd("SCAN");
        scan.arg(from.map_or("0", |place| &place.0))
            .arg("MATCH")
            .arg(format!("{}*{ends}", literally(&begins)));
        scan.arg("COUNT").arg(NAMES_ABOUT).arg("TYPE").arg("stream");
        let (next, keys): Scanned = self.appends.send("list users' streams", &scan).await?;
        let user =
            |key: &String| UserId::parse(key.strip_prefix(&begins)?.strip_suffix(ends)?).ok();
        Ok(Listing {
            items: keys.iter().filter_map(user).collect(),
            next: (next != "0").then_some(ListPlace(next)),
            may_repeat: true,
        })
    }

    async fn messages(&self, from: Option<&ListPlace>) -> Result<Listing<MessageId>, BackendError> {
        self.members(&self.keys.all_messages_by_silence(), from, |id| MessageId::parse(id).ok())
            .await
    }

    async fn restore(&self, parts: Vec<Part>) -> Result<Vec<Restored>, BackendError> {
        let mut restored = Vec::with_capacity(parts.len());
        for part in &parts {
            restored.push(self.restore_part(part).await?);
        }
        Ok(restored)
    }
}

impl RedisJournal {
    /// Members of indexes. Where there is one, a place is how far it was read; in a cluster, which
    /// has one for each slot, it is the first that was not read, and each is read whole.
    async fn members<T>(
        &self,
        indexes: &[String],
        from: Option<&ListPlace>,
        read: impl Fn(&str) -> Option<T> + Sync,
    ) -> Result<Listing<T>, BackendError> {
        let place = from.map_or("0", |place| &place.0);
        if let [index] = indexes {
            let (next, members) = self.scan_index(index, place).await?;
            let items = members.iter().filter_map(|member| read(member)).collect();
            return Ok(Listing {
                items,
                next: (next != "0").then_some(ListPlace(next)),
                may_repeat: true,
            });
        }
        let first: usize = place.parse().unwrap_or(0);
        let rest = indexes.get(first..).unwrap_or_default();
        let some = &rest[..rest.len().min(INDEXES_AT_ONCE)];
        let members: Vec<Vec<String>> =
            try_join_all(some.iter().map(|index| self.whole_index(index))).await?;
        let items = members.iter().flatten().filter_map(|member| read(member)).collect();
        let next = first + some.len();
        Ok(Listing {
            items,
            next: (next < indexes.len()).then(|| ListPlace(next.to_string())),
            may_repeat: true,
        })
    }

    async fn whole_index(&self, index: &str) -> Result<Vec<String>, BackendError> {
        let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
        loop {
            let (next, members) = self.scan_index(index, &cursor).await?;
            all.extend(members);
            if next == "0" {
                return Ok(all);
            }
            cursor = next;
        }
    }

    /// Some members of an index, and where it goes on.
    async fn scan_index(&self, index: &str, cursor: &str) -> Result<Scanned, BackendError> {
        let mut scan = redis::cmd("ZSCAN");
        scan.arg(index).arg(cursor).arg("COUNT").arg(NAMES_ABOUT);
        let (next, members): Scanned = self.appends.send("list an index", &scan).await?;
        // Each comes with its score behind it.
        Ok((next, members.into_iter().step_by(2).collect()))
    }

    async fn restore_part(&self, part: &Part) -> Result<Restored, BackendError> {
        let topic = Topic::User(part.user.clone());
        let end = part.end();
        let mut arguments = vec![
            Keys::index_member(&topic),
            part.after.to_string(),
            end.to_string(),
            end.major().to_string(),
        ];
        let mut prev = part.after;
        for entry in &part.entries {
            arguments.extend([
                entry.id.to_string(),
                stored_event::encode(&topic, &entry.event),
                prev.to_string(),
            ]);
            prev = entry.id;
        }
        let keys = [self.keys.stream(&topic), self.keys.users_by_newest_entry(&topic)];
        match self
            .appends
            .run("restore a stream", &RESTORE, &keys, &arguments)
            .await
            .map_err(about(&topic))?
        {
            1 => Ok(Restored::Kept),
            0 => Ok(Restored::Another),
            _ => Err(malformed_reply()),
        }
    }
}

/// A text in which Redis's patterns take each character for itself.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}
