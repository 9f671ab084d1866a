//! A topic whose rows are damaged, or refused by somebody's constraint, fails alone.

use rejoin::{
    adapters::postgres,
    domain::{
        message::MessageAppend,
        page::PageLimit,
        position::Position,
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        feed::Signal,
    },
    testing::backend_context,
};
use rejoin_test_support::{PostgresServer, TestServer, soon};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::postgres::given::{append, appended, event, options, topic, until_signal};

/// Somebody's constraint that lets one user have nothing more.
const REFUSE: &str =
    "ALTER TABLE rejoin.user_events ADD CONSTRAINT somebodys CHECK (user_id <> 'bad') NOT VALID";
const LIMIT: PageLimit = PageLimit { entries_max: 10, bytes_max: 1 << 20 };

fn assert_damaged<T>(answer: Result<T, BackendError>, of: &Topic) {
    let Err(error) = answer else { panic!("it is damaged, and answered") };
    assert_eq!(
        (error.kind, error.topic.as_deref()),
        (BackendErrorKind::Damaged, Some(of)),
        "{error}: {:?}",
        error.source
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_to_a_damaged_topic_fails_alone_in_its_batch() {
    let server = PostgresServer::start().await;
    let process = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    // The last counter that there is.
    let overflow = "INSERT INTO rejoin.user_topics VALUES ('bad', 9223372036854775807, 9223372036854775807, 1, 1, 1, 1, true)
        ON CONFLICT (user_id) DO UPDATE SET last_ms = excluded.last_ms, last_n = excluded.last_n, written = true";
    for (damage, key) in [(REFUSE, "k1"), (overflow, "k2")] {
        server.run_sql(damage);
        let batch = ["a", "bad", "b", "a", "bad", "c"].map(|user| append(user, Some(key)));
        let mut answers = process.journal.append(batch.into()).await.unwrap();
        assert_damaged(answers.remove(4), &topic("bad"));
        assert_damaged(answers.remove(1), &topic("bad"));
        let taken: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(
            taken.iter().map(|taken| taken.duplicate).collect::<Vec<_>>(),
            [false, false, true, false]
        );
        assert_eq!(taken[0].id, taken[2].id, "keys hold over the damage");
        let page = process.journal.read(&topic("a"), Position::Start, LIMIT).await.unwrap();
        assert_eq!(page.entries.last().map(|entry| entry.id), Some(taken[0].id));
        assert!(
            process
                .journal
                .read(&topic("bad"), Position::Start, LIMIT)
                .await
                .unwrap()
                .entries
                .is_empty()
        );
        process.journal.probe().await.unwrap();
        server.run_sql("ALTER TABLE rejoin.user_events DROP CONSTRAINT IF EXISTS somebodys");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_topic_fails_alone_when_it_is_read_and_the_feed_goes_on() {
    let server = PostgresServer::start().await;
    let process = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    let (bad, good, mut signals) = (topic("bad"), topic("good"), process.feed.signals());
    process.feed.watch(&bad).await.unwrap();
    process.feed.watch(&good).await.unwrap();
    server.run_sql("ALTER TABLE rejoin.user_events ALTER COLUMN prev_ms DROP NOT NULL");
    server.run_sql(
        "CREATE FUNCTION rejoin.spoilt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.prev_ms = NULL; RETURN NEW; END $$;
        CREATE TRIGGER spoils BEFORE INSERT ON rejoin.user_events FOR EACH ROW WHEN (NEW.user_id = 'bad') EXECUTE FUNCTION rejoin.spoilt();",
    );
    for _ in 0..2 {
        // Both in one transaction, so that the feed reads them together.
        let answers =
            process.journal.append(vec![append("bad", None), append("good", None)]).await.unwrap();
        let id = answers.last().unwrap().as_ref().unwrap().id;
        let heard = until_signal(
            &mut signals,
            |signal| matches!(signal, Signal::Appended(_, entry) if entry.id == id),
        );
        let before = soon("the entry of the good topic", heard).await;
        assert!(
            before.iter().any(|signal| matches!(signal, Signal::Grown(topic) if *topic == bad)),
            "{before:?}"
        );
        assert!(
            !before.iter().any(|signal| matches!(signal, Signal::Interrupted)),
            "the feed goes on: {before:?}"
        );
        assert_damaged(process.journal.read(&bad, Position::Start, LIMIT).await, &bad);
        assert_damaged(process.journal.bounds(&bad).await, &bad);
        process.journal.read(&good, Position::Start, LIMIT).await.unwrap();
    }
    process.journal.purge(bad.user().unwrap()).await.unwrap();
    server.run_sql("DROP TRIGGER spoils ON rejoin.user_events");
    let id = appended(&process, "bad").await;
    let page = process.journal.read(&bad, Position::Start, LIMIT).await.unwrap();
    assert_eq!(
        page.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [id],
        "a purge repairs it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_message_fails_alone() {
    let server = PostgresServer::start().await;
    let process = std::sync::Arc::new(
        postgres::open(options(server.url()), &backend_context()).await.unwrap(),
    );
    let (behind, nobodys, good) = (
        MessageId::from(Uuid::new_v4()),
        MessageId::from(Uuid::new_v4()),
        MessageId::from(Uuid::new_v4()),
    );
    let owner = UserId::parse("u").unwrap();
    let chunk = || vec![MessageAppend { event: event(), sequence_no: None, idempotency_key: None }];
    for message in [&behind, &nobodys, &good] {
        process.messages.open(message, &owner, false).await.unwrap().unwrap();
        process.messages.append(message, None, chunk()).await.unwrap();
    }
    server.run_sql(&format!(
        "UPDATE rejoin.messages SET next_sequence_no = -7 WHERE message_id = '{behind}'"
    ));
    server
        .run_sql(&format!("UPDATE rejoin.messages SET owner = '' WHERE message_id = '{nobodys}'"));
    let appending: Vec<_> = [&behind, &nobodys, &good]
        .into_iter()
        .cycle()
        .take(30)
        .map(|message| {
            let (process, message) = (std::sync::Arc::clone(&process), message.clone());
            let chunk = chunk();
            tokio::spawn(async move {
                let answer = process.messages.append(&message, None, chunk).await;
                (message, answer)
            })
        })
        .collect();
    for appended in appending {
        let (message, answer) = appended.await.unwrap();
        if message == good {
            assert!(answer.unwrap().iter().all(Result::is_ok));
        } else {
            assert_damaged(answer, &Topic::Message(message));
        }
    }
    assert_damaged(
        process.messages.heartbeat(&nobodys, None).await,
        &Topic::Message(nobodys.clone()),
    );
    assert_damaged(process.messages.observe(&nobodys).await, &Topic::Message(nobodys));
    process.messages.heartbeat(&good, None).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_past_a_damaged_topic_and_the_backend_is_not_away() {
    let server = PostgresServer::start().await;
    let settings =
        format!("[events]\nbackend = \"postgres\"\n[postgres]\nurl = \"{}\"\n", server.url());
    let process = TestServer::start(&settings).await;
    server.run_sql(REFUSE);
    let line = |user: &str| {
        format!("{}\n", json!({ "user_id": user, "type": "test.happened", "payload": {} }))
    };
    let body: String = ["local", "bad", "local", "bad", "local"].map(line).concat();
    let upload = reqwest::Client::new()
        .post(process.url("/api/events"))
        .header("content-type", "application/x-ndjson")
        .body(body);
    let answer = upload.send().await.unwrap().text().await.unwrap();
    let results: Vec<Value> =
        answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<_> =
        results.iter().map(|result| result["code"].as_str().unwrap_or("taken")).collect();
    assert_eq!(
        codes[..5],
        ["taken", "topic_damaged", "taken", "topic_damaged", "taken"],
        "{answer}"
    );
    let (status, refused) =
        process.post(&json!({ "user_id": "bad", "type": "test.happened", "payload": {} })).await;
    assert_eq!((status, refused["code"].as_str()), (500, Some("topic_damaged")));
    process.publish("test.happened", json!({})).await;
    assert_eq!(reqwest::get(process.url("/readyz")).await.unwrap().status(), 200);
}

/// A schema that somebody has altered is no backend that is away: a retry would fail alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_does_not_understand_is_rejected_for_good() {
    let server = PostgresServer::start().await;
    let process = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    appended(&process, "u1").await;
    server.run_sql("ALTER TABLE rejoin.user_events RENAME COLUMN event_type TO renamed");
    let refused = process.journal.append(vec![append("u1", None)]).await.unwrap_err();
    assert_eq!(refused.kind, BackendErrorKind::Rejected, "{refused:?}");
    server.run_sql("ALTER TABLE rejoin.user_events RENAME COLUMN renamed TO event_type");
    appended(&process, "u1").await;
}
