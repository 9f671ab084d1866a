//! Rejoin over Postgres: appends beside bare inserts by `pgbench`, what notifications cost, and what millions of rows do
//! to reads and to the sweep.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rejoin::{
    adapters::postgres::{Postgres, PostgresOptions},
    domain::{
        event::{Event, EventType},
        json::Json,
        position::{EventId, Position},
        timestamp::Timestamp,
        topic::{Topic, UserId},
    },
    ports::{
        journal::{Append, Journal},
        topic_log::{PageLimit, TopicLog},
    },
};
use rejoin_test_support::{PostgresServer, program};
use tokio::{task::JoinSet, time::Instant};

use crate::{publishing, server::ServerProcess};

/// How many appends are under way at the same time, here and in the bare inserts.
const AT_ONCE: usize = 64;
const USERS: usize = 1_000;
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS: u32 = 3;

/// Room for what is measured, and a disk that is waited for.
const SETTINGS: &str = "
fsync = on
shared_buffers = 1GB
max_wal_size = 8GB
checkpoint_timeout = 15min
synchronous_commit = on
";

pub(crate) async fn measure(rows: usize, old_rows: usize) {
    compare_appends().await;
    read_and_sweep(rows, old_rows).await;
}

fn options(server: &PostgresServer, age_max: Duration) -> PostgresOptions {
    PostgresOptions {
        url: server.url(),
        schema: "rejoin".to_owned(),
        connections_max: 16,
        call_timeout: Duration::from_secs(9),
        topic_entries_max: 100_000,
        age_max: Some(age_max),
        idempotency_window: Duration::from_mins(10),
    }
}

fn append(user: usize) -> Append {
    let event = Event {
        event_type: EventType::parse("load").unwrap(),
        ts: Timestamp::from_ms(1_718_900_000_000),
        category: None,
        scope: None,
        payload: Json::parse(&format!("\"{}\"", "x".repeat(200))).unwrap(),
    };
    Append { topic: Topic::User(UserId::parse(&format!("u{user}")).unwrap()), event: Arc::new(event), idempotency_key: None }
}

async fn compare_appends() {
    let server = PostgresServer::start_with(SETTINGS).await;
    server.run_sql("CREATE TABLE bare (id bigserial PRIMARY KEY, user_id text, payload json, at timestamptz)");
    let process = Arc::new(Postgres::open(options(&server, Duration::from_hours(48))).await.unwrap());
    let others = [
        Arc::new(Postgres::open(options(&server, Duration::from_hours(48))).await.unwrap()),
        Arc::new(Postgres::open(options(&server, Duration::from_hours(48))).await.unwrap()),
    ];
    let three = [Arc::clone(&process), Arc::clone(&others[0]), Arc::clone(&others[1])];
    let (mut bare, mut notified, mut one, mut of_three) = (0.0, 0.0, 0.0, 0.0);
    for _ in 0..ROUNDS {
        bare += bare_inserts(&server, "");
        one += appends(&[Arc::clone(&process)]).await;
        notified += bare_inserts(&server, "SELECT pg_notify('bare', 'x');");
        of_three += appends(&three).await;
    }
    let of = |sum: f64| sum / f64::from(ROUNDS);
    println!("postgres: {AT_ONCE} publishers to {USERS} users, synchronous_commit = on, events/s:");
    println!("  bare single-row inserts by pgbench              {:8.0}", of(bare));
    println!("  the same with a NOTIFY in each                  {:8.0}  ratio {:.2}", of(notified), notified / bare);
    println!("  appends through the port, one process           {:8.0}  ratio {:.2}", of(one), one / bare);
    println!("  appends through the port, three processes       {:8.0}  ratio {:.2}", of(of_three), of_three / bare);
    drop((process, three, others));
    let url = server.url();
    let rejoin = ServerProcess::rejoin_with(&[
        ("REJOIN_EVENTS__BACKEND", "postgres"),
        ("REJOIN_MESSAGES__BACKEND", "postgres"),
        ("REJOIN_LIMITS__BACKEND", "postgres"),
        ("REJOIN_POSTGRES__URL", &url),
    ]);
    let (publishes, started) = (100_000, Instant::now());
    publishing::publish(&rejoin, publishes, USERS, AT_ONCE).await;
    let http = publishes as f64 / started.elapsed().as_secs_f64();
    println!("  the same through HTTP, one event a request      {http:8.0}  ratio {:.2}", http / of(bare));
}

fn bare_inserts(server: &PostgresServer, also: &str) -> f64 {
    let script = std::env::temp_dir().join(format!("rejoin-bare-{}.sql", std::process::id()));
    let insert = format!("INSERT INTO bare (user_id, payload, at) VALUES ('u' || :user, '\"{}\"', now());", "x".repeat(200));
    let transaction = if also.is_empty() { insert } else { format!("BEGIN;\n{insert}\n{also}\nCOMMIT;") };
    std::fs::write(&script, format!("\\set user random(0, {})\n{transaction}\n", USERS - 1)).unwrap();
    let (seconds, clients) = (ROUND.as_secs().to_string(), AT_ONCE.to_string());
    let output = Command::new(program("pgbench"))
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--client", &clients, "--time", &seconds, "--file"])
        .arg(&script)
        .arg(server.url())
        .output()
        .expect("pgbench, of Debian's package postgresql");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("tps = ")).unwrap_or_else(|| unreachable!("{text}"));
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

