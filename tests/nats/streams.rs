//! Streams that are there already: what is left alone, what is changed, and what stops the start.

use std::sync::Arc;

use rejoin::adapters::{
    backend_kit::Ports,
    nats::{NatsOptions, NatsSetupError, Storage, StreamProblem},
};
use rejoin_test_support::{NatsConfig, NatsServer};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::nats::given::{appended, context, open, options, payloads, try_open};

const EVENTS: &str = "REJOIN_EVENTS";

async fn config(server: &NatsServer, stream: &str) -> Value {
    server.ask(&format!("STREAM.INFO.{stream}"), json!({})).await["config"].clone()
}

/// Why the start stops.
async fn problem(options: &NatsOptions) -> StreamProblem {
    match try_open(options).await {
        Err(NatsSetupError::Stream(problem)) => problem,
        other => panic!("{:?}", other.map(|_| "it starts")),
    }
}

#[tokio::test]
async fn several_processes_may_start_at_once() {
    let server = Arc::new(NatsServer::start().await);
    let mut starting = JoinSet::new();
    for _ in 0..8 {
        let url = server.url();
        starting.spawn(async move { open(url).await });
    }
    let processes: Vec<Ports> = starting.join_all().await;
    for (number, process) in processes.iter().enumerate() {
        appended(process, "u1", [number]).await;
    }
    assert_eq!(
        payloads(&processes[0], "u1", rejoin::domain::position::Position::Start).await.len(),
        8
    );
    assert_eq!(server.streams().await.len(), 4);
}

#[tokio::test]
async fn another_programs_stream_is_left_alone_and_stops_the_start() {
    let server = NatsServer::start().await;
    let foreign = json!({ "name": EVENTS, "subjects": ["orders.>"], "storage": "file" });
    server.ask(&format!("STREAM.CREATE.{EVENTS}"), foreign).await;
    let before = config(&server, EVENTS).await;
    let problem = problem(&options(server.url())).await;
    assert!(matches!(&problem, StreamProblem::NotOurs { stream } if stream == EVENTS), "{problem}");
    assert!(problem.to_string().contains("nats.stream_prefix"));
    assert_eq!(config(&server, EVENTS).await, before);
    // Another one has our subjects.
    server.ask(&format!("STREAM.DELETE.{EVENTS}"), json!({})).await;
    server
        .ask(
            "STREAM.CREATE.other",
            json!({ "name": "other", "subjects": ["rejoin.>"], "storage": "file" }),
        )
        .await;
    let problem = self::problem(&options(server.url())).await;
    assert!(
        matches!(&problem, StreamProblem::Refused { stream, reason } if stream == EVENTS && reason.contains("overlap")),
        "{problem}"
    );
}

#[tokio::test]
async fn what_breaks_a_promise_and_cannot_be_changed_stops_the_start() {
    let server = NatsServer::start().await;
    drop(open(server.url()).await);
    let memory = NatsOptions { storage: Storage::Memory, ..options(server.url()) };
    let told = problem(&memory).await.to_string();
    for word in [EVENTS, "storage", "File", "Memory"] {
        assert!(told.contains(word), "{told}");
    }
    let mut later = config(&server, EVENTS).await;
    later["metadata"]["rejoin"] = "events/2".into();
    server.ask(&format!("STREAM.UPDATE.{EVENTS}"), later).await;
    let problem = problem(&options(server.url())).await;
    assert!(
        matches!(&problem, StreamProblem::Format { found, .. } if found == "events/2"),
        "{problem}"
    );
    // More replicas than there are servers.
    let many = NatsOptions {
        replicas: 3,
        stream_prefix: "MANY".to_owned(),
        subject_prefix: "many".to_owned(),
        ..options(server.url())
    };
    assert!(
        matches!(self::problem(&many).await, StreamProblem::Refused { stream, .. } if stream == "MANY_EVENTS")
    );
}

#[tokio::test]
async fn what_can_be_changed_is_and_what_is_the_operators_stays() {
    let server = NatsServer::start().await;
    drop(open(server.url()).await);
    let wanted = config(&server, EVENTS).await;
    let mut changed = wanted.clone();
    changed["max_bytes"] = 1_000_000.into();
    changed["max_msgs_per_subject"] = 7.into();
    changed["discard"] = "old".into();
    changed["duplicate_window"] = 1_000_000_000.into();
    changed.as_object_mut().unwrap().remove("republish");
    let answer = server.ask(&format!("STREAM.UPDATE.{EVENTS}"), changed).await;
    assert!(answer["error"].is_null(), "{answer}");
    drop(open(server.url()).await);
    let now = config(&server, EVENTS).await;
    for setting in ["max_msgs_per_subject", "discard", "duplicate_window", "republish"] {
        assert_eq!(now[setting], wanted[setting], "{setting}");
    }
    assert_eq!(now["max_bytes"], 1_000_000, "an operator's bound is theirs");
}

/// Retention follows the settings.
#[tokio::test]
async fn settings_that_changed_are_taken_over() {
    let server = NatsServer::start().await;
    drop(open(server.url()).await);
    let mut context = context();
    context.retention.stream_maxlen = 3;
    context.retention.replay_max_age = Some(std::time::Duration::from_hours(8));
    let ports = rejoin::adapters::nats::open(options(server.url()), &context).await.unwrap();
    let now = config(&server, EVENTS).await;
    assert_eq!(
        (&now["max_msgs_per_subject"], &now["max_age"]),
        (&json!(3), &json!(9 * 3_600_000_000_000_u64)),
        "with a margin"
    );
    appended(&ports, "u1", 0..5).await;
    assert_eq!(
        payloads(&ports, "u1", rejoin::domain::position::Position::Start).await,
        ["2", "3", "4"]
    );
}

/// The versions that can't do what is needed say so of themselves: this one is made to.
#[tokio::test]
async fn a_server_that_is_too_old_stops_the_start() {
    let server = NatsServer::start_with(NatsConfig::default()).await;
    let newest = super::later::proxy_that_says(server.port(), "2.15.1", "2.11.9").await;
    let problem = problem(&options(format!("nats://{newest}"))).await;
    assert!(matches!(&problem, StreamProblem::Version { found } if found == "2.11.9"), "{problem}");
    assert!(problem.to_string().contains("2.12 or later"), "{problem}");
}
