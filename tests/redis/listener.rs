//! A stream that is read beside what else happens.

use std::sync::{Arc, Mutex};

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{Connection, eventually};
use serde_json::Value;
use tokio::{task::JoinHandle, time::Instant};

/// Keeps all that one stream says, and when.
pub(crate) struct Listener {
    heard: Arc<Mutex<Vec<(Instant, Decoded)>>>,
    reading: JoinHandle<()>,
}

impl Listener {
    pub(crate) fn of(mut connection: Connection) -> Self {
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let keeps = Arc::clone(&heard);
        let reading = tokio::spawn(async move {
            while let Some(decoded) = connection.next().await {
                keeps.lock().unwrap().push((Instant::now(), decoded));
            }
        });
        Self { heard, reading }
    }

    /// The same, once it has been told where it stands: what is published from here on is live.
    pub(crate) async fn placed(connection: Connection) -> Self {
        let listener = Self::of(connection);
        eventually("the place of a new client", async || listener.position().is_some()).await;
        listener
    }

    /// The id of the last frame that had nothing but one.
    pub(crate) fn position(&self) -> Option<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().rev().find_map(|(_, decoded)| {
            if let Decoded::Position(id) = decoded { Some(id.clone()) } else { None }
        })
    }

    /// The events so far: their ids and data.
    pub(crate) fn events(&self) -> Vec<(Option<String>, Value)> {
        let heard = self.heard.lock().unwrap();
        let events = heard.iter().filter_map(|(_, decoded)| match decoded {
            Decoded::Event { id, data, .. } => {
                Some((id.clone(), serde_json::from_str(data).unwrap()))
            }
            _ => None,
        });
        events.collect()
    }

    /// The ids and payloads of events so far that have an id.
    pub(crate) fn entries(&self) -> Vec<(String, Value)> {
        self.events()
            .into_iter()
            .filter_map(|(id, mut data)| Some((id?, data["payload"].take())))
            .collect()
    }

    /// Waits for so many entries, and gives their ids.
    pub(crate) async fn ids(&self, count: usize) -> Vec<String> {
        eventually("entries", async || self.entries().len() >= count).await;
        self.entries().into_iter().map(|(id, _)| id).collect()
    }

    /// Waits for so many entries, and gives their payloads.
    pub(crate) async fn payloads(&self, count: usize) -> Vec<Value> {
        self.ids(count).await;
        self.entries().into_iter().map(|(_, payload)| payload).collect()
    }

    /// How often the stream said this since then.
    pub(crate) fn comments_since(&self, since: Instant, words: &str) -> usize {
        let heard = self.heard.lock().unwrap();
        heard
            .iter()
            .filter(|(at, decoded)| *at >= since && *decoded == Decoded::Comment(words.to_owned()))
            .count()
    }

    /// Whether the stream has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.reading.is_finished()
    }

    /// Waits for the stream's end, and gives the last thing it said.
    pub(crate) async fn last_words(&self) -> Decoded {
        eventually("the stream's end", async || self.has_ended()).await;
        self.heard.lock().unwrap().last().unwrap().1.clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
