//! Rejoin over NATS: appends beside a bare publisher to the same stream, what deliveries cost the
//! server, and reads of one topic among few and many others.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream;
use futures_util::{StreamExt, stream::FuturesUnordered};
use rejoin::{
    adapters::{
        backend_kit::{BackendContext, Ports, Retention},
        nats::{self, NatsOptions, Storage},
        system_clock::SystemClock,
    },
    domain::{
        page::PageLimit,
        topic::{Topic, UserId},
    },
    ports::journal::Append,
    testing::{backend_context_with, event_of_bytes},
};
use rejoin_test_support::NatsServer;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    publishing,
    readers::{self, Tally},
    server::ServerProcess,
};

/// How many appends are under way at the same time, here and by the bare publisher.
const AT_ONCE: usize = 64;
const USERS: usize = 1_000;
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS: u32 = 3;
/// How many entries a client that comes back is sent.
const SNAPSHOT: usize = 200;

pub(crate) async fn measure(messages: usize) {
    compare_appends().await;
    count_reads().await;
    let few = snapshot(messages, 100).await;
    let many = snapshot(messages, 50_000).await;
    println!(
        "nats: a snapshot of {SNAPSHOT} entries, spread over {messages} messages in the stream:"
    );
    println!("  among 100 users      {:8.2} ms", few.as_secs_f64() * 1e3);
    println!(
        "  among 50,000 users   {:8.2} ms  ratio {:.2}",
        many.as_secs_f64() * 1e3,
        many.as_secs_f64() / few.as_secs_f64()
    );
}

async fn open(server: &NatsServer) -> Ports {
    let options = NatsOptions {
        url: server.url(),
        credentials_file: None,
        nkey_file: None,
        tls_ca_file: None,
        stream_prefix: "REJOIN".to_owned(),
        subject_prefix: "rejoin".to_owned(),
        domain: None,
        replicas: 1,
        storage: Storage::File,
    };
    let retention = Retention {
        stream_maxlen: 100_000,
        replay_max_age: None,
        idempotency_window: Duration::from_mins(10),
    };
    let context =
        BackendContext { clock: Arc::new(SystemClock), ..backend_context_with(retention) };
    nats::open(options, &context).await.unwrap()
}

fn append(user: &str) -> Append {
    Append { user: UserId::parse(user).unwrap(), event: event_of_bytes(200), idempotency_key: None }
}

async fn compare_appends() {
    let server = NatsServer::start().await;
    let ports = Arc::new(open(&server).await);
    let bare_context = jetstream::new(server.client().await.unwrap());
    let (mut bare, mut through_the_port) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        bare += bare_publishes(&bare_context).await;
        through_the_port += appends(&ports).await;
    }
    let of = |sum: f64| sum / f64::from(ROUNDS);
    println!(
        "nats: {AT_ONCE} in flight to {USERS} users, one stream on disk that republishes, events/s:"
    );
    println!("  bare publishes by async-nats         {:8.0}", of(bare));
    println!(
        "  appends through the port             {:8.0}  ratio {:.2}",
        of(through_the_port),
        through_the_port / bare
    );
}

/// To the same stream, as a client of its own would publish: no order, no link between events, no
/// check.
async fn bare_publishes(context: &jetstream::Context) -> f64 {
    let payload = bytes::Bytes::from(vec![b'x'; 200]);
    let (started, mut flying, mut done) = (Instant::now(), FuturesUnordered::new(), 0_usize);
    while started.elapsed() < ROUND {
        let subject = format!("rejoin.user.bare{}", done % USERS);
        flying.push(context.publish(subject, payload.clone()).await.unwrap().into_future());
        done += 1;
        if flying.len() >= AT_ONCE {
            let acknowledged: Option<Result<_, jetstream::context::PublishError>> =
                flying.next().await;
            acknowledged.unwrap().unwrap();
        }
    }
    while let Some(acknowledged) = flying.next().await {
        acknowledged.unwrap();
    }
    done as f64 / started.elapsed().as_secs_f64()
}

