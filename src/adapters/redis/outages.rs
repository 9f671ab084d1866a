//! The log of whether Redis can be used, and why not.
//!
//! Invariant: a reason is logged when it comes up, and the end of all of them when the last
//! connection is back; nothing is logged for each attempt, each request or each connection.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use super::failure::{Cause, Failure};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Appends, limits and everything else that is no long read.
    Appends,
    Reads,
    Feed,
}

/// The connections of a process that can't be had, and why. One for the process.
#[derive(Debug)]
pub(super) struct Outages {
    causes: Mutex<HashMap<Purpose, Cause>>,
    doubts: watch::Sender<()>,
}

impl Default for Outages {
    fn default() -> Self {
        Self { causes: Mutex::default(), doubts: watch::Sender::new(()) }
    }
}

impl Outages {
    /// A connection was lost, or can't be made.
    pub(super) fn failed(&self, purpose: Purpose, failure: &Failure) {
        if self.is_new(&[purpose], failure.cause()) {
            tracing::warn!("can't use Redis: {failure}");
        }
    }

    /// A connection turned out to lead to the wrong server. So may all others, which learn of this,
    /// and ask theirs.
    pub(super) fn met_wrong_server(&self, failure: &Failure) {
        if self.is_new(&[Purpose::Appends, Purpose::Reads, Purpose::Feed], failure.cause()) {
            tracing::warn!("can't use Redis: {failure}");
        }
        self.doubts.send_replace(());
    }

    /// Changes when every connection's server is to be asked whether it is still the right one.
    pub(super) fn doubts(&self) -> watch::Receiver<()> {
        self.doubts.subscribe()
    }

    /// A connection is there, and its server can be used.
    pub(super) fn reached(&self, purpose: Purpose) {
        if self.is_last(purpose) {
            tracing::info!("Redis can be used again");
        }
    }

    fn is_new(&self, purposes: &[Purpose], cause: Cause) -> bool {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = causes.values().any(|known| *known == cause);
        causes.extend(purposes.iter().map(|purpose| (*purpose, cause)));
        !is_known
    }

    fn is_last(&self, purpose: Purpose) -> bool {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        causes.remove(&purpose).is_some() && causes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_new_once_whichever_connection_meets_it() {
        let outages = Outages::default();
        assert!(outages.is_new(&[Purpose::Appends], Cause::Refused));
        assert!(!outages.is_new(&[Purpose::Reads], Cause::Refused));
        assert!(!outages.is_new(&[Purpose::Appends], Cause::Refused));
        assert!(outages.is_new(&[Purpose::Feed], Cause::MissingRight));
        assert!(outages.is_new(&[Purpose::Appends], Cause::Loading));
    }

    #[test]
    fn the_end_comes_with_the_last_connection() {
        let outages = Outages::default();
        assert!(!outages.is_last(Purpose::Feed), "nothing was wrong");
        outages.is_new(&[Purpose::Appends], Cause::Refused);
        outages.is_new(&[Purpose::Feed], Cause::Refused);
        assert!(!outages.is_last(Purpose::Appends));
        assert!(!outages.is_last(Purpose::Appends));
        assert!(outages.is_last(Purpose::Feed));
        assert!(outages.is_new(&[Purpose::Feed], Cause::Refused), "it may come again");
    }
}
