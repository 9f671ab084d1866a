//! What is over its time is removed, little by little: entries over the age limit, and idempotency
//! keys behind their window.
//!
//! Invariant: a batch is small, so that no append waits long behind it.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    blocking::with_store,
    failure::Failure,
    journal::{DiskLog, oldest_since, remove_oldest, topic_of},
    keys,
    rows::{Draft, Rows},
    store::Store,
};
use crate::{
    adapters::backend_kit::sweep::{Sweep, Turn},
    domain::{timestamp::Timestamp, topic::UserId},
    ports::backend_error::BackendError,
};

/// Most rows that are removed in one batch.
const ROWS_MAX: usize = 500;

pub(super) struct DiskSweep(pub(super) Arc<DiskLog>);

/// Most topics or keys that are looked at in one batch.
const STEPS_MAX: usize = 100;

/// Removes what is over its time of one topic, or one key, or a part of it. Returns how many rows
/// it removed; `None` if there is nothing left.
type Step = fn(&DiskLog, &mut Draft) -> Result<Option<usize>, Failure>;

#[async_trait]
impl Sweep for DiskSweep {
    /// There is no other process.
    async fn take_turn(&self, _: Uuid, _: std::time::Duration) -> Result<bool, BackendError> {
        Ok(true)
    }

    async fn end_turn(&self, _: Uuid) -> Result<(), BackendError> {
        Ok(())
    }

    async fn remove(&self, turn: &mut Turn<'_>) -> Result<(), BackendError> {
        let steps: [Step; 2] = [DiskLog::remove_aged, DiskLog::forget_keys];
        for step in steps {
            let mut has_more = true;
            while has_more && turn.next_batch().await? {
                let log = Arc::clone(&self.0);
                let remove =
                    move |store: &Store| store.write(|rows| log.remove_batch(rows, step), |_| {});
                has_more = with_store(&self.0.store, "sweep the disk", None, remove).await?;
            }
        }
        Ok(())
    }
}

impl DiskLog {
    /// Returns whether there may be more.
    fn remove_batch(&self, rows: &mut Draft, step: Step) -> Result<bool, Failure> {
        let mut removed = 0;
        for _ in 0..STEPS_MAX {
            match step(self, rows)? {
                None => return Ok(false),
                Some(more) => removed += more,
            }
            if removed >= ROWS_MAX {
                break;
            }
        }
        Ok(true)
    }

    fn remove_aged(&self, rows: &mut Draft) -> Result<Option<usize>, Failure> {
        if self.retention.replay_max_age.is_none() {
            return Ok(None);
        }
        let cutoff = self.cutoff(self.now());
        let (from, to) = keys::until(b'a', cutoff);
        let Some((key, user)) = rows.range(&from, &to)?.next().transpose()? else {
            return Ok(None);
        };
        // A row that names no topic is of no use.
        let user = std::str::from_utf8(&user).ok().and_then(|text| UserId::parse(text).ok());
        let topic = user.as_ref().map(|user| topic_of(rows, user)).transpose()?.flatten();
        let (Some(user), Some(mut topic)) = (user, topic) else {
            rows.remove(key);
            return Ok(Some(1));
        };
        let before = topic.entries;
        remove_oldest(rows, &mut topic, |id| id.major() < cutoff.as_ms(), ROWS_MAX)?;
        let removed = before - topic.entries;
        rows.put(keys::topic(&user), topic.encode());
        if removed < ROWS_MAX as u64 {
            rows.remove(key);
            if let Some((_, oldest)) = oldest_since(rows, &topic, Timestamp::default())? {
                rows.put(
                    keys::age(Timestamp::from_ms(oldest.major()), topic.number),
                    user.as_str().to_owned(),
                );
            }
        }
        Ok(Some(usize::try_from(removed).unwrap_or(ROWS_MAX)))
    }

    fn forget_keys(&self, rows: &mut Draft) -> Result<Option<usize>, Failure> {
        let (from, to) = keys::until(b'x', self.now().minus(self.retention.idempotency_window));
        let due: Vec<_> = rows.range(&from, &to)?.take(ROWS_MAX).collect::<Result<_, _>>()?;
        for (key, _) in &due {
            let seen_key = keys::seen_key_of_forgotten(key);
            let given_at = keys::first_number(key)?;
            // It may have been given again since.
            let seen = rows.get(&seen_key)?.map(|seen| keys::seen_of(&seen)).transpose()?;
            if seen.is_some_and(|(_, seen_at)| seen_at.as_ms() <= given_at) {
                rows.remove(seen_key);
            }
            rows.remove(key.clone());
        }
        Ok((!due.is_empty()).then_some(due.len()))
    }
}
