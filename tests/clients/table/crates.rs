//! The clients of the table that are crates.

use std::time::Duration;

use eventsource_client::SSE;
use futures_util::StreamExt;
use reqwest_eventsource::{Event, EventSource, retry::Constant};

use crate::clients::{
    rust_eventsource,
    witness::{Saw, Witness, witness},
};

/// Follows with the crate `eventsource-client`.
pub(super) fn eventsource_client(url: &str) -> Witness {
    let (record, witness) = witness();
    let mut following = rust_eventsource::follow(url);
    tokio::spawn(async move {
        while let Some(seen) = following.recv().await {
            match seen {
                SSE::Connected(_) => record.add(Saw::Open),
                SSE::Event(event) => {
                    record.add(saw(event.event_type, event.id.unwrap_or_default(), event.data));
                }
                SSE::Comment(_) => {}
            }
        }
    });
    witness
}

/// Follows with the crate `reqwest-eventsource`.
pub(super) fn reqwest_eventsource(url: &str) -> Witness {
    let (record, witness) = witness();
    let mut source = EventSource::get(url);
    source.set_retry_policy(Box::new(Constant::new(Duration::from_millis(50), None)));
    tokio::spawn(async move {
        while let Some(item) = source.next().await {
            record.add(match item {
                Ok(Event::Open) => Saw::Open,
                Ok(Event::Message(event)) => saw(event.event, event.id, event.data),
                Err(_) => Saw::Error { closed: false },
            });
        }
    });
    witness
}

fn saw(event_type: String, id: String, data: String) -> Saw {
    match serde_json::from_str(&data) {
        Ok(data) => Saw::Event { r#type: event_type, id, data },
        Err(_) => Saw::Unreadable { r#type: event_type, data },
    }
}
