//! A server, a proxy that can cut, and one client behind it.

use std::any::Any;

use rejoin_test_support::{CuttingProxy, TestServer, eventually};
use serde_json::json;

use super::clients::Client;
use crate::clients::witness::{Saw, Witness, ids};

/// Pages may follow, and clients that listen to the server come back soon.
const SETTINGS: &str = "server.cors_origins = [\"*\"]\nsse.retry_ms = 50\n";

/// The frame that moves a client's cursor where there is no event to do it.
const POSITION: &str = "stream.position";

/// The seed of all cuts.
const SEED: u64 = 11;

pub(super) struct Scene {
    server: TestServer,
    proxy: CuttingProxy,
    client: Witness,
    _running: Box<dyn Any>,
    published: Vec<String>,
}

impl Scene {
    /// Starts a server with these settings and a client that asks for this query. It has its first
    /// position.
    pub(super) async fn begin(client: &Client, query: &str, settings: &str) -> Self {
        let server = start(settings).await;
        let proxy = CuttingProxy::start_uncut(server.address()).await;
        Self::of(server, proxy, client, query).await
    }

    /// The same, with a connection that ends after 0.7 to 2.5 KB, again and again.
    pub(super) async fn begin_with_cuts(client: &Client, settings: &str) -> Self {
        let server = start(settings).await;
        let proxy =
            CuttingProxy::start_sparing(server.address(), SEED, 700..2500, client.spared).await;
        Self::of(server, proxy, client, "").await
    }

    async fn of(server: TestServer, proxy: CuttingProxy, client: &Client, query: &str) -> Self {
        let (client, running) =
            client.follow(&format!("http://{}/api/events{query}", proxy.address())).await;
        let scene = Self { server, proxy, client, _running: running, published: Vec::new() };
        scene.position_is_seen(None).await;
        scene
    }

    /// Publishes an event that the client has to get.
    pub(super) async fn publish(&mut self, event_type: &str) {
        let id = self.publish_for_others(event_type).await;
        self.published.push(id);
    }

    /// Publishes an event that the client has not asked for, and gives its id.
    pub(super) async fn publish_for_others(&self, event_type: &str) -> String {
        self.server.publish(event_type, json!({ "text": "two\nlines, \u{2603}" })).await
    }

    /// Ends the client's connection, and lets it get no other.
    pub(super) async fn disconnect(&self) {
        self.proxy.unplug();
        eventually("the connection's end", async || self.server.connections() == 0).await;
    }

    /// Lets the client through again, and waits until it is there.
    pub(super) async fn reconnect(&self) {
        self.proxy.plug_in();
        eventually("another connection", async || self.server.connections() == 1).await;
    }

    /// How many connections the proxy has cut.
    pub(super) fn cuts(&self) -> usize {
        self.proxy.cuts()
    }

    /// Waits for a position frame: for this position, or for any.
    pub(super) async fn position_is_seen(&self, position: Option<&str>) {
        let is_it = |saw: &Saw| matches!(saw, Saw::Event { r#type, id, .. } if r#type == POSITION && position.is_none_or(|position| position == id));
        self.client.until("a position", |seen| seen.iter().any(is_it)).await;
    }

    /// Waits until the client has seen the last event that was published for it.
    pub(super) async fn last_event_is_seen(&self) -> Vec<Saw> {
        self.client.until("the last event", |seen| ids(seen).last() == self.published.last()).await
    }

    /// Shows that the client has seen each event once, in order, and that its page was shown
    /// nothing else.
    pub(super) async fn end(&self) {
        let seen = self.last_event_is_seen().await;
        assert_eq!(ids(&seen), self.published, "events that were lost or repeated");
        for saw in &seen {
            match saw {
                Saw::Event { r#type, data, .. } if r#type == POSITION => {
                    assert_eq!(data, &json!({ "type": POSITION, "payload": {} }));
                }
                Saw::Event { r#type, data, .. } => {
                    assert_eq!(r#type, "message", "{data}");
                    assert!(data["id"].is_string(), "not one of the events: {data}");
                }
                Saw::Unreadable { .. } => panic!("{saw:?}"),
                Saw::Open | Saw::Error { .. } => {}
            }
        }
    }
}

async fn start(settings: &str) -> TestServer {
    TestServer::start(&format!("{SETTINGS}{settings}")).await
}
