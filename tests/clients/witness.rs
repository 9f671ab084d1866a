//! What a client saw, as the client reports it.

use rejoin_test_support::PATIENCE;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

/// One thing that an `EventSource` saw.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "saw", rename_all = "snake_case")]
pub(crate) enum Saw {
    /// The stream has begun.
    Open,
    /// An event: its type, the cursor with it, and its data.
    Event { r#type: String, id: String, data: Value },
    /// An event whose data is no JSON: it is empty, for example.
    Unreadable { r#type: String, data: String },
    /// The stream has ended. Unless the client has given up for good, it comes back by itself.
    Error { closed: bool },
}

/// Reads what one client saw.
#[derive(Clone)]
pub(crate) struct Witness(watch::Receiver<Vec<Saw>>);

/// Writes what one client saw.
pub(crate) struct Record(watch::Sender<Vec<Saw>>);

pub(crate) fn witness() -> (Record, Witness) {
    let (sender, receiver) = watch::channel(Vec::new());
    (Record(sender), Witness(receiver))
}

impl Record {
    pub(crate) fn add(&self, saw: Saw) {
        self.0.send_modify(|seen| seen.push(saw));
    }
}

impl Witness {
    /// Waits until what was seen is enough, and gives all of it.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&[Saw]) -> bool) -> Vec<Saw> {
        let mut seen = self.0.clone();
        let waiting = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| enough(seen)))
            .await
            .map(|ended| ended.is_ok());
        assert_eq!(waiting, Ok(true), "timed out waiting for {what}, saw {:#?}", *self.0.borrow());
        self.0.borrow().clone()
    }

    /// Waits until the stream has been opened so many times.
    pub(crate) async fn opened(&self, times: usize) {
        self.until("an opening", |seen| openings(seen) >= times).await;
    }

    /// Waits for the last event to be one of this type, in the envelope format.
    pub(crate) async fn envelope(&self, event_type: &str) -> Saw {
        let is_it =
            |saw: &&Saw| matches!(saw, Saw::Event { data, .. } if data["type"] == event_type);
        let seen = self
            .until(event_type, |seen| {
                seen.iter()
                    .rfind(|saw| matches!(saw, Saw::Event { .. }))
                    .is_some_and(|saw| is_it(&saw))
            })
            .await;
        seen.iter().rfind(is_it).unwrap().clone()
    }
}

/// How many times the stream was opened.
pub(crate) fn openings(seen: &[Saw]) -> usize {
    seen.iter().filter(|saw| **saw == Saw::Open).count()
}

/// The ids of the events that have one of their own, in the envelope format.
pub(crate) fn ids(seen: &[Saw]) -> Vec<String> {
    let id = |saw: &Saw| match saw {
        Saw::Event { data, .. } => data["id"].as_str().map(ToOwned::to_owned),
        Saw::Open | Saw::Unreadable { .. } | Saw::Error { .. } => None,
    };
    seen.iter().filter_map(id).collect()
}
