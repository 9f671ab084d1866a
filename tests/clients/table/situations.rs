//! What can happen to a client: each situation, and what must come of it.

use super::{clients::Client, scene::Scene};

/// The replays of a client that is cut off every second are many.
const NO_REPLAY_BUDGET: &str = "events.replay_budget_requests_per_window = 0";

/// Three events are kept, and silence lasts a second at most.
const SHORT: &str = "events.stream_maxlen = 3\nsse.keepalive_seconds = 1";

/// One situation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Situation {
    /// The connection ends before the first event; one is published while the client is away.
    Fresh,
    /// The same after one event.
    Mid,
    /// Behind one event the filter passes nothing, until that event is too old for a cursor. A
    /// keepalive brings a newer one; then the connection ends, and an event is published while the
    /// client is away.
    Filter,
    /// The connection ends again and again, in the middle of events.
    Cuts,
}

impl Situation {
    pub(super) const ALL: [Self; 4] = [Self::Fresh, Self::Mid, Self::Filter, Self::Cuts];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Mid => "mid",
            Self::Filter => "filter",
            Self::Cuts => "cuts",
        }
    }

    /// Shows that a client gets every event once in this situation, and nothing else; panics where
    /// it does not.
    pub(super) async fn show(self, client: &Client) {
        match self {
            Self::Fresh => fresh(client).await,
            Self::Mid => mid(client).await,
            Self::Filter => filter(client).await,
            Self::Cuts => cuts(client).await,
        }
    }
}

async fn fresh(client: &Client) {
    let mut scene = Scene::begin(client, "", "").await;
    miss_one(&mut scene, "step").await;
    scene.end().await;
}

async fn mid(client: &Client) {
    let mut scene = Scene::begin(client, "", "").await;
    scene.publish("step").await;
    scene.last_event_is_seen().await;
    miss_one(&mut scene, "step").await;
    scene.end().await;
}

/// One event is published while the client is away, and one when it is back.
async fn miss_one(scene: &mut Scene, event_type: &str) {
    scene.disconnect().await;
    scene.publish(event_type).await;
    scene.reconnect().await;
    scene.publish(event_type).await;
}

async fn filter(client: &Client) {
    let mut scene = Scene::begin(client, "?categories=ai", SHORT).await;
    scene.publish("ai.step").await;
    scene.last_event_is_seen().await;
    let mut skipped = String::new();
    for _ in 0..6 {
        skipped = scene.publish_for_others("sync.step").await;
    }
    scene.position_is_seen(Some(&skipped)).await;
    miss_one(&mut scene, "ai.step").await;
    scene.end().await;
}

async fn cuts(client: &Client) {
    let mut scene = Scene::begin_with_cuts(client, NO_REPLAY_BUDGET).await;
    for _ in 0..60 {
        scene.publish("step").await;
    }
    scene.end().await;
    assert!(scene.cuts() >= 5, "only {} cuts", scene.cuts());
}
