//! Another server takes over, while connections to the old one stay open; a standby is reached by
//! mistake.

use std::{net::SocketAddr, time::Duration};

use rejoin_test_support::{
    Connection, CuttingProxy, EventClient, PostgresServer, Seen, TestServer, eventually, soon,
};
use serde_json::{Value, json};

use crate::postgres::log::Log;

/// A primary, a standby that follows it, and the address that processes know.
struct Pair {
    old: PostgresServer,
    new: PostgresServer,
    endpoint: CuttingProxy,
}

impl Pair {
    async fn start() -> Self {
        let old = PostgresServer::start().await;
        let new = old.start_standby().await;
        let endpoint = CuttingProxy::start_uncut(old.address()).await;
        Self { old, new, endpoint }
    }

    /// A process that knows the address.
    async fn process(&self) -> TestServer {
        process_at(self.endpoint.address()).await
    }

    /// Waits until the standby has what the primary has.
    async fn standby_has_followed(&self) {
        let written = self.old.run_sql("SELECT pg_current_wal_lsn()");
        let asked = format!("SELECT pg_last_wal_replay_lsn() >= '{}'", written.trim());
        eventually("the standby to follow", async || self.new.run_sql(&asked).trim() == "t").await;
    }
}

async fn process_at(address: SocketAddr) -> TestServer {
    let url = format!("postgres://postgres@{address}/postgres?sslmode=disable");
    TestServer::start(&format!(
        "[events]\nbackend = \"postgres\"\n[postgres]\nurl = \"{url}\"\nmax_connections = 10\ntimeout_seconds = 3\n"
    ))
    .await
}

