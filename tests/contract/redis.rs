//! Redis: one private server for all laws, with a prefix for each; laws that kill it have one of
//! their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream::BoxStream};
use rejoin::{
    adapters::backend_kit::BackendContext,
    adapters::redis::{self as rejoin_redis, RedisOptions},
    domain::{message::MESSAGE_EVENTS_MAX, position::EventId, topic::MessageId},
    ports::feed::Signal,
};
use rejoin_test_support::{RedisClockProxy, RedisServer, soon};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use crate::contract::{
    backend::{Backend, Fixture, Options, Process},
    given::{event, event_of, topic},
};

/// Where the clock stands of a server that has one.
const EPOCH_MS: u64 = 1_718_900_000_000;
/// Redis trims whole nodes of a stream, of at most so many entries.
pub(crate) const TRIM_SLACK_ENTRIES: usize = 100;

pub(crate) struct RedisFixture;

struct OneServer {
    server: Arc<Mutex<RedisServer>>,
    options: RedisOptions,
    context: BackendContext,
    clock: Option<RedisClockProxy>,
}

pub(crate) fn redis_options(url: String, cluster: bool, key_prefix: String) -> RedisOptions {
    RedisOptions { url, cluster, key_prefix, tls_ca_file: None }
}

pub(crate) async fn process(options: &RedisOptions, context: &BackendContext) -> Process {
    Process::of(rejoin_redis::open(options.clone(), context).await.unwrap())
}

/// The server of all laws that leave it alive. It ends with the process.
async fn shared_server() -> Arc<Mutex<RedisServer>> {
    static SERVER: OnceCell<Arc<Mutex<RedisServer>>> = OnceCell::const_new();
    let start =
        async || Arc::new(Mutex::new(RedisServer::start().await.ending_with_this_process()));
    Arc::clone(SERVER.get_or_init(start).await)
}

/// Removes all keys of a prefix.
pub(crate) async fn wipe_prefix(server: &RedisServer, prefix: &str) {
    for key in server.ask::<Vec<Vec<u8>>>(redis::cmd("KEYS").arg(format!("{prefix}*"))).await {
        server.ask::<u64>(redis::cmd("UNLINK").arg(key)).await;
    }
}

impl OneServer {
    async fn on(server: Arc<Mutex<RedisServer>>, options: &Options) -> Self {
        let (url, prefix) = (server.lock().await.url(), format!("{}:", Uuid::new_v4().simple()));
        Self {
            server,
            options: redis_options(url, false, prefix),
            context: options.context(),
            clock: None,
        }
    }

    async fn start(options: &Options) -> Self {
        Self::on(Arc::new(Mutex::new(RedisServer::start().await)), options).await
    }

    async fn start_with_clock(options: &Options) -> Self {
        let mut backend = Self::start(options).await;
        let port = backend.server.lock().await.port();
        let clock = RedisClockProxy::start(([127, 0, 0, 1], port).into(), EPOCH_MS).await;
        backend.options.url = format!("redis://{}", clock.address());
        Self { clock: Some(clock), ..backend }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.options.key_prefix)
    }
}

#[async_trait]
impl Fixture for RedisFixture {
    async fn open(&self, options: Options) -> Box<dyn Backend> {
        Box::new(OneServer::on(shared_server().await, &options).await)
    }

    async fn open_to_be_killed(&self, options: Options) -> Box<dyn Backend> {
        Box::new(OneServer::start(&options).await)
    }

    async fn open_with_clock(&self, options: Options) -> Box<dyn Backend> {
        Box::new(OneServer::start_with_clock(&options).await)
    }

    fn property_cases(&self) -> u32 {
        6
    }

