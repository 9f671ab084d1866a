//! Nothing is lost, however often and wherever connections are cut.

use std::{sync::Arc, time::Duration};

use rejoin_test_support::{CuttingProxy, EventClient, Seen, TestServer};
use serde_json::{Value, json};

const EVENTS: usize = 10_000;
const CLIENTS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_and_2_every_client_has_every_event_once_in_order_however_often_it_is_cut() {
    let settings = "events.stream_maxlen = 20000\nevents.replay_budget_requests_per_window = 0\nsse.max_concurrent_per_user = 0";
    let server = Arc::new(TestServer::start(settings).await);
    // Short enough that each client is cut dozens of times, in the middle of frames too; long
    // enough for some progress.
    let proxy = CuttingProxy::start(server.address(), 20_261_122, 120_000).await;
    let url = format!("http://{}/api/events", proxy.address());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = EventClient::new(url.clone()).with_cursor("0");
            tokio::spawn(async move {
                client.follow_until(|seen| seen.len() >= EVENTS).await;
                client
            })
        })
        .collect();
    publish_all(&server).await;
    let followed = tokio::time::timeout(Duration::from_mins(2), async {
        let mut done = Vec::new();
        for client in clients {
            done.push(client.await.unwrap());
        }
        done
    })
    .await
    .expect("all clients reach the head");
    let expected: Vec<Value> = (0..EVENTS).map(|n| json!(n)).collect();
    for client in followed {
        let payloads: Vec<Value> = client
            .seen
            .into_iter()
            .map(|seen| match seen {
                Seen::Event(_, mut envelope) => envelope["payload"].take(),
                Seen::Control(control) => panic!("{control}"),
            })
            .collect();
        assert!(payloads == expected, "a hole, a repeat or a wrong order");
        assert!(client.connections > 1);
    }
    assert!(proxy.cuts() > 200, "only {} cuts: the test shows too little", proxy.cuts());
}

async fn publish_all(server: &TestServer) {
    let line = |n| format!("{}\n", json!({ "user_id": "local", "type": "n", "payload": n }));
    for first in (0..EVENTS).step_by(100) {
        let lines: String = (first..first + 100).map(line).collect();
        let request = reqwest::Client::new()
            .post(server.url("/api/events"))
            .header("content-type", "application/x-ndjson")
            .body(lines);
        let answer = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(answer.matches("\"success\":true").count(), 100, "{answer}");
    }
}
