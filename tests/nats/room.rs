//! What there is no room for.

use rejoin::{
    adapters::backend_kit::Ports,
    domain::{
        message::{AppendRefusal, MessageAppend},
        position::Position,
        topic::MessageId,
    },
    ports::{backend_error::BackendErrorKind, journal::Append},
    testing::{event, user},
};
use rejoin_test_support::{NatsConfig, NatsServer, ServerProcess};
use serde_json::json;
use uuid::Uuid;

use crate::nats::given::{append, open, payloads};

fn of_bytes(bytes: usize) -> Append {
    Append { event: event(&format!("\"{}\"", "x".repeat(bytes))), ..append("u1", 0) }
}

async fn small_server() -> NatsServer {
    NatsServer::start_with(NatsConfig {
        lines: "max_payload: 16KB".to_owned(),
        ..NatsConfig::default()
    })
    .await
}

#[tokio::test]
async fn an_event_over_max_payload_is_refused_by_itself() {
    let server = small_server().await;
    let ports: Ports = open(server.url()).await;
    let answers = ports
        .journal
        .append(vec![append("u1", 1), of_bytes(20_000), append("u1", 2)])
        .await
        .unwrap();
    let kinds: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().err().map(|error| error.kind)).collect();
    assert_eq!(kinds, [None, Some(BackendErrorKind::TooLarge), None]);
    assert_eq!(payloads(&ports, "u1", Position::Start).await, ["1", "2"]);

    let id = MessageId::from(Uuid::new_v4());
    ports.messages.open(&id, &user("u1"), false).await.unwrap().unwrap();
    let chunk = |bytes| MessageAppend {
        event: of_bytes(bytes).event,
        sequence_no: None,
        idempotency_key: None,
    };
    // Together they are larger than one record; each by itself is not.
    let answers =
        ports.messages.append(&id, None, (0..5).map(|_| chunk(7_000)).collect()).await.unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(
        ports.messages.append(&id, None, vec![chunk(20_000)]).await.unwrap(),
        [Err(AppendRefusal::TooLarge)]
    );
    let topic = rejoin::domain::topic::Topic::Message(id);
    assert_eq!(
        ports
            .messages
            .read(&topic, Position::Start, crate::nats::given::AMPLE)
            .await
            .unwrap()
            .entries
            .len(),
        5
    );

    let environment = [("REJOIN_EVENTS__BACKEND", "nats"), ("REJOIN_NATS__URL", &server.url())];
    let process = ServerProcess::start(env!("CARGO_BIN_EXE_rejoin"), &environment).await;
    let body = json!({ "user_id": "local", "type": "t", "payload": "x".repeat(20_000) });
    let answer = reqwest::Client::new()
        .post(format!("http://{}/api/events", process.address()))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 413);
    let told: serde_json::Value = answer.json().await.unwrap();
    assert!(told["message"].as_str().unwrap().contains("max_payload"), "{told}");
}

#[tokio::test]
async fn promise_7_too_many_broadcasts_are_refused() {
    let server = NatsServer::start().await;
    let ports = open(server.url()).await;
    let large = of_bytes(1_000_000).event;
    let (mut taken, mut in_doubt) = (0, 0);
    let refused = loop {
        match ports.feed.broadcast(large.clone()).await {
            Ok(()) => taken += 1,
            // A busy machine may not write a megabyte within the time of a call.
            Err(error) if error.kind == BackendErrorKind::Timeout && in_doubt < 5 => in_doubt += 1,
            Err(error) => break error,
        }
        assert!(taken <= 17, "more than 16 MiB are kept");
    };
    assert_eq!(refused.kind, BackendErrorKind::BroadcastsFull);
    assert!(taken + in_doubt >= 14, "only {taken} found room");
}

/// An account's storage that is used up is no reason to lose what is there.
#[tokio::test]
async fn without_storage_nothing_is_taken_and_nothing_lost() {
    // The stream of announcements is made only where there is room for 16.
    let jetstream = "max_file_store: 20MB\nmax_memory_store: 1MB".to_owned();
    let server = NatsServer::start_with(NatsConfig { jetstream, ..NatsConfig::default() }).await;
    let ports = open(server.url()).await;
    let mut kept = 0;
    let error = loop {
        match ports.journal.append(vec![of_bytes(400_000)]).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 60, "it has room for more than it has");
    };
    assert_eq!(error.kind, BackendErrorKind::Full, "{error:?}");
    let page = ports
        .journal
        .read(&crate::nats::given::topic("u1"), Position::Start, crate::nats::given::AMPLE)
        .await
        .unwrap();
    assert_eq!(page.entries.len(), kept);
}

/// As many recipients as one publish may name are one batch.
#[tokio::test]
async fn a_thousand_events_are_one_batch() {
    let server = NatsServer::start().await;
    let ports = open(server.url()).await;
    let batch: Vec<Append> =
        (0..1_000).map(|number| append(&format!("u{number}"), number)).collect();
    let ids: Vec<_> = ports
        .journal
        .append(batch)
        .await
        .unwrap()
        .into_iter()
        .map(|appended| appended.unwrap().id)
        .collect();
    assert!(
        ids.windows(2).all(|pair| pair[1].minor() == pair[0].minor().map(|sequence| sequence + 1)),
        "in a row"
    );
}