    fn time_tolerance(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[async_trait]
impl Backend for OneServer {
    async fn process(&self) -> Process {
        let process = process(&self.options, &self.context).await;
        if self.clock.is_some() { process.without_sweep() } else { process }
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn trim_slack_entries(&self) -> usize {
        TRIM_SLACK_ENTRIES
    }

    async fn set_clock_ms(&self, now_ms: u64) {
        self.clock.as_ref().expect("it was opened with a clock").set_ms(now_ms);
    }

    async fn fill_message(&self, id: &MessageId, room: u64) {
        let next = (MESSAGE_EVENTS_MAX - room).to_string();
        self.server
            .lock()
            .await
            .command(&[
                "HSET",
                &self.key(&format!("message-state:{{{id}}}")),
                "next_sequence_no",
                &next,
            ])
            .await;
    }

    async fn wipe(&self) {
        wipe_prefix(&*self.server.lock().await, &self.options.key_prefix).await;
    }

    async fn restart(&self) {
        self.stop().await;
        self.start().await;
    }

    async fn stop(&self) {
        self.server.lock().await.kill().await;
    }

    async fn start(&self) {
        self.server.lock().await.start_again().await;
    }

    async fn pause(&self) {
        self.server.lock().await.pause().await;
    }

    async fn resume(&self) {
        self.server.lock().await.resume().await;
    }

    async fn fill(&self) {
        self.server.lock().await.command(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    }

    async fn make_room(&self) {
        self.server.lock().await.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    }

    async fn lose_topic(&self, user_id: &str) {
        self.server
            .lock()
            .await
            .command(&["DEL", &self.key(&format!("user:{user_id}:stream"))])
            .await;
    }

    async fn cut_feeds(&self) {
        self.server.lock().await.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    }
}

/// What a server whose clock was set back finds: ids, and heads of topics without a stream, that
/// lie ahead of its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_strictly_increase_behind_what_lies_ahead_of_the_servers_clock() {
    let backend = OneServer::on(shared_server().await, &Options::default()).await;
    let process = backend.process().await;
    let server = backend.server.lock().await;
    let ahead_ms = server.ask::<(u64, u64)>(&redis::cmd("TIME")).await.0 * 1_000 + 3_600_000;
    let last = format!("{ahead_ms}-7");
    server
        .command(&[
            "XADD",
            &backend.key("user:u1:stream"),
            &last,
            "event",
            r#"{"type":"t","payload":0}"#,
        ])
        .await;
    server.command(&["SET", &backend.key("rejoin:clock"), &ahead_ms.to_string()]).await;
    let quiet_head = process.bounds(&topic("quiet")).await.head;
    assert!(quiet_head >= EventId::timed(ahead_ms - 1, 0).into(), "a head does not go back");
    for (topic, before) in
        [(topic("u1"), last.parse::<EventId>().unwrap().into()), (topic("quiet"), quiet_head)]
    {
        let told = process.append_batch(&topic, 1..4).await;
        assert!(
            told.is_sorted_by(|before, after| before < after) && before.is_before(told[0]),
            "{told:?} behind {before:?}"
        );
        assert_eq!(process.read_all(&topic, before).await.len(), 3);
    }
}

/// Broadcasts wait for a process that does not come to its signals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_reaches_a_process_whose_signals_overran() {
    const FLOOD: usize = 10_000;
    const BROADCASTS: usize = 20;
    let backend = OneServer::on(shared_server().await, &Options::default()).await;
    let (deaf, writer, topic) = (backend.process().await, backend.process().await, topic("u1"));
    let mut signals = deaf.feed.signals();
    deaf.feed.watch(&topic).await.unwrap();
    let (mut sent, mut heard, mut interruptions) = (0, 0, 0);
    // On a busy machine the signals may come so slowly that reading keeps up with them: then more
    // are sent.
    while interruptions == 0 {
        for _ in 0..BROADCASTS {
            writer.append_batch(&topic, 0..FLOOD / BROADCASTS).await;
            writer.feed.broadcast(event(sent)).await.unwrap();
            sent += 1;
        }
        while heard < sent {
            match soon("a signal", signals.next()).await.unwrap() {
                Signal::Broadcast(broadcast) => {
                    assert_eq!(broadcast, event(heard), "each comes once, in order");
                    heard += 1;
                }
                Signal::Interrupted => interruptions += 1,
                _ => {}
            }
        }
    }
}

/// A process that was away for longer than broadcasts are kept says so, and goes on with those that
/// are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_that_are_gone_are_reported_and_too_many_are_refused() {
    let mut backend = OneServer::on(shared_server().await, &Options::default()).await;
    let missed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&missed);
    backend.context.on_missed_broadcasts = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let (away, writer) = (backend.process().await, backend.process().await);
    let mut signals = [away.feed.signals(), writer.feed.signals()];
    // What is trimmed here before it was read would be over its time.
    let stream = &backend.key("rejoin:announcements:0");
    writer.feed.broadcast(event(0)).await.unwrap();
    for signals in &mut signals {
        assert_next_broadcast(signals, 0).await;
    }
    let server = backend.server.lock().await;
    server.command(&["XADD", stream, "*", "event", "{}", "prev", "0-0", "bytes_before", "0"]).await;
    server.command(&["XTRIM", stream, "MAXLEN", "0"]).await;
    writer.feed.broadcast(event(1)).await.unwrap();
    for signals in &mut signals {
        assert_next_broadcast(signals, 1).await;
    }
    assert_eq!(missed.load(Ordering::Relaxed), 2, "once in each process");

    let large = event_of(&format!("\"{}\"", "x".repeat(1 << 20)));
    let mut taken = 0;
    while let Ok(()) = writer.feed.broadcast(Arc::clone(&large)).await {
        taken += 1;
        assert!(taken <= 16, "more than 16 MiB are kept");
    }
    assert!(taken >= 14, "only {taken} of a MiB found room");
    for _ in 0..taken {
        assert!(matches!(soon("a large one", signals[0].next()).await, Some(Signal::Broadcast(_))));
    }
}

async fn assert_next_broadcast(signals: &mut BoxStream<'static, Signal>, number: usize) {
    match soon("the broadcast", signals.next()).await {
        Some(Signal::Broadcast(heard)) => assert_eq!(heard, event(number)),
        other => panic!("{other:?}"),
    }
}
