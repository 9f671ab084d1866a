//! What several processes over one backend promise together, while nothing fails.

use rejoin_test_support::{Connection, EventClient, Seen, ServerProcess, soon};
use reqwest::Client;
use serde_json::{Value, json};

use crate::cluster::engine::Engine;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rejoin");
const PROCESSES: usize = 3;

/// Processes over a backend, and the URL of each.
async fn start(
    engine: &impl Engine,
    settings: &[(&str, &str)],
) -> (Vec<ServerProcess>, Vec<String>) {
    let backend = engine.environment();
    let environment: Vec<_> = backend
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .chain(settings.iter().copied())
        .collect();
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(ServerProcess::start(PROGRAM, &environment).await);
    }
    let urls = processes.iter().map(|process| format!("http://{}", process.address())).collect();
    (processes, urls)
}

async fn publish(url: &str, body: &Value) -> Value {
    let response = Client::new().post(format!("{url}/api/events")).json(body).send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

/// A broadcast reaches everybody at each process, also where it is larger than a ring, and where
/// the rings are full.
pub(crate) async fn broadcasts_reach_everybody(engine: &impl Engine) {
    let rings = [("REJOIN_HUB__RING_MAX_BYTES", "20000"), ("REJOIN_HUB__RINGS_MAX_BYTES", "20000")];
    let (_processes, urls) = start(engine, &rings).await;
    let mut streams = Vec::new();
    for url in urls.iter().cycle().take(2 * PROCESSES) {
        streams.push(Connection::open(&format!("{url}/api/events"), None).await);
    }
    for n in 0..20 {
        publish(
            &urls[n % PROCESSES],
            &json!({ "user_id": "local", "type": "filler", "payload": "x".repeat(5_000) }),
        )
        .await;
    }
    for (number, payload_bytes) in [0, 100_000, 900_000, 10].into_iter().enumerate() {
        let payload = json!({ "number": number, "padding": "x".repeat(payload_bytes) });
        publish(
            &urls[number % PROCESSES],
            &json!({ "broadcast": true, "type": "notice", "payload": payload }),
        )
        .await;
    }
    for stream in &mut streams {
        let mut numbers = Vec::new();
        while numbers.len() < 4 {
            let (_, envelope) = stream.event().await;
            numbers.extend(
                envelope["payload"]["number"].as_u64().filter(|_| envelope["type"] == "notice"),
            );
        }
        // What several processes send at a time has no order; each of these was accepted before the
        // next was sent.
        assert_eq!(numbers, [0, 1, 2, 3]);
    }
}

/// Going on from where a snapshot was capped is free, whichever process the client comes back to.
pub(crate) async fn going_on_from_a_capped_snapshot_is_free(engine: &impl Engine) {
    let settings = [
        ("EVENTS_REPLAY_MAX_PER_REQUEST", "10"),
        ("EVENTS_REPLAY_BUDGET_REQUESTS_PER_WINDOW", "2"),
    ];
    let (_processes, urls) = start(engine, &settings).await;
    for n in 0..55 {
        publish(&urls[n % PROCESSES], &json!({ "user_id": "local", "type": "n", "payload": n }))
            .await;
    }
    let streams: Vec<String> = urls.iter().map(|url| format!("{url}/api/events")).collect();
    let mut clients = [
        EventClient::in_turn(streams.clone()).with_cursor("0"),
        EventClient::in_turn(streams.clone()).with_cursor("0"),
    ];
    for client in &mut clients {
        soon("all parts", client.follow_until(|seen| seen.len() == 55)).await;
        assert!(
            client.seen.iter().all(|seen| matches!(seen, Seen::Event(..))),
            "{:?}",
            client.seen
        );
        assert_eq!(client.connections, 6, "nobody was refused");
    }
    assert_eq!(
        Connection::request(&streams[0], Some("0")).await.status(),
        429,
        "the first part of each was paid for"
    );
}

/// An id follows a notice at once, also where nothing is retained, so that what comes after it is
/// not lost.
pub(crate) async fn an_id_follows_a_notice(engine: &impl Engine) {
    let (_processes, urls) = start(engine, &[]).await;
    let event = json!({ "user_id": "local", "type": "n" });
    let first = publish(&urls[0], &event).await["id"].as_str().unwrap().to_owned();
    publish(&urls[1], &event).await;
    let purge = Client::new()
        .delete(format!("{}/api/admin/users/local/events", urls[0]))
        .send()
        .await
        .unwrap();
    assert_eq!(purge.status(), 200);
    let mut client = EventClient::new(format!("{}/api/events", urls[1])).with_cursor(first.clone());
    soon("the notice", client.follow_until(|seen| !seen.is_empty())).await;
    let [Seen::Control(notice)] = &client.seen[..] else { panic!("{:?}", client.seen) };
    assert_eq!(notice["type"], "backlog.truncated");
    let mut stream = Connection::open(&format!("{}/api/events", urls[2]), Some(&first)).await;
    stream.event().await;
    let position = loop {
        if let rejoin::domain::frame_decoder::Decoded::Position(id) = stream.expect().await {
            break id;
        }
    };
    drop(stream);
    let id = publish(&urls[0], &event).await["id"].clone();
    let mut back = Connection::open(&format!("{}/api/events", urls[1]), Some(&position)).await;
    assert_eq!(back.event().await.0.map(Value::from), Some(id));
}