/// Publishes until it is taken; gives the id.
async fn published(process: &TestServer) -> String {
    let event = json!({ "user_id": "local", "type": "test.happened", "payload": {} });
    let publishing = async {
        loop {
            match process.post(&event).await {
                (201, answer) => return answer["id"].as_str().unwrap().to_owned(),
                (status, answer) => assert_eq!(status, 503, "{answer}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    soon("a publish to be taken again", publishing).await
}

async fn is_ready(process: &TestServer) -> bool {
    reqwest::get(process.url("/readyz")).await.unwrap().status() == 200
}

/// A stream that is followed on and on.
fn follow(process: &TestServer, cursor: &str) -> tokio::task::JoinHandle<Vec<Seen>> {
    let mut client = EventClient::new(process.url("/api/events")).with_cursor(cursor);
    tokio::spawn(async move {
        client.follow_until(|seen| seen.iter().any(is_last)).await;
        client.seen
    })
}

/// The event behind which nothing is waited for.
fn is_last(seen: &Seen) -> bool {
    matches!(seen, Seen::Event(_, event) if event["type"] == "test.last")
}

fn ids(seen: &[Seen]) -> Vec<&str> {
    fn id(seen: &Seen) -> &str {
        match seen {
            Seen::Event(id, _) => id,
            Seen::Control(control) => panic!("a needless notice: {control}"),
        }
    }
    seen.iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_after_a_fail_over_nothing_is_read_from_the_old_primary_that_lives_on() {
    let pair = Pair::start().await;
    let (writer, reader) = (pair.process().await, pair.process().await);
    let first = published(&writer).await;
    let open = [follow(&writer, "0"), follow(&reader, "0")];
    let mut told = vec![first.clone(), published(&writer).await];
    pair.standby_has_followed().await;

    pair.new.promote();
    pair.endpoint.retarget(pair.new.address());
    pair.old.set("default_transaction_read_only", "on").await;
    for _ in 0..3 {
        told.push(published(&writer).await);
        // The other process has not written: it learns by what it reads.
        let newest = told.last().unwrap();
        assert_eq!(first_of(&reader, newest).await, None, "the newest cursor is behind nothing");
        let mut new_reader = EventClient::new(reader.url("/api/events")).with_cursor("0");
        soon("a new reader", new_reader.follow_until(|seen| seen.len() >= told.len())).await;
        assert_eq!(ids(&new_reader.seen), told, "a new reader sees all that was acknowledged");
    }
    assert!(is_ready(&writer).await && is_ready(&reader).await);
    told.push(writer.publish("test.last", json!({})).await);
    for stream in open {
        assert_eq!(ids(&soon("the open streams", stream).await.unwrap()), told);
    }
}

/// What a new stream says first, up to its greeting: a notice, or nothing.
async fn first_of(process: &TestServer, cursor: &str) -> Option<Value> {
    let opening = async {
        loop {
            let response = Connection::request(&process.url("/api/events"), Some(cursor)).await;
            if response.status() == 200 {
                return Connection::of(response);
            }
            assert_eq!(response.status(), 503);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut stream = soon("a new stream", opening).await;
    let listening = tokio::time::timeout(Duration::from_millis(300), stream.event()).await;
    listening.ok().map(|(_, event)| event)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_a_standby_that_lags_is_never_read() {
    let pair = Pair::start().await;
    // This one knows the primary by its own address.
    let elsewhere = process_at(pair.old.address()).await;
    let process = pair.process().await;
    let mut told = vec![published(&process).await];
    let open = follow(&process, "0");
    pair.standby_has_followed().await;
    pair.new.run_sql("SELECT pg_wal_replay_pause()");
    pair.endpoint.unplug();
    eventually("the connections to be cut", async || !is_ready(&process).await).await;
    pair.endpoint.retarget(pair.new.address());
    pair.endpoint.plug_in();

    told.push(published(&elsewhere).await);
    told.push(published(&elsewhere).await);
    for cursor in ["0", &told[2]] {
        let refused = Connection::request(&process.url("/api/events"), Some(cursor)).await;
        assert_eq!(refused.status(), 503, "nothing is read from a standby");
    }
    let event = json!({ "user_id": "local", "type": "test.happened", "payload": {} });
    assert_eq!(process.post(&event).await.0, 503);
    assert!(!is_ready(&process).await);
    pair.endpoint.retarget(pair.old.address());

    told.push(published(&process).await);
    assert_eq!(first_of(&process, &told[3]).await, None, "the newest cursor is behind nothing");
    let mut new_reader = EventClient::new(process.url("/api/events")).with_cursor(told[0].clone());
    soon("a new reader", new_reader.follow_until(|seen| seen.len() >= 3)).await;
    assert_eq!(ids(&new_reader.seen), told[1..]);
    eventually("the process is ready", async || is_ready(&process).await).await;
    told.push(process.publish("test.last", json!({})).await);
    assert_eq!(ids(&soon("the open stream", open).await.unwrap()), told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_takes_no_writes_is_away_until_it_does() {
    let server = PostgresServer::start().await;
    let process = process_at(server.address()).await;
    let mut told = vec![published(&process).await];
    let open = follow(&process, "0");
    server.set("default_transaction_read_only", "on").await;
    assert!(!is_ready(&process).await, "a server that answers and takes no writes is not ready");
    assert_eq!(Connection::request(&process.url("/api/events"), Some("0")).await.status(), 503);
    server.set("default_transaction_read_only", "off").await;
    told.push(published(&process).await);
    assert!(is_ready(&process).await);
    told.push(process.publish("test.last", json!({})).await);
    assert_eq!(ids(&soon("the open stream", open).await.unwrap()), told);
}

// On one thread, so that the log of the test's thread has all that is said.
#[tokio::test]
async fn each_change_of_state_is_logged_once_and_says_what_the_server_is() {
    let log = Log::begin();
    let server = PostgresServer::start().await;
    let process = process_at(server.address()).await;
    let event = json!({ "user_id": "local", "type": "test.happened", "payload": {} });
    for round in 1..=2 {
        published(&process).await;
        server.set("default_transaction_read_only", "on").await;
        for _ in 0..5 {
            assert_eq!(process.post(&event).await.0, 503);
            assert_eq!(
                Connection::request(&process.url("/api/events"), Some("0")).await.status(),
                503
            );
            assert!(!is_ready(&process).await);
        }
        server.set("default_transaction_read_only", "off").await;
        published(&process).await;
        eventually("the process is ready", async || is_ready(&process).await).await;
        assert_eq!(log.count(&["backend unreachable", "journal"]), round, "{}", log.text());
        assert_eq!(log.count(&["backend reachable again", "journal"]), round, "{}", log.text());
    }
    assert!(log.count(&["backend unreachable", "is set to take no writes"]) > 0, "{}", log.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_at_a_standby_waits_for_the_primary() {
    let pair = Pair::start().await;
    pair.endpoint.retarget(pair.new.address());
    let process = pair.process().await;
    assert!(!is_ready(&process).await);
    pair.endpoint.retarget(pair.old.address());
    published(&process).await;
    eventually("the process is ready", async || is_ready(&process).await).await;
}