async fn appends(ports: &Arc<Ports>) -> f64 {
    let done = Arc::new(AtomicUsize::new(0));
    let (started, mut appenders) = (Instant::now(), JoinSet::new());
    for appender in 0..AT_ONCE {
        let (ports, done) = (Arc::clone(ports), Arc::clone(&done));
        appenders.spawn(async move {
            let mut user = appender;
            while started.elapsed() < ROUND {
                ports.journal.append(vec![append(&format!("u{}", user % USERS))]).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
                user += AT_ONCE + 1;
            }
        });
    }
    appenders.join_all().await;
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// Publishes over HTTP to users who are all connected, and counts what JetStream was asked
/// meanwhile.
async fn count_reads() {
    const PUBLISHES: usize = 10_000;
    const CONNECTED: usize = 100;
    const SUBSCRIBERS: usize = 10;
    let server = NatsServer::start().await;
    let url = server.url();
    let rejoin = ServerProcess::rejoin_with(&[
        ("REJOIN_EVENTS__BACKEND", "nats"),
        ("REJOIN_MESSAGES__BACKEND", "nats"),
        ("REJOIN_LIMITS__BACKEND", "nats"),
        ("REJOIN_NATS__URL", &url),
    ]);
    readers::with_readers(async {
        let tally = Rc::new(Tally::default());
        for user in 0..CONNECTED {
            readers::open_more(&tally, rejoin.address, &rejoin.subscribe_request_of(&format!("u{user}")), SUBSCRIBERS).await;
        }
        let asked = async || server.ask("INFO", json!({})).await["api"]["total"].as_u64().unwrap();
        let before = asked().await;
        let started = Instant::now();
        let publishing = tokio::task::spawn_local(publishing::publish(&rejoin, PUBLISHES, CONNECTED, AT_ONCE));
        let last = tally.wait_for(PUBLISHES * SUBSCRIBERS).await;
        publishing.await.unwrap();
        let (asked, rate) = (asked().await - before, PUBLISHES as f64 / (last - started).as_secs_f64());
        println!("nats: {PUBLISHES} publishes over HTTP to {CONNECTED} users with {SUBSCRIBERS} subscribers each: {rate:.0}/s");
        println!("  requests to JetStream's API meanwhile, reads among them: {asked}; deliveries: {}", PUBLISHES * SUBSCRIBERS);
        let mut consumers = 0;
        for stream in server.streams().await {
            let info = server.ask(&format!("STREAM.INFO.{stream}"), json!({})).await;
            consumers += info["state"]["consumer_count"].as_u64().unwrap();
        }
        println!("  consumers on the server: {consumers}");
    })
    .await;
}

/// How long it takes to read a user's entries, which lie evenly spread among those of so many
/// others.
async fn snapshot(messages: usize, users: usize) -> Duration {
    const BATCH: usize = 500;
    const READS: usize = 31;
    let server = NatsServer::start().await;
    let ports = open(&server).await;
    let every = messages / (SNAPSHOT + 1);
    let mut first = None;
    for begin in (0..messages).step_by(BATCH) {
        let of = |n: usize| {
            if n.is_multiple_of(every) {
                append("me")
            } else {
                append(&format!("u{}", n * 7_919 % users))
            }
        };
        let batch: Vec<Append> = (begin..begin + BATCH).map(of).collect();
        let mine = batch.iter().position(|append| append.user.as_str() == "me");
        let appended = ports.journal.append(batch).await.unwrap();
        first = first.or_else(|| mine.map(|mine| appended[mine].as_ref().unwrap().id));
    }
    // As another process that has not seen any of it.
    let ports = open(&server).await;
    let (topic, limit) = (
        Topic::User(UserId::parse("me").unwrap()),
        PageLimit { entries_max: SNAPSHOT, bytes_max: 1 << 24 },
    );
    let mut took = Vec::new();
    for _ in 0..READS {
        let started = Instant::now();
        let page = ports.journal.read(&topic, first.unwrap().into(), limit).await.unwrap();
        took.push(started.elapsed());
        assert_eq!(page.entries.len(), SNAPSHOT);
    }
    took.sort_unstable();
    took[READS / 2]
}
