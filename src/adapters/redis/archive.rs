//! Redis as a whole.
//!
//! Users are listed by the keys of their streams; in a cluster by the index of streams, which has none that only other programs write
//! to.

use async_trait::async_trait;

use super::{
    connection::Connection,
    failure::about,
    journal::{RedisJournal, senseless},
    keys::Keys,
    scripts::RESTORE,
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
            return self.members(&self.keys.all_users_by_newest_entry(), from, |user| UserId::parse(user).ok()).await;
        }
        let (begins, ends) = self.keys.stream_of_any_user();
        let mut scan = redis::cmd("SCAN");
        scan.arg(from.map_or("0", |place| &place.0)).arg("MATCH").arg(format!("{}*{ends}", literally(&begins)));
        scan.arg("COUNT").arg(NAMES_ABOUT).arg("TYPE").arg("stream");
        let (next, keys): Scanned = self.appends.send("list users' streams", &scan).await?;
        let user = |key: &String| UserId::parse(key.strip_prefix(&begins)?.strip_suffix(ends)?).ok();
        Ok(Listing { items: keys.iter().filter_map(user).collect(), next: (next != "0").then_some(ListPlace(next)), may_repeat: true })
    }

    async fn messages(&self, from: Option<&ListPlace>) -> Result<Listing<MessageId>, BackendError> {
        self.members(&self.keys.all_messages_by_silence(), from, |id| id.parse().ok().map(MessageId)).await
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
    /// Members of indexes, one index after the other. A place is the number of an index, and how far it was read.
    async fn members<T>(
        &self,
        indexes: &[String],
        from: Option<&ListPlace>,
        read: impl Fn(&str) -> Option<T> + Sync,
    ) -> Result<Listing<T>, BackendError> {
        let place =
            from.and_then(|place| place.0.split_once(':')).and_then(|(index, cursor)| Some((index.parse().ok()?, cursor.to_owned())));
        let (mut at, mut cursor) = place.unwrap_or((0_usize, "0".to_owned()));
        let mut items = Vec::new();
        while let Some(index) = indexes.get(at) {
            let mut scan = redis::cmd("ZSCAN");
            scan.arg(index).arg(&cursor).arg("COUNT").arg(NAMES_ABOUT);
            let (next, members): Scanned = self.appends.send("list an index", &scan).await?;
            items.extend(members.chunks(2).filter_map(|member| read(member.first()?)));
            at += usize::from(next == "0");
            cursor = next;
            if items.len() >= NAMES_ABOUT {
                break;
            }
        }
        let next = (at < indexes.len()).then(|| ListPlace(format!("{at}:{cursor}")));
        Ok(Listing { items, next, may_repeat: true })
    }

    async fn restore_part(&self, part: &Part) -> Result<Restored, BackendError> {
        let topic = Topic::User(part.user.clone());
        let end = part.end();
        let mut arguments = vec![Keys::index_member(&topic), part.after.to_string(), end.to_string(), end.major().to_string()];
        let mut prev = part.after;
        for entry in &part.entries {
            arguments.extend([entry.id.to_string(), stored_event::encode(&topic, &entry.event), prev.to_string()]);
            prev = entry.id;
        }
        let keys = [self.keys.stream(&topic), self.keys.users_by_newest_entry(&topic)];
        match self.appends.run("restore a stream", &RESTORE, &keys, &arguments).await.map_err(about(&topic))? {
            1 => Ok(Restored::Kept),
            0 => Ok(Restored::Another),
            _ => Err(senseless()),
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
