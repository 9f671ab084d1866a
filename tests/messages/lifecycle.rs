//! Cuts, drains and producers that vanish.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{Connection, CuttingProxy, EventClient, Seen, TestServer, soon};
use serde_json::json;

use crate::messages::server::{Message, path};

fn text_of(seen: &[Seen]) -> String {
    seen.iter()
        .filter_map(
            |seen| if let Seen::Event(_, data) = seen { data["text"].as_str() } else { None },
        )
        .collect()
}

fn has_ended(seen: &[Seen]) -> bool {
    matches!(seen.last(), Some(Seen::Event(_, data)) if data["type"] == "end")
}

#[tokio::test]
async fn promises_1_2_and_3_readers_that_are_cut_anywhere_have_the_producers_text() {
    let server = TestServer::start("sse.max_concurrent_per_user = 0").await;
    let message = Message::open(&server).await;
    let proxy = CuttingProxy::start(server.address(), 7, 1_500).await;
    let url = format!("http://{}{}", proxy.address(), path(message.id, "/events"));
    let words: Vec<String> = (0..200).map(|n| format!("word{n} ")).collect();
    let produced = AtomicBool::new(false);
    let produce = async {
        for word in &words {
            message.chunk(word).await;
        }
        message.end().await;
        produced.store(true, Ordering::Relaxed);
    };
    let read = async || {
        let mut client = EventClient::new(url.clone());
        soon("the end of the answer", client.follow_until(has_ended)).await;
        client
    };
    let ((), one, another) = tokio::join!(produce, read(), read());
    assert!(produced.load(Ordering::Relaxed) && proxy.cuts() > 20, "{} cuts", proxy.cuts());
    for client in [one, another] {
        assert_eq!(text_of(&client.seen), words.concat());
        let ids: Vec<u64> = client
            .seen
            .iter()
            .map(|seen| if let Seen::Event(id, _) = seen { id.parse().unwrap() } else { u64::MAX })
            .collect();
        assert_eq!(ids, (0..=200).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn promise_10_a_draining_server_asks_a_messages_readers_back() {
    let server = TestServer::start("server.drain_seconds = 1").await;
    let message = Message::open(&server).await;
    message.chunk("a").await;
    let mut reader = message.read(None).await;
    reader.event().await;
    let (in_time, said) = tokio::join!(server.drain(), reader.rest());
    assert!(in_time);
    assert!(
        matches!(&said[..], [.., Decoded::Retry(_), Decoded::Comment(reason)] if reason == "draining"),
        "{said:?}"
    );
}

#[tokio::test]
async fn promise_2_a_reader_that_was_told_of_a_stale_producer_misses_and_repeats_nothing() {
    let server = TestServer::start("messages.producer_idle_seconds = 1").await;
    let message = Message::open(&server).await;
    message.chunk("one ").await;
    let mut client = EventClient::new(message.url("/events"));
    soon("the notice", client.follow_until(|seen| matches!(seen.last(), Some(Seen::Control(_)))))
        .await;
    let (status, taken) = message.put(json!({ "user_id": "local", "takeover": true })).await;
    assert_eq!((status, &taken["epoch"]), (200, &json!(2)));
    message.chunk("two ").await;
    message.end().await;
    client.seen.retain(|seen| matches!(seen, Seen::Event(..)));
    soon("the end", client.follow_until(has_ended)).await;
    assert_eq!(text_of(&client.seen), "one two ");
}

#[tokio::test]
async fn promise_7_a_message_that_nobody_reads_costs_no_connection_and_many_messages_stay_bounded()
{
    let server = TestServer::start("memory.max_bytes = 1048576").await;
    let first = Message::open(&server).await;
    first.chunk(&"x".repeat(100_000)).await;
    let mut reader = first.read(None).await;
    reader.event().await;
    for _ in 0..20 {
        let message = Message::open(&server).await;
        message.chunk(&"x".repeat(100_000)).await;
        message.end().await;
    }
    // The oldest had to go, whole, and its reader was told.
    assert_eq!(reader.event().await.1["type"], "backlog.truncated");
    assert_eq!(first.view().await.0, 404);
    let large = Message::open(&server).await;
    let mut refused = None;
    for _ in 0..20 {
        let (status, answer) =
            large.append(json!({ "type": "chunk", "payload": "x".repeat(100_000) })).await;
        if status != 201 {
            refused = Some((status, answer["code"].clone()));
            break;
        }
    }
    assert_eq!(refused, Some((413, json!("message_too_large"))));
}

#[tokio::test]
async fn a_reader_of_http_2_gets_the_same() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    message.chunk("a").await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let mut reader = Connection::of(client.get(message.url("/events")).send().await.unwrap());
    assert_eq!(reader.event().await.1["text"], "a");
    message.end().await;
    assert_eq!(reader.event().await.1["type"], "end");
    assert_eq!(soon("the end", reader.rest()).await, []);
    let over = client
        .get(message.url("/events"))
        .header("last-event-id", "1")
        .timeout(Duration::from_secs(10));
    assert_eq!(over.send().await.unwrap().status(), 204);
}
