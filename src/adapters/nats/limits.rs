//! Connection slots and replay budgets: a document for each user, which expires when nothing in it
//! counts any more.
//!
//! Invariant: what is granted and when it ends is decided by the domain, by the servers' clock.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    documents::{Decision, Documents},
    incarnation::ServersClock,
    journal::bounded,
    subjects::Subjects,
};
use crate::{
    domain::{
        leases::{LeaseId, Leases},
        position::Position,
        replay_budget::{Continuations, Exhausted, SlidingWindow},
        timestamp::Timestamp,
        topic::UserId,
    },
    ports::{
        backend_error::BackendError,
        limits::{ConnectionLeases, ReplayBudget},
    },
};

/// Most users whose leases are renewed or released at the same time.
const USERS_AT_ONCE: usize = 64;

/// By how much the times of processes may differ.
const TIMES_DIFFER_MAX: Duration = Duration::from_secs(5);

/// The limits of users in documents.
pub(super) struct NatsLimits {
    pub(super) documents: Arc<Documents>,
    pub(super) subjects: Arc<Subjects>,
    pub(super) clock: Arc<ServersClock>,
}

/// A user's leases as they are kept: each with when it ends, in milliseconds.
#[derive(Default, Serialize, Deserialize)]
struct KeptLeases {
    held: Vec<(Uuid, u64)>,
}

/// A user's budget as it is kept: when replays were granted, and where a snapshot may go on until
/// when.
#[derive(Default, Serialize, Deserialize)]
struct KeptBudget {
    granted_at: Vec<u64>,
    continuations: Vec<(Option<String>, u64)>,
    /// For how long what is in it may count.
    counts_for_ms: u64,
}

impl KeptLeases {
    fn leases(&self) -> Leases {
        Leases::of(
            self.held
                .iter()
                .map(|(lease, ends_at)| (LeaseId(*lease), Timestamp::from_ms(*ends_at))),
        )
    }

    fn keep(&mut self, leases: &Leases) {
        self.held = leases.held().map(|(lease, ends_at)| (lease.0, ends_at.as_ms())).collect();
    }
}

impl KeptBudget {
    fn window(&self) -> SlidingWindow {
        SlidingWindow::of(self.granted_at.iter().copied().map(Timestamp::from_ms))
    }

    fn continuations(&self) -> Continuations {
        let position = |text: &Option<String>| {
            text.as_ref()
                .map_or(Some(Position::Start), |text| Some(Position::After(text.parse().ok()?)))
        };
        Continuations::of(
            self.continuations
                .iter()
                .filter_map(|(text, until)| Some((position(text)?, Timestamp::from_ms(*until)))),
        )
    }

    fn keep_window(&mut self, window: &SlidingWindow) {
        self.granted_at = window.granted_at().map(Timestamp::as_ms).collect();
    }

    fn keep_continuations(&mut self, continuations: &Continuations) {
        let text = |position: Position| position.id().map(|id| id.to_string());
        self.continuations = continuations
            .allowed()
            .map(|(position, until)| (text(position), until.as_ms()))
            .collect();
    }

    /// The time, but not before what was granted last: processes know the servers' time about, and
    /// what one has granted just now is not in the future for another.
    fn not_before_granted(&self, now: Timestamp) -> Timestamp {
        let last = self.granted_at.last().copied().map_or(now, Timestamp::from_ms);
        if last.since(now) <= TIMES_DIFFER_MAX { now.max(last) } else { now }
    }

    /// For how long it has to be kept, now that something of it counts for so long.
    fn counts_for(&mut self, counts_for: Duration) -> Duration {
        let counts_for = counts_for.max(Duration::from_millis(self.counts_for_ms));
        self.counts_for_ms = crate::domain::timestamp::millis(counts_for);
        counts_for
    }
}

