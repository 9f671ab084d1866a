//! Somebody removes everything, `FLUSHALL`, or one stream, `DEL`.

use rejoin_test_support::RedisServer;
use serde_json::{Value, json};

use crate::redis::{caller::server, listener::Listener};

async fn first_event(listener: &Listener) -> Value {
    rejoin_test_support::eventually("an event", async || !listener.events().is_empty()).await;
    listener.events()[0].1.clone()
}

#[tokio::test]
async fn promise_1_whoever_was_away_during_a_wipe_is_told() {
    let redis = RedisServer::start().await;
    let ((_a, writer), (_b, reader)) =
        tokio::join!(server(&redis, ""), server(&redis, "sse.max_concurrent_per_user = 0"));
    // The head of a topic without a stream, of one with entries, and the entries' ids.
    let mut cursors = vec![Listener::placed(reader.follow(None).await).await.position().unwrap()];
    for number in 0..3 {
        cursors.push(writer.publish(number).await);
    }
    cursors.push(Listener::placed(reader.follow(None).await).await.position().unwrap());
    redis.wipe().await;
    for caller in [&reader, &writer] {
        for cursor in &cursors {
            let told = first_event(&Listener::of(caller.follow(Some(cursor)).await)).await;
            assert_eq!(told["type"], "backlog.truncated", "{cursor}");
        }
    }
    let (first, second) = (writer.publish("new").await, writer.publish("newer").await);
    for cursor in &cursors {
        let listener = Listener::of(reader.follow(Some(cursor)).await);
        assert_eq!(listener.ids(2).await, [first.clone(), second.clone()]);
        assert_eq!(first_event(&listener).await["type"], "backlog.truncated", "{cursor}");
    }
    assert!(cursors.iter().all(|cursor| *cursor < first), "ids go on increasing");
    let rejoined = Listener::of(reader.follow(Some(&first)).await);
    assert_eq!(rejoined.ids(1).await, [second]);
    assert_eq!(rejoined.events().len(), 1, "who has come since the wipe is told nothing");
}

#[tokio::test]
async fn promise_1_whoever_was_away_while_a_stream_vanished_is_told() {
    let redis = RedisServer::start().await;
    let ((_a, writer), (_b, reader)) =
        tokio::join!(server(&redis, ""), server(&redis, "sse.max_concurrent_per_user = 0"));
    // Of one that never had an entry, and of the entries, of which the first is read too.
    let mut cursors = vec![Listener::placed(reader.follow(None).await).await.position().unwrap()];
    for number in 0..3 {
        cursors.push(writer.publish(number).await);
    }
    redis.command(&["DEL", "user:local:stream"]).await;
    let all = async |known: &[String]| {
        for caller in [&reader, &writer] {
            for cursor in &cursors {
                let listener = Listener::of(caller.follow(Some(cursor)).await);
                assert_eq!(first_event(&listener).await["type"], "backlog.truncated", "{cursor}");
                assert_eq!(listener.ids(known.len()).await, known);
            }
        }
    };
    all(&[]).await;
    let fresh = Listener::placed(reader.follow(None).await).await.position().unwrap();
    let (first, second) = (writer.publish("new").await, writer.publish("newer").await);
    all(&[first.clone(), second.clone()]).await;
    for (cursor, rest) in [(&fresh, vec![&first, &second]), (&first, vec![&second])] {
        let rejoined = Listener::of(reader.follow(Some(cursor)).await);
        assert_eq!(rejoined.ids(rest.len()).await.iter().collect::<Vec<_>>(), rest);
        assert_eq!(rejoined.events().len(), rest.len(), "who has come since is told nothing");
    }
}

#[tokio::test]
async fn a_stream_goes_on_through_a_wipe() {
    let redis = RedisServer::start().await;
    let ((_a, writer), (_b, reader)) = tokio::join!(server(&redis, ""), server(&redis, ""));
    let streams = [
        Listener::placed(writer.follow(None).await).await,
        Listener::placed(reader.follow(None).await).await,
    ];
    let mut told: Vec<String> = Vec::new();
    for round in 0..3 {
        for number in 0..3 {
            told.push(writer.publish(json!([round, number])).await);
        }
        for stream in &streams {
            assert_eq!(stream.ids(told.len()).await, told);
        }
        redis.wipe().await;
    }
    for stream in &streams {
        let notices = stream.events().into_iter().filter(|(id, _)| id.is_none());
        assert!(
            notices.into_iter().all(|(_, notice)| notice["type"] == "backlog.truncated"),
            "{:?}",
            stream.events()
        );
    }
    let newest = writer.publish("newest").await;
    for stream in &streams {
        assert_eq!(stream.ids(told.len() + 1).await.last(), Some(&newest));
    }
    for caller in [&writer, &reader] {
        let rejoined = Listener::of(caller.follow(told.last().map(String::as_str)).await);
        assert_eq!(rejoined.payloads(1).await, ["newest"]);
        assert_eq!(first_event(&rejoined).await["type"], "backlog.truncated");
    }
}
