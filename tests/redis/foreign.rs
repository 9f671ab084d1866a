//! Programs that write the same keys themselves: they append to a user's stream, and then tell of
//! it. Only the stream has the order, and the truth.

use futures_util::future::join_all;
use rejoin_test_support::{CuttingProxy, EventClient, RedisServer, Seen, eventually, soon};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::redis::{
    caller::{Caller, server},
    listener::Listener,
    program::Program,
};

const STREAM: &str = "user:local:stream";

/// Appends what may be an event, and gives its id.
async fn add(redis: &RedisServer, field: &str, text: &str) -> String {
    redis.ask(redis::cmd("XADD").arg(STREAM).arg(&["MAXLEN", "~", "1000", "*", field, text])).await
}

/// Tells of an entry.
async fn tell(redis: &RedisServer, id: &str, mut event: Value) {
    event["id"] = json!(id);
    redis.command(&["PUBLISH", "user:local", &event.to_string()]).await;
}

fn event(event_type: &str, payload: &Value) -> Value {
    json!({ "type": event_type, "payload": payload })
}

async fn write(redis: &RedisServer, event: Value) -> String {
    let id = add(redis, "event", &event.to_string()).await;
    tell(redis, &id, event).await;
    id
}

#[tokio::test]
async fn what_others_write_without_a_scope_has_one_and_their_types_are_their_own() {
    let redis = RedisServer::start().await;
    let (_server, caller) = server(&redis, "").await;
    let live = Listener::placed(caller.follow(None).await).await;
    let mut ids = Vec::new();
    // A publisher of ours may not use these types; an entry that is there is an entry.
    for event in [
        json!({ "type": "error" }),
        json!({ "type": "open", "scope": null }),
        json!({ "type": "t", "scope": {} }),
    ] {
        ids.push(write(&redis, event).await);
    }
    assert_eq!(live.ids(ids.len()).await, ids);
    let replayed = Listener::of(caller.follow(Some("0")).await);
    assert_eq!(replayed.ids(ids.len()).await, ids);
    for (_, envelope) in live.events().iter().chain(&replayed.events()) {
        assert_eq!(envelope["scope"], json!({}), "{envelope}");
    }
}

/// The ids in the stream, in its order.
async fn stream_ids(redis: &RedisServer) -> Vec<String> {
    let entries: redis::streams::StreamRangeReply =
        redis.ask(redis::cmd("XRANGE").arg(&[STREAM, "-", "+"])).await;
    entries.ids.into_iter().map(|entry| entry.id).collect()
}

