//! Entries that lie far apart, chains that somebody has broken, and what is left on the server.

use rejoin::domain::{cursor::Continuity, page::PageLimit, position::Position};
use rejoin_test_support::NatsServer;
use serde_json::json;

use crate::nats::given::{
    AMPLE, append, appended, context, keeping, open, options, payloads, topic,
};

/// Every page of a long topic is whole, wherever it begins and however much of others lies between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_part_of_a_topic_is_found_among_others() {
    const ENTRIES: usize = 2_500;
    let server = NatsServer::start().await;
    let ports =
        rejoin::adapters::nats::open(options(server.url()), &keeping(100_000)).await.unwrap();
    let mut ids = Vec::new();
    for number in (0..ENTRIES).step_by(5) {
        // Five of this topic's, with others' between: 100 behind every hundredth.
        let others = if number % 100 == 0 { 100 } else { 3 };
        let batch = (number..number + 5).map(|number| append("u1", number));
        let batch: Vec<_> =
            batch.chain((0..others).map(|other| append(&format!("other{other}"), 0))).collect();
        let appended = ports.journal.append(batch).await.unwrap();
        ids.extend(appended.into_iter().take(5).map(|appended| appended.unwrap().id));
    }
    for cold in [false, true] {
        let ports = if cold {
            rejoin::adapters::nats::open(options(server.url()), &keeping(100_000)).await.unwrap()
        } else {
            ports.clone()
        };
        for first in [0, 1, 31, 32, 33, 500, 1_023, 1_024, 1_025, 1_999, 2_047, 2_048, 2_400, 2_498]
        {
            for entries_max in [1, 33, 200] {
                let limit = PageLimit { entries_max, ..AMPLE };
                let page =
                    ports.journal.read(&topic("u1"), ids[first].into(), limit).await.unwrap();
                let expected = &ids[first + 1..ENTRIES.min(first + 1 + entries_max)];
                let read: Vec<_> = page.entries.iter().map(|entry| entry.id).collect();
                assert_eq!(read, expected, "{entries_max} after {first}");
                assert_eq!(page.more, first + 1 + entries_max < ENTRIES);
            }
        }
    }
    assert_eq!(ports.journal.length(&rejoin::testing::user("u1")).await.unwrap(), ENTRIES as u64);
}

/// Entries that another program publishes are delivered among ours.
#[tokio::test]
async fn promise_1_what_another_program_publishes_is_delivered_in_its_place() {
    let server = NatsServer::start().await;
    let ports = open(server.url()).await;
    let foreign = async |number: usize| {
        let text = format!("{{\"type\":\"t\",\"payload\":{number}}}");
        server.client().await.unwrap().request("rejoin.user.u1", text.into()).await.unwrap();
    };
    let first = appended(&ports, "u1", 0..40).await[0];
    foreign(40).await;
    appended(&ports, "u1", 41..80).await;
    foreign(80).await;
    foreign(81).await;
    let numbers = |numbers: std::ops::Range<usize>| {
        numbers.map(|number| number.to_string()).collect::<Vec<_>>()
    };
    for ports in [&ports, &open(server.url()).await] {
        assert_eq!(payloads(ports, "u1", first.into()).await, numbers(1..82));
        assert_eq!(payloads(ports, "u1", Position::Start).await, numbers(0..82));
    }
    appended(&ports, "u1", 82..84).await;
    assert_eq!(payloads(&ports, "u1", first.into()).await, numbers(1..84));
    // What is no event is passed over.
    server.client().await.unwrap().request("rejoin.user.u1", "rubbish".into()).await.unwrap();
    appended(&ports, "u1", 84..85).await;
    assert_eq!(payloads(&ports, "u1", first.into()).await, numbers(1..85));
}

/// A topic that somebody has emptied by hand, as another process meets it.
#[tokio::test]
async fn promise_1_a_topic_that_was_emptied_by_hand_is_truncated() {
    let server = NatsServer::start().await;
    let (one, two) = (open(server.url()).await, open(server.url()).await);
    appended(&one, "u2", 0..3).await;
    let ids = appended(&one, "u1", 0..3).await;
    server.ask("STREAM.PURGE.REJOIN_EVENTS", json!({ "filter": "rejoin.user.u1" })).await;
    let page = two.journal.read(&topic("u1"), ids[0].into(), AMPLE).await.unwrap();
    assert_eq!(page.bounds.continuity(ids[0].into()), Continuity::Truncated);
    appended(&two, "u1", 3..4).await;
    let page = two.journal.read(&topic("u1"), ids[0].into(), AMPLE).await.unwrap();
    assert_eq!(page.bounds.continuity(ids[0].into()), Continuity::Truncated);
}

#[tokio::test]
async fn no_consumer_is_left_on_the_server_and_none_was_made() {
    let server = NatsServer::start().await;
    let ports = rejoin::adapters::nats::open(options(server.url()), &context()).await.unwrap();
    let id = appended(&ports, "u1", 0..300).await[0];
    for number in 0..20 {
        ports.feed.watch(&topic(&format!("u{number}"))).await.unwrap();
    }
    assert_eq!(payloads(&ports, "u1", id.into()).await.len(), 299);
    for stream in server.streams().await {
        let info = server.ask(&format!("STREAM.INFO.{stream}"), json!({})).await;
        assert_eq!(info["state"]["consumer_count"], 0, "{stream}");
        let made = server.ask(&format!("CONSUMER.NAMES.{stream}"), json!({})).await;
        assert_eq!(made["total"], 0);
    }
}