impl NatsLimits {
    /// Changes the leases of several users, of each in one step.
    async fn change_leases(
        &self,
        context: &'static str,
        leases: &[(UserId, LeaseId)],
        kept_for: Duration,
        change: impl Fn(&mut Leases, LeaseId) + Sync,
    ) -> Result<(), BackendError> {
        let mut of_users: std::collections::BTreeMap<&UserId, Vec<LeaseId>> =
            std::collections::BTreeMap::new();
        for (user, lease) in leases {
            of_users.entry(user).or_default().push(*lease);
        }
        let change = &change;
        let change_one = async |user: &UserId, of_user: Vec<LeaseId>| {
            let subject = self.subjects.leases(user);
            let changed = self.documents.change(&subject, |kept: &mut KeptLeases| {
                let mut leases = kept.leases();
                for lease in &of_user {
                    change(&mut leases, *lease);
                }
                kept.keep(&leases);
                let left = leases
                    .held()
                    .map(|(_, ends_at)| ends_at.since(self.clock.now()))
                    .max()
                    .unwrap_or_default();
                Decision::Change((), left.max(kept_for))
            });
            bounded(context, changed).await
        };
        let changes: Vec<_> =
            of_users.into_iter().map(|(user, of_user)| change_one(user, of_user)).collect();
        stream::iter(changes).buffer_unordered(USERS_AT_ONCE).try_collect().await
    }
}

#[async_trait]
impl ConnectionLeases for NatsLimits {
    async fn acquire(
        &self,
        user: &UserId,
        lease: LeaseId,
        cap: u32,
        ttl: Duration,
    ) -> Result<bool, BackendError> {
        let subject = self.subjects.leases(user);
        let acquired = self.documents.change(&subject, |kept: &mut KeptLeases| {
            let (mut leases, now) = (kept.leases(), self.clock.now());
            if !leases.acquire(now, lease, cap, ttl) {
                return Decision::Keep(false);
            }
            kept.keep(&leases);
            let longest =
                leases.held().map(|(_, ends_at)| ends_at.since(now)).max().unwrap_or_default();
            Decision::Change(true, longest)
        });
        bounded("acquire a lease", acquired).await
    }

    async fn renew(&self, leases: &[(UserId, LeaseId)], ttl: Duration) -> Result<(), BackendError> {
        let renew = |held: &mut Leases, lease| held.renew(self.clock.now(), lease, ttl);
        self.change_leases("renew leases", leases, ttl, renew).await
    }

    async fn release(&self, leases: &[(UserId, LeaseId)]) -> Result<(), BackendError> {
        self.change_leases("release leases", leases, Duration::ZERO, Leases::release).await
    }

    async fn count(&self, user: &UserId) -> Result<u32, BackendError> {
        let subject = self.subjects.leases(user);
        let kept: KeptLeases = bounded("count leases", self.documents.read(&subject)).await?;
        Ok(u32::try_from(kept.leases().count_at(self.clock.now())).unwrap_or(u32::MAX))
    }
}

#[async_trait]
impl ReplayBudget for NatsLimits {
    async fn take(
        &self,
        user: &UserId,
        cursor: Position,
        limit: u32,
        window: Duration,
    ) -> Result<Result<u32, Exhausted>, BackendError> {
        let subject = self.subjects.budget(user);
        let taken = self.documents.change(&subject, |kept: &mut KeptBudget| {
            let (mut granted, mut continuations, now) =
                (kept.window(), kept.continuations(), kept.not_before_granted(self.clock.now()));
            if continuations.take(cursor, now) {
                kept.keep_continuations(&continuations);
                return Decision::Change(
                    Ok(granted.left(now, limit, window)),
                    kept.counts_for(window),
                );
            }
            match granted.take(now, limit, window) {
                Ok(left) => {
                    kept.keep_window(&granted);
                    Decision::Change(Ok(left), kept.counts_for(window))
                }
                Err(exhausted) => Decision::Keep(Err(exhausted)),
            }
        });
        bounded("ask for a replay", taken).await
    }

    async fn allow_continuation(
        &self,
        user: &UserId,
        cursor: Position,
        within: Duration,
    ) -> Result<(), BackendError> {
        let subject = self.subjects.budget(user);
        let allowed = self.documents.change(&subject, |kept: &mut KeptBudget| {
            let (mut continuations, now) = (kept.continuations(), self.clock.now());
            continuations.allow(cursor, now, now.plus(within));
            kept.keep_continuations(&continuations);
            Decision::Change((), kept.counts_for(within))
        });
        bounded("allow a continuation", allowed).await
    }

    async fn left(&self, user: &UserId, limit: u32, window: Duration) -> Result<u32, BackendError> {
        let subject = self.subjects.budget(user);
        let kept: KeptBudget =
            bounded("look at a replay budget", self.documents.read(&subject)).await?;
        Ok(kept.window().left(kept.not_before_granted(self.clock.now()), limit, window))
    }
}
