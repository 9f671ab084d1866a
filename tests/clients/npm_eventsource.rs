//! The npm package `eventsource` in Node: it sends its token as a header, which a browser's
//! `EventSource` can't.

use rejoin_test_support::{CuttingProxy, TestServer};

use crate::clients::{
    script::Script,
    token::{self, Publisher},
    witness::{Saw, Witness, ids, witness},
};

async fn start(more_settings: &str) -> TestServer {
    TestServer::start(&format!("sse.retry_ms = 20\n{more_settings}\n{}", token::settings())).await
}

/// A client that follows as this user.
fn follow(stream: &str, user: &str) -> (Script, Witness) {
    let (record, witness) = witness();
    let script = Script::start("follow.mjs", &[stream, &token::of(user)], move |lines| {
        lines.for_each(|line| record.add(serde_json::from_value(line).unwrap()));
    });
    (script, witness)
}

#[tokio::test]
async fn promise_8_a_token_in_a_header_tells_whose_events_they_are() {
    let server = start("").await;
    let (_script, mine) = follow(&server.url("/api/events"), "u1");
    mine.opened(1).await;
    let publisher = Publisher::new(&server);
    publisher.publish("u2", 0).await;
    let id = publisher.publish("u1", 1).await;
    let seen = mine.until("the event", |seen| !ids(seen).is_empty()).await;
    let [Saw::Open, Saw::Event { id: cursor, data, .. }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(
        (cursor, &data["user_id"], &data["payload"]["number"]),
        (&id, &"u1".into(), &1.into())
    );
}

#[tokio::test]
async fn promises_1_and_2_nothing_is_lost_or_repeated_over_cut_connections() {
    let server = start("events.replay_budget_requests_per_window = 0").await;
    let proxy = CuttingProxy::start(server.address(), 3, 6_000).await;
    let (_script, client) =
        follow(&format!("http://{}/api/events?last_event_id=0", proxy.address()), "u1");
    let (sender, mut published) = (Publisher::new(&server), Vec::new());
    for number in 0..300 {
        published.push(sender.publish("u1", number).await);
    }
    let seen = client.until("all events", |seen| ids(seen).len() >= published.len()).await;
    assert_eq!(ids(&seen), published);
    assert!(proxy.cuts() >= 10, "{} cuts", proxy.cuts());
}