async fn appends(processes: &[Arc<Postgres>]) -> f64 {
    let done = Arc::new(AtomicUsize::new(0));
    let (started, mut appenders) = (Instant::now(), JoinSet::new());
    for appender in 0..AT_ONCE {
        let (process, done) = (Arc::clone(&processes[appender % processes.len()]), Arc::clone(&done));
        appenders.spawn(async move {
            let mut user = appender;
            while started.elapsed() < ROUND {
                process.journal.append(vec![append(user % USERS)]).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
                user += AT_ONCE + 1;
            }
        });
    }
    appenders.join_all().await;
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// Puts rows there as if they had been appended, so many for each user.
fn fill(server: &PostgresServer, users: usize, each: usize, from_ms: u64) {
    server.run_sql(&format!(
        "SET search_path TO rejoin; SET synchronous_commit TO off;
        INSERT INTO user_topics SELECT 'u' || u, {from_ms} + {each}, 1, {from_ms} + {each} - 1, 1, {each}, {from_ms}, true
            FROM generate_series(0, {users} - 1) u
            ON CONFLICT (user_id) DO UPDATE SET last_ms = excluded.last_ms, last_n = 1, appended = user_topics.appended + {each};
        INSERT INTO user_events SELECT 'u' || u, {from_ms} + n, 1, {from_ms} + n - 1, 1, n, {from_ms}, 'load', NULL, NULL, '\"{}\"'
            FROM generate_series(1, {each}) n, generate_series(0, {users} - 1) u;",
        "x".repeat(200)
    ));
    server.run_sql("VACUUM ANALYZE rejoin.user_events");
}

async fn read_and_sweep(rows: usize, old_rows: usize) {
    let server = PostgresServer::start_with(SETTINGS).await;
    let day = Duration::from_hours(24);
    let process = Arc::new(Postgres::open(options(&server, day)).await.unwrap());
    // What is filled in lies before now, and behind the origin.
    server.run_sql("UPDATE rejoin.journal SET origin_ms = 1, forgotten_ms = 1");
    let now_ms: u64 = server.run_sql("SELECT rejoin.now_ms()").trim().parse().unwrap();
    let few = 5_000;
    let from_ms = now_ms - 10_000_000;
    fill(&server, USERS / 200, few / (USERS / 200), from_ms);
    let of_few = read_times(&process, USERS / 200, from_ms, few / (USERS / 200)).await;
    server.run_sql("TRUNCATE rejoin.user_events; DELETE FROM rejoin.user_topics");
    fill(&server, USERS, rows / USERS, from_ms);
    let of_many = read_times(&process, USERS, from_ms, rows / USERS).await;
    println!("postgres: reading 200 entries behind a cursor: {few} rows {of_few}; {rows} rows {of_many}");

    let old_ms = now_ms - 3 * 86_400_000;
    fill(&server, USERS, old_rows / USERS, old_ms);
    server.run_sql(&format!("UPDATE rejoin.user_topics SET last_ms = {from_ms} + {}, last_n = 1", rows / USERS));
    let quiet = publish_times(&process, async { tokio::time::sleep(Duration::from_secs(10)).await }).await;
    let (before, started) = (count_old(&server, now_ms), Instant::now());
    let sweeping = Arc::clone(&process);
    let swept = publish_times(&process, async move { sweeping.sweeper.sweep().await.unwrap() }).await;
    let seconds = started.elapsed().as_secs_f64();
    println!("postgres: publishes, one at a time for each of 8: without a sweep {quiet}; with one {swept}, which took {seconds:.0} s");
    println!("  old rows before {before}, after {}", count_old(&server, now_ms));
}

fn count_old(server: &PostgresServer, now_ms: u64) -> usize {
    server.run_sql(&format!("SELECT count(*) FROM rejoin.user_events WHERE ms < {now_ms} - 86400000")).trim().parse().unwrap()
}

/// Times, as they are told.
struct Times(Vec<Duration>);

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent: usize| sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1_000.0;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, worst {:.1} ms", at(50), at(99), at(100))
    }
}

async fn read_times(process: &Postgres, users: usize, from_ms: u64, each: usize) -> Times {
    let mut times = Vec::new();
    for number in 0..3_000 {
        let topic = Topic::User(UserId::parse(&format!("u{}", number * 7 % users)).unwrap());
        let after = Position::After(EventId::timed(from_ms + (number * 13 % (each - 300)) as u64, 1));
        let started = Instant::now();
        let page = process.journal.read(&topic, after, PageLimit { entries_max: 200, bytes_max: 1 << 20 }).await.unwrap();
        times.push(started.elapsed());
        assert_eq!(page.entries.len(), 200);
    }
    // The first ones warm what later ones use.
    Times(times.split_off(1_000))
}

/// Publishes until something is over.
async fn publish_times(process: &Arc<Postgres>, until: impl Future<Output = ()>) -> Times {
    let over = Arc::new(AtomicBool::new(false));
    let mut publishers = JoinSet::new();
    for publisher in 0..8 {
        let (process, over) = (Arc::clone(process), Arc::clone(&over));
        publishers.spawn(async move {
            let (mut times, mut user) = (Vec::new(), publisher);
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                process.journal.append(vec![append(user % USERS)]).await.unwrap();
                times.push(started.elapsed());
                user += 9;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            times
        });
    }
    until.await;
    over.store(true, Ordering::Relaxed);
    Times(publishers.join_all().await.concat())
}
