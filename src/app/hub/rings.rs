//! All rings of a process together.
//!
//! Invariants: they hold no more bytes than allowed, but for the entry that was just added; where
//! room is needed, the oldest entry of all gives way, whichever ring holds it; making room looks at
//! no ring that does not give way, but for one look at each ring whose oldest entry has gone by
//! itself since.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Who holds a ring.
pub(super) trait RingHolder: Send + Sync {
    /// The ring was taken from the list: drops its oldest entry if that is of this order. Returns
    /// the order to list it by again.
    fn give_way(&self, order: u64) -> Option<u64>;
}

/// What the rings of a process share.
pub(super) struct Rings {
    bytes_max: usize,
    bytes: AtomicUsize,
    /// How many entries were ever added. An entry's order is how many were added before it.
    added: AtomicU64,
    /// Every ring that has entries, by the order of its oldest one when it was listed.
    by_order: Mutex<BTreeMap<u64, Weak<dyn RingHolder>>>,
}

impl Rings {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: AtomicUsize::new(0),
            added: AtomicU64::new(0),
            by_order: Mutex::default(),
        }
    }

    /// What they hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A ring takes an entry of so many bytes. Returns its order.
    pub(super) fn add(&self, bytes: usize) -> u64 {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.added.fetch_add(1, Ordering::Relaxed)
    }

    /// A ring has dropped entries.
    pub(super) fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Lists a ring by the order of its oldest entry.
    pub(super) fn list(&self, order: u64, holder: Weak<dyn RingHolder>) {
        self.by_order().insert(order, holder);
    }

    /// A ring that was listed by this order is no more.
    pub(super) fn unlist(&self, order: u64) {
        self.by_order().remove(&order);
    }

    /// Makes room where the rings hold too much. No ring may be locked by the caller.
    pub(super) fn make_room(&self) {
        while self.bytes() > self.bytes_max {
            // A statement of its own, so that the list is not locked while a ring is.
            let oldest = self.by_order().pop_first();
            let Some((order, listed)) = oldest else { return };
            // Held until it is listed again, so that its end finds what to unlist.
            let Some(holder) = listed.upgrade() else { continue };
            if let Some(order) = holder.give_way(order) {
                self.list(order, listed);
            }
        }
    }

    fn by_order(&self) -> MutexGuard<'_, BTreeMap<u64, Weak<dyn RingHolder>>> {
        // It is changed in whole steps.
        self.by_order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