#[tokio::test]
async fn promise_3_publishes_that_overtake_each_other_leave_the_streams_order() {
    let redis = RedisServer::start().await;
    let ((_one, caller), (_other, other)) = tokio::join!(server(&redis, ""), server(&redis, ""));
    let streams = [
        Listener::placed(caller.follow(None).await).await,
        Listener::placed(other.follow(None).await).await,
    ];
    let mut told = Vec::new();
    for round in 0..20 {
        let [a, b] = [event("t", &json!([round, "a"])), event("t", &json!([round, "b"]))];
        let first = add(&redis, "event", &a.to_string()).await;
        let second = add(&redis, "event", &b.to_string()).await;
        tell(&redis, &second, b).await;
        tell(&redis, &first, a).await;
        told.extend([first, second]);
    }
    for stream in &streams {
        assert_eq!(stream.ids(told.len()).await, told);
    }
    let envelope = &streams[0].events()[0].1;
    let expected = [
        ("type", json!("t")),
        ("payload", json!([0, "a"])),
        ("user_id", json!("local")),
        ("topic", json!("user:local")),
    ];
    for (field, value) in expected {
        assert_eq!(envelope[field], value, "{envelope}");
    }
    assert_eq!(envelope["id"], told[0]);
    assert_eq!(
        Listener::of(caller.follow(Some(&told[0])).await).ids(told.len() - 1).await,
        told[1..]
    );
    // An entry that nobody tells of is told with the next one.
    let silent = add(&redis, "event", r#"{"type":"t"}"#).await;
    let heard = write(&redis, event("t", &json!("heard"))).await;
    assert_eq!(streams[1].ids(told.len() + 2).await[told.len()..], [silent, heard]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_to_3_writers_of_both_kinds_share_a_users_stream() {
    const EACH: usize = 60;
    let redis = RedisServer::start().await;
    let ((_one, caller), (_other, other)) = tokio::join!(server(&redis, ""), server(&redis, ""));
    let streams = [
        Listener::placed(caller.follow(None).await).await,
        Listener::placed(other.follow(None).await).await,
    ];
    let ours = async |caller: &Caller| {
        for number in 0..EACH {
            caller.publish(number).await;
        }
    };
    let theirs = async || {
        for number in 0..EACH {
            write(&redis, event("t", &json!(number))).await;
        }
    };
    tokio::join!(ours(&caller), ours(&other), theirs(), theirs());
    let expected = stream_ids(&redis).await;
    assert_eq!(expected.len(), 4 * EACH);
    for stream in &streams {
        assert_eq!(stream.ids(expected.len()).await, expected);
    }
    assert_eq!(
        Listener::of(other.follow(Some(&expected[99])).await).ids(expected.len() - 100).await,
        expected[100..]
    );
}

#[tokio::test]
async fn what_is_no_event_is_passed_over_counted_and_told_once() {
    let redis = RedisServer::start().await;
    let program = Program::start(&redis.url(), &[]).await;
    let caller = program.caller();
    let stream = Listener::placed(caller.follow(None).await).await;
    let mut told = vec![write(&redis, event("t", &json!(1))).await];
    add(&redis, "other", r#"{"type":"t"}"#).await;
    let malformed = [
        "",
        "no JSON",
        "[]",
        "{}",
        r#"{"payload":1}"#,
        r#"{"type":"stream.refused"}"#,
        r#"{"type":"backlog.truncated"}"#,
    ];
    for text in malformed.into_iter().chain([
        r#"{"type":"t","payload":NaN}"#,
        r#"{"type":"a b"}"#,
        r#"{"type":"t"} "#,
    ]) {
        let id = add(&redis, "event", text).await;
        redis
            .command(&[
                "PUBLISH",
                "user:local",
                &text.replacen('{', &format!("{{\"id\":\"{id}\","), 1),
            ])
            .await;
    }
    // The last of them has a space behind it, which is no harm.
    told.push(stream_ids(&redis).await.pop().unwrap());
    told.push(caller.publish(2).await);
    told.push(write(&redis, event("t", &json!(3))).await);
    assert_eq!(stream.ids(told.len()).await, told);
    assert_eq!(Listener::of(caller.follow(Some(&told[0])).await).ids(3).await, told[1..]);
    assert_eq!(Listener::of(caller.follow(Some("0")).await).ids(4).await, told);
    let counted = caller.metric(r#"rejoin_malformed_entries_total{channel="user"}"#).await.unwrap();
    assert!(counted >= 10.0, "{counted}");
    assert_eq!(program.logged(&["WARN", "user:local", "is no event"]), 1, "{:#?}", program.log());
}

#[tokio::test]
async fn a_notification_whose_event_is_in_another_database_is_counted_and_logged_once() {
    const STRAY_HINTS: &str = "rejoin_stray_hints_total";
    let redis = RedisServer::start().await;
    let program = Program::start(&format!("{}/1", redis.url()), &[]).await;
    let caller = program.caller();
    let stream = Listener::placed(caller.follow(None).await).await;
    for number in 0..3_u32 {
        write(&redis, event("t", &json!(number))).await;
        eventually("it is counted", async || {
            caller.metric(STRAY_HINTS).await == Some(f64::from(number + 1))
        })
        .await;
    }
    assert_eq!(
        program.logged(&["WARN", "user:local", "another database than the one in redis.url"]),
        1,
        "{:#?}",
        program.log()
    );
    let id = caller.publish("ours").await;
    assert_eq!(stream.ids(1).await, [id]);

    // Where it is the right one nothing is counted.
    let program = Program::start(&redis.url(), &[]).await;
    let stream = Listener::placed(program.caller().follow(None).await).await;
    for number in 0..50 {
        write(&redis, event("t", &json!(number))).await;
    }
    stream.ids(50).await;
    assert_eq!(program.caller().metric(STRAY_HINTS).await, None);
}

#[tokio::test]
async fn a_whole_page_of_what_is_no_event_hides_nothing() {
    let redis = RedisServer::start().await;
    let (_server, caller) = server(&redis, "").await;
    let first = caller.publish(1).await;
    for _ in 0..600 {
        add(&redis, "event", "no JSON").await;
    }
    let last = caller.publish(2).await;
    assert_eq!(Listener::of(caller.follow(Some(&first)).await).payloads(1).await, [2]);
    let all = Listener::of(caller.follow(Some("0")).await);
    assert_eq!(all.ids(2).await, [first, last]);
    assert_eq!(all.events().len(), 2);
}

#[tokio::test]
async fn a_filter_knows_other_programs_events_by_their_type() {
    let redis = RedisServer::start().await;
    let (_server, caller) = server(&redis, "").await;
    let live =
        Listener::placed(caller.follow_at("/api/events?categories=ai,import", None).await).await;
    let mut wanted = Vec::new();
    for event_type in
        ["sync.done", "ai.done", "nameless", "source.ready", "security.alert", "ai.failed"]
    {
        let id = write(&redis, event(event_type, &Value::Null)).await;
        if event_type.starts_with("ai.") || event_type.starts_with("source.") {
            wanted.push(id);
        }
    }
    assert_eq!(live.ids(3).await, wanted);
    assert_eq!(live.events()[1].1["category"], "import");
    assert_eq!(
        Listener::of(caller.follow_at("/api/events?categories=ai,import", Some("0")).await)
            .ids(3)
            .await,
        wanted
    );
}

#[tokio::test]
async fn promise_6_a_cursor_before_other_programs_trimmed_entries_is_told() {
    let redis = RedisServer::start().await;
    let (_server, caller) = server(&redis, "").await;
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(write(&redis, event("t", &json!(number))).await);
    }
    let untrimmed = Listener::of(caller.follow(Some("0")).await);
    assert_eq!(untrimmed.ids(10).await, ids);
    assert_eq!(untrimmed.events().len(), 10, "nothing is told where nothing is gone");
    redis.command(&["XTRIM", STREAM, "MAXLEN", "=", "4"]).await;
    // Of the last entry that was trimmed nobody knows that it was the last: whoever stands there is
    // told needlessly.
    for (cursor, truncated, rest) in [
        ("0", true, &ids[6..]),
        (&ids[3], true, &ids[6..]),
        (&ids[5], true, &ids[6..]),
        (&ids[6], false, &ids[7..]),
        (&ids[8], false, &ids[9..]),
    ] {
        let listener = Listener::of(caller.follow(Some(cursor)).await);
        assert_eq!(listener.ids(rest.len()).await, *rest);
        let notice = listener.events()[0].1["type"] == "backlog.truncated";
        assert_eq!(
            (notice, listener.events().len()),
            (truncated, rest.len() + usize::from(truncated)),
            "{cursor}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_to_3_four_python_programs_write_while_clients_are_cut() {
    const WRITERS: usize = 4;
    const EACH: usize = 250;
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--save", ""]).await;
    let unlimited = "events.replay_budget_requests_per_window = 0\nsse.max_concurrent_per_user = 0";
    let ((one, _), (other, _)) = tokio::join!(server(&redis, unlimited), server(&redis, unlimited));
    let mut clients = Vec::new();
    let mut proxies = Vec::new();
    for (seed, server) in [(1, &one), (2, &other), (3, &one), (4, &other)] {
        let proxy = CuttingProxy::start(server.address(), seed, 30_000).await;
        let mut client =
            EventClient::new(format!("http://{}/api/events", proxy.address())).with_cursor("0");
        proxies.push(proxy);
        clients.push(tokio::spawn(async move {
            client.follow_until(|seen| seen.len() >= WRITERS * EACH).await;
            client
        }));
    }
    let writers = (0..WRITERS).map(|writer| {
        let arguments =
            [redis.port().to_string(), "local".to_owned(), writer.to_string(), EACH.to_string()];
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/foreign_writer.py");
        Command::new("/usr/bin/python3").arg(script).args(arguments).kill_on_drop(true).status()
    });
    for status in soon("the writers", join_all(writers)).await {
        assert!(
            status.unwrap().success(),
            "python3 with the package redis, of Debian's package python3-redis"
        );
    }
    let expected = stream_ids(&redis).await;
    assert_eq!(expected.len(), WRITERS * EACH);
    for client in clients {
        let client = soon("a client", client).await.unwrap();
        let ids: Vec<_> = client
            .seen
            .iter()
            .filter_map(|seen| if let Seen::Event(id, _) = seen { Some(id) } else { None })
            .collect();
        assert!(ids.iter().copied().eq(&expected), "a hole, a repeat or a wrong order");
        assert_eq!(client.seen.len(), ids.len(), "nobody was told of a loss");
        assert!(client.connections > 3);
    }
    eventually("cuts", async || proxies.iter().all(|proxy| proxy.cuts() > 2)).await;
}
