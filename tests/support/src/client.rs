//! A client that keeps everything it saw, and comes back with its cursor as an `EventSource` does.

use std::time::Duration;

use futures_util::{StreamExt, stream::BoxStream};
use rejoin::domain::frame_decoder::{Decoded, FrameDecoder};
use reqwest::Response;
use serde_json::Value;

use crate::soon;

/// What one stream said, in order.
pub struct Connection {
    bytes: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    decoder: FrameDecoder,
    decoded: std::collections::VecDeque<Decoded>,
}

impl Connection {
    /// Opens a stream; panics unless the answer is 200.
    pub async fn open(url: &str, last_event_id: Option<&str>) -> Self {
        let response = Self::request(url, last_event_id).await;
        assert_eq!(
            response.status().as_u16(),
            200,
            "{}",
            response.text().await.unwrap_or_default()
        );
        Self::of(response)
    }

    /// Asks for a stream, and gives the answer whatever it is.
    pub async fn request(url: &str, last_event_id: Option<&str>) -> Response {
        let mut request = reqwest::Client::new().get(url).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        soon("an answer", request.send()).await.unwrap()
    }

    /// Reads the stream of an answer.
    pub fn of(response: Response) -> Self {
        let bytes = response.bytes_stream().map(|bytes| bytes.map(|bytes| bytes.to_vec())).boxed();
        Self { bytes, decoder: FrameDecoder::default(), decoded: std::collections::VecDeque::new() }
    }

    /// The next thing the stream says; `None` at its end, however it came.
    pub async fn next(&mut self) -> Option<Decoded> {
        loop {
            if let Some(decoded) = self.decoded.pop_front() {
                return Some(decoded);
            }
            let bytes = self.bytes.next().await?.ok()?;
            self.decoded.extend(self.decoder.feed(&bytes));
        }
    }

    /// The next thing, which has to come soon.
    pub async fn expect(&mut self) -> Decoded {
        soon("a frame", self.next()).await.expect("the stream has ended")
    }

    /// The next event, past comments and delays; gives its id and its data as JSON.
    pub async fn event(&mut self) -> (Option<String>, Value) {
        loop {
            if let Decoded::Event { id, data, .. } = self.expect().await {
                return (id, serde_json::from_str(&data).unwrap());
            }
        }
    }

    /// Everything until the stream ends.
    pub async fn rest(&mut self) -> Vec<Decoded> {
        let mut all = Vec::new();
        while let Some(decoded) = soon("the stream's end", self.next()).await {
            all.push(decoded);
        }
        all
    }
}

/// What an [`EventClient`] saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// An event with an id, and its data.
    Event(String, Value),
    /// An event without an id: its data.
    Control(Value),
}

/// A client that goes on and on, keeping its cursor over connections.
pub struct EventClient {
    client: reqwest::Client,
    urls: Vec<String>,
    attempts: usize,
    cursor: Option<String>,
    /// Everything it saw over all connections.
    pub seen: Vec<Seen>,
    /// How many connections it took.
    pub connections: usize,
}

impl EventClient {
    /// A new client without a cursor.
    pub fn new(url: impl Into<String>) -> Self {
        Self::in_turn(vec![url.into()])
    }

    /// A new client without a cursor that asks several servers in turn, as behind a load balancer.
    pub fn in_turn(urls: Vec<String>) -> Self {
        // To make one takes longer than a connection does. It keeps none.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { client, urls, attempts: 0, cursor: None, seen: Vec::new(), connections: 0 }
    }

    /// The same with a cursor.
    #[must_use]
    pub fn with_cursor(self, cursor: impl Into<String>) -> Self {
        Self { cursor: Some(cursor.into()), ..self }
    }

    /// Where it has come to.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Follows, over as many connections as it takes, until what it saw is enough.
    pub async fn follow_until(&mut self, mut enough: impl FnMut(&[Seen]) -> bool) {
        while !enough(&self.seen) {
            let url = &self.urls[self.attempts % self.urls.len()];
            self.attempts += 1;
            let mut request = self.client.get(url);
            if let Some(cursor) = &self.cursor {
                request = request.header("last-event-id", cursor);
            }
            let mut retry_after = Duration::from_millis(10);
            if let Ok(response) = request.send().await
                && response.status() == 200
            {
                self.connections += 1;
                let mut connection = Connection::of(response);
                while let Some(decoded) = connection.next().await {
                    match decoded {
                        Decoded::Event { id, data, .. } => self.take(id, &data),
                        Decoded::Position(id) => self.cursor = Some(id),
                        Decoded::Retry(ms) => retry_after = Duration::from_millis(ms.min(20)),
                        Decoded::Comment(_) => {}
                    }
                    if enough(&self.seen) {
                        return;
                    }
                }
            }
            tokio::time::sleep(retry_after).await;
        }
    }

    fn take(&mut self, id: Option<String>, data: &str) {
        let data = serde_json::from_str(data).unwrap();
        match id {
            Some(id) => {
                self.cursor = Some(id.clone());
                self.seen.push(Seen::Event(id, data));
            }
            None => self.seen.push(Seen::Control(data)),
        }
    }
}
