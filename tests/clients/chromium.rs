//! A page in Chromium follows a server of another origin with the browser's own `EventSource`.

use std::net::SocketAddr;

use rejoin_test_support::{Connection, CuttingProxy, TestServer, eventually, soon};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::clients::{
    browser::Page,
    site::Site,
    token::{self, Publisher},
    witness::{Saw, ids, openings},
};

/// Any page may follow, and is told to come back at once.
const SETTINGS: &str = "server.cors_origins = [\"*\"]\nsse.retry_ms = 50\n";

const GAVE_UP: Saw = Saw::Error { closed: true };

async fn start(more_settings: &str) -> TestServer {
    TestServer::start(&format!("{SETTINGS}{more_settings}")).await
}

/// A page that follows a stream in the envelope format.
async fn follow(stream: &str) -> Page {
    let site = Site::start().await;
    let url = site.page(stream, &["message"]);
    Page::open(site, &url)
}

/// Publishes so many events, and gives their ids.
async fn publish(server: &TestServer, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(
            server.publish("step", json!({ "number": number, "text": "word ".repeat(40) })).await,
        );
    }
    ids
}

#[tokio::test]
async fn a_page_sees_each_event_as_it_comes() {
    let server = start("").await;
    let page = follow(&server.url("/api/events")).await;
    page.opened(1).await;
    for number in 0..3 {
        let payload = json!({ "number": number, "text": "two\nlines, \u{2603}" });
        let event_id = server.publish("step", payload.clone()).await;
        let seen = page.until("an event at once", |seen| ids(seen).len() > number).await;
        let Some(Saw::Event { r#type, id, data }) = seen.last() else { panic!("{seen:?}") };
        assert_eq!((r#type.as_str(), id), ("message", &event_id));
        assert_eq!(data["id"], event_id);
        assert_eq!(
            (&data["type"], &data["user_id"], &data["topic"]),
            (&json!("step"), &json!("local"), &json!("user:local"))
        );
        assert_eq!(data["payload"], payload);
        assert_eq!(openings(&seen), 1);
    }
}

#[tokio::test]
async fn named_events_reach_the_listeners_of_their_type() {
    let server = start("").await;
    let site = Site::start().await;
    let url = site.page(&server.url("/api/v1/events"), &["message", "source.ingest.queued"]);
    let page = Page::open(site, &url);
    page.opened(1).await;
    server.publish("source.ingest.done", json!("nobody listens")).await;
    let id = server.publish("source.ingest.queued", json!({ "source": 7 })).await;
    let queued =
        Saw::Event { r#type: "source.ingest.queued".into(), id, data: json!({ "source": 7 }) };
    assert_eq!(page.until("the event", |seen| seen.len() > 1).await, [Saw::Open, queued]);
}

#[tokio::test]
async fn promise_8_only_pages_of_the_named_origins_may_use_the_users_cookie() {
    let cookie = format!("session={}; HttpOnly; SameSite=Strict", token::of("u1"));
    let (ours, theirs) =
        (Site::start_with_cookie(&cookie).await, Site::start_with_cookie(&cookie).await);
    let server = TestServer::start(&format!(
        "server.cors_origins = [\"{}\"]\n{}",
        ours.origin(),
        token::settings()
    ))
    .await;
    let stream = server.url("/api/events");
    let with_cookie = |site: &Site| format!("{}&credentials", site.page(&stream, &["message"]));
    let (our_url, their_url) = (with_cookie(&ours), with_cookie(&theirs));
    let (our_page, their_page) = (Page::open(ours, &our_url), Page::open(theirs, &their_url));
    our_page.opened(1).await;
    let id = Publisher::new(&server).publish("u1", 0).await;
    assert_eq!(ids(&our_page.until("the event", |seen| !ids(seen).is_empty()).await), [id]);
    assert_eq!(their_page.until("the end", |seen| !seen.is_empty()).await, [GAVE_UP]);
}

#[tokio::test]
async fn promises_1_and_2_nothing_is_lost_or_repeated_over_cut_connections() {
    let server = start("events.replay_budget_requests_per_window = 0").await;
    let proxy = CuttingProxy::start_sparing_heads(server.address(), 7, 10_000).await;
    let page = follow(&format!("http://{}/api/events?last_event_id=0", proxy.address())).await;
    let published = publish(&server, 300).await;
    let seen = page.until("all events", |seen| ids(seen).len() >= published.len()).await;
    assert_eq!(ids(&seen), published);
    assert!(proxy.cuts() >= 10, "{} cuts", proxy.cuts());
}

#[tokio::test]
async fn promise_1_a_page_that_is_cut_off_before_its_first_event_misses_nothing() {
    let server = start("").await;
    let before = publish(&server, 1).await;
    let proxy = CuttingProxy::start(server.address(), 1, 1).await;
    proxy.calm_down();
    let page = follow(&format!("http://{}/api/events", proxy.address())).await;
    page.opened(1).await;
    // An event for everybody has no id of its own, and so it shows the cursor: that of the id-only
    // frame.
    server.post(&json!({ "broadcast": true, "type": "hello" })).await;
    let Saw::Event { id: cursor, .. } = page.envelope("hello").await else { unreachable!() };
    assert_eq!([cursor], before[..]);
    proxy.unplug();
    page.until("the cut", |seen| seen.contains(&Saw::Error { closed: false })).await;
    let missed = publish(&server, 3).await;
    proxy.plug_in();
    assert_eq!(ids(&page.until("what it missed", |seen| ids(seen).len() >= 3).await), missed);
}

#[tokio::test]
async fn promise_1_a_long_backlog_arrives_in_parts() {
    let server = start("events.replay_max_per_request = 100").await;
    let mut published = publish(&server, 350).await;
    let page = follow(&server.url("/api/events?last_event_id=0")).await;
    page.until("the backlog", |seen| ids(seen).len() >= 350).await;
    published.extend(publish(&server, 1).await);
    let seen = page.until("a new event", |seen| ids(seen).len() > 350).await;
    assert_eq!(ids(&seen), published);
    assert_eq!(openings(&seen), 4);
}

#[tokio::test]
async fn promise_6_a_page_is_told_that_a_restarted_server_has_forgotten() {
    let server = start("").await;
    let address = server.address();
    let page = follow(&server.url("/api/events")).await;
    page.opened(1).await;
    let mut published = publish(&server, 2).await;
    page.until("the events", |seen| ids(seen) == published).await;
    server.kill().await;
    let server = TestServer::start_at(address, SETTINGS).await;
    let Saw::Event { id: cursor, data, .. } = page.envelope("backlog.truncated").await else {
        unreachable!()
    };
    assert_eq!(
        (Some(&cursor), &data["payload"]["oldest_retained_id"]),
        (published.last(), &json!(null))
    );
    published.extend(publish(&server, 2).await);
    let seen = page.until("new events", |seen| ids(seen).len() >= 4).await;
    assert_eq!(ids(&seen), published);
    assert!(!seen.contains(&GAVE_UP));
}

/// A request that has begun and never ends: it makes a drain last for all its time.
async fn endless_request(server: SocketAddr) -> TcpStream {
    const HEAD: &[u8] =
        b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    let mut publisher = TcpStream::connect(server).await.unwrap();
    publisher.write_all(HEAD).await.unwrap();
    soon("leave to send the body", publisher.readable()).await.unwrap();
    publisher
}

/// A page that is told early comes back while the old process still drains: it must not be turned
/// away for good.
#[tokio::test]
async fn promise_10_a_drained_page_comes_back_to_the_next_process() {
    let server = start("server.drain_seconds = 1").await;
    let address = server.address();
    let page = follow(&server.url("/api/events")).await;
    page.opened(1).await;
    let mut published = publish(&server, 1).await;
    page.until("the event", |seen| ids(seen) == published).await;
    let endless = endless_request(address).await;
    assert!(!server.drain().await, "the request makes the drain last");
    drop(endless);
    page.until("the drain", |seen| seen.contains(&Saw::Error { closed: false })).await;
    let server = TestServer::start_at(address, SETTINGS).await;
    page.envelope("backlog.truncated").await;
    published.extend(publish(&server, 1).await);
    let seen = page.until("a new event", |seen| ids(seen).len() >= 2).await;
    assert_eq!(ids(&seen), published);
    assert!(!seen.contains(&GAVE_UP));
}

#[tokio::test]
async fn promise_11_a_page_over_the_cap_is_told_and_comes_back_by_itself() {
    let server = start("sse.max_concurrent_per_user = 1").await;
    let before = publish(&server, 1).await;
    let first = Connection::open(&server.url("/api/events"), None).await;
    let page = follow(&server.url("/api/events?last_event_id=0&errors=stream")).await;
    let Saw::Event { id: cursor, data, .. } = page.envelope("stream.refused").await else {
        unreachable!()
    };
    assert_eq!(
        (cursor.as_str(), &data["payload"]["status"], &data["payload"]["code"]),
        ("", &json!(429), &json!("too_many_connections"))
    );
    assert!(data["payload"]["retry_after_seconds"].as_u64().is_some_and(|seconds| seconds > 0));
    drop(first);
    let seen = page.until("the event", |seen| !ids(seen).is_empty()).await;
    assert_eq!(ids(&seen), before);
    assert!(!seen.contains(&GAVE_UP));
}

/// Why `errors=stream` exists.
#[tokio::test]
async fn a_status_makes_a_page_give_up_for_good() {
    let server = start("sse.max_concurrent_per_user = 1").await;
    let first = Connection::open(&server.url("/api/events"), None).await;
    let page = follow(&server.url("/api/events")).await;
    page.until("the end", |seen| !seen.is_empty()).await;
    drop(first);
    eventually("the slot is free", async || server.connections() == 0).await;
    assert_eq!(page.until("nothing", |_| true).await, [GAVE_UP]);
}
