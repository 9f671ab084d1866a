//! What millions of rows do to reads, and their removal to publishes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rejoin::{
    adapters::{backend_kit::Ports, postgres},
    domain::{
        page::PageLimit,
        position::{EventId, Position},
        topic::{Topic, UserId},
    },
};
use rejoin_test_support::PostgresServer;
use tokio::{task::JoinSet, time::Instant};

use super::{SETTINGS, USERS, append, context, options};

const DAY: Duration = Duration::from_hours(24);
const PUBLISHERS: usize = 8;

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

pub(crate) async fn measure(rows: usize, old_rows: usize) {
    let server = PostgresServer::start_with(SETTINGS).await;
    // It sweeps nothing by itself.
    let process = Arc::new(postgres::open(options(&server), &context(None)).await.unwrap());
    // What is filled in lies before now, and behind the origin.
    server.run_sql("UPDATE rejoin.journal SET origin_ms = 1, forgotten_ms = 1");
    let now_ms: u64 = server.run_sql("SELECT rejoin.now_ms()").trim().parse().unwrap();
    let from_ms = now_ms - 10_000_000;
    compare_reads(&server, &process, from_ms, rows).await;
    fill(&server, USERS, old_rows / USERS, now_ms - 3 * 86_400_000);
    server.run_sql(&format!(
        "UPDATE rejoin.user_topics SET last_ms = {from_ms} + {}, last_n = 1",
        rows / USERS
    ));
    // Room for what is written is there, as on a server that has run for a while.
    server.run_sql("CHECKPOINT");
    compare_publishes(&server, &process).await;
}

async fn compare_reads(server: &PostgresServer, process: &Ports, from_ms: u64, rows: usize) {
    // A user's rows lie about as far apart as among millions.
    let (few_users, few) = (16, 5_000);
    fill(server, few_users, few / few_users, from_ms);
    let of_few = read_times(process, few_users, from_ms, few / few_users).await;
    server.run_sql("TRUNCATE rejoin.user_events; DELETE FROM rejoin.user_topics");
    fill(server, USERS, rows / USERS, from_ms);
    let of_many = read_times(process, USERS, from_ms, rows / USERS).await;
    println!("postgres: reading 200 entries behind a cursor:");
    println!("  {few:9} rows          {of_few}");
    println!("  {rows:9} rows          {of_many}");
}

async fn compare_publishes(server: &PostgresServer, process: &Arc<Ports>) {
    println!("postgres: publishes by {PUBLISHERS}, each one after the other:");
    let quiet = publish_times(process, tokio::time::sleep(Duration::from_secs(20))).await;
    println!("  without a sweep          {quiet}");
    let sweeping = postgres::open(options(server), &context(Some(DAY))).await.unwrap();
    let (before, started) = (count_old(server), Instant::now());
    let swept =
        publish_times(process, async { sweeping.sweeper.as_ref().unwrap().sweep().await.unwrap() })
            .await;
    let (after, seconds) = (count_old(server), started.elapsed().as_secs_f64());
    println!(
        "  with a sweep             {swept}; {} old rows in {seconds:.0} s, {after} left",
        before - after
    );
    println!("  ratio of p99             {:.2}", swept.percentile_ms(99) / quiet.percentile_ms(99));
}

fn count_old(server: &PostgresServer) -> usize {
    let count = format!(
        "SELECT count(*) FROM rejoin.user_events WHERE ms < rejoin.now_ms() - {}",
        DAY.as_millis()
    );
    server.run_sql(&count).trim().parse().unwrap()
}

/// Times, as they are told.
struct Times(Vec<Duration>);

impl Times {
    fn percentile_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1_000.0
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, most, all] = [50, 99, 100].map(|percent| self.percentile_ms(percent));
        write!(f, "p50 {half:.2} ms, p99 {most:.2} ms, worst {all:.1} ms")
    }
}

async fn read_times(process: &Ports, users: usize, from_ms: u64, each: usize) -> Times {
    let mut times = Vec::new();
    for number in 0..3_000 {
        let topic = Topic::User(UserId::parse(&format!("u{}", number * 7 % users)).unwrap());
        let after =
            Position::After(EventId::timed(from_ms + (number * 13 % (each - 300)) as u64, 1));
        let started = Instant::now();
        let page = process
            .journal
            .read(&topic, after, PageLimit { entries_max: 200, bytes_max: 1 << 20 })
            .await
            .unwrap();
        times.push(started.elapsed());
        assert_eq!(page.entries.len(), 200);
    }
    // The first ones warm what later ones use.
    Times(times.split_off(1_000))
}

/// Publishes until something is over.
async fn publish_times(process: &Arc<Ports>, until: impl Future<Output = ()>) -> Times {
    let over = Arc::new(AtomicBool::new(false));
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (process, over) = (Arc::clone(process), Arc::clone(&over));
        publishers.spawn(async move {
            let (mut times, mut user) = (Vec::new(), publisher);
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                process.journal.append(vec![append(user % USERS)]).await.unwrap();
                times.push(started.elapsed());
                user += PUBLISHERS + 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            times
        });
    }
    until.await;
    over.store(true, Ordering::Relaxed);
    Times(publishers.join_all().await.concat())
}
