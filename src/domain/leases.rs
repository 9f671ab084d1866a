//! The connection slots of one user, as arithmetic over time.
//!
//! Invariant: never more than `cap` leases are in force at once, and a lease that is not renewed
//! ends by itself.

use std::time::Duration;

use uuid::Uuid;

use super::timestamp::Timestamp;

/// Names one held connection slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub Uuid);

/// One user's leases.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    held: Vec<(LeaseId, Timestamp)>,
}

impl Leases {
    /// As they were kept: each with when it ends.
    pub fn of(held: impl IntoIterator<Item = (LeaseId, Timestamp)>) -> Self {
        Self { held: held.into_iter().collect() }
    }

    /// To be kept: each with when it ends.
    pub fn held(&self) -> impl Iterator<Item = (LeaseId, Timestamp)> {
        self.held.iter().copied()
    }

    /// Takes a slot until `now + ttl`; `false` if all `cap` are held.
    pub fn acquire(&mut self, now: Timestamp, lease: LeaseId, cap: u32, ttl: Duration) -> bool {
        if self.count_at(now) >= cap as usize {
            return false;
        }
        self.held.push((lease, now.plus(ttl)));
        true
    }

    /// Holds on to a slot until `now + ttl`. A lease that expired in between is taken up again: its
    /// connection still exists, and to count it twice or not at all would be worse than to exceed
    /// the cap until it ends.
    pub fn renew(&mut self, now: Timestamp, lease: LeaseId, ttl: Duration) {
        self.release(lease);
        self.held.push((lease, now.plus(ttl)));
    }

    /// Gives a slot back. Giving back what is not held does nothing, so the count can't go below
    /// zero.
    pub fn release(&mut self, lease: LeaseId) {
        self.held.retain(|(held, _)| *held != lease);
    }

    /// How many are in force.
    pub fn count_at(&mut self, now: Timestamp) -> usize {
        self.held.retain(|(_, expires_at)| *expires_at > now);
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TTL: Duration = Duration::from_millis(30);

    fn lease(n: u128) -> LeaseId {
        LeaseId(Uuid::from_u128(n))
    }

    #[test]
    fn promise_10_a_lease_that_nobody_renews_frees_its_slot() {
        let mut leases = Leases::default();
        let at = Timestamp::from_ms;
        assert!(leases.acquire(at(0), lease(1), 1, TTL));
        assert!(!leases.acquire(at(29), lease(2), 1, TTL));
        leases.renew(at(20), lease(1), TTL);
        assert!(!leases.acquire(at(49), lease(2), 1, TTL));
        assert!(leases.acquire(at(50), lease(2), 1, TTL));
    }

    proptest! {
        #[test]
        fn acquiring_never_exceeds_the_cap(actions in proptest::collection::vec((0_u8..3, 0_u128..8, 0_u64..20), 0..100), cap in 1_u32..4) {
            let (mut leases, mut now) = (Leases::default(), 0);
            for (action, id, step) in actions {
                now += step;
                match action {
                    0 => {
                        let before = leases.count_at(Timestamp::from_ms(now));
                        let granted = leases.acquire(Timestamp::from_ms(now), lease(id), cap, TTL);
                        prop_assert_eq!(granted, before < cap as usize);
                    }
                    _ => leases.release(lease(id)),
                }
                prop_assert!(leases.count_at(Timestamp::from_ms(now)) <= cap as usize);
            }
        }
    }
}
