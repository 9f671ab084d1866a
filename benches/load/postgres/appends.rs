//! Appends beside bare inserts by `pgbench`, and what notifications cost.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rejoin::adapters::{backend_kit::Ports, postgres};
use rejoin_test_support::{PostgresServer, program};
use tokio::{task::JoinSet, time::Instant};

use super::{SETTINGS, USERS, append, context, options};
use crate::{publishing, server::ServerProcess};

/// How many appends are under way at the same time, here and in the bare inserts.
const AT_ONCE: usize = 64;
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS: u32 = 3;

pub(crate) async fn measure() {
    let server = PostgresServer::start_with(SETTINGS).await;
    server.run_sql(
        "CREATE TABLE bare (id bigserial PRIMARY KEY, user_id text, payload json, at timestamptz)",
    );
    let process = Arc::new(postgres::open(options(&server), &context(None)).await.unwrap());
    let others = [
        Arc::new(postgres::open(options(&server), &context(None)).await.unwrap()),
        Arc::new(postgres::open(options(&server), &context(None)).await.unwrap()),
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
    println!(
        "  the same with a NOTIFY in each                  {:8.0}  ratio {:.2}",
        of(notified),
        notified / bare
    );
    println!(
        "  appends through the port, one process           {:8.0}  ratio {:.2}",
        of(one),
        one / bare
    );
    println!(
        "  appends through the port, three processes       {:8.0}  ratio {:.2}",
        of(of_three),
        of_three / bare
    );
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
    println!(
        "  the same through HTTP, one event a request      {http:8.0}  ratio {:.2}",
        http / of(bare)
    );
}

fn bare_inserts(server: &PostgresServer, also: &str) -> f64 {
    let script = std::env::temp_dir().join(format!("rejoin-bare-{}.sql", std::process::id()));
    let insert = format!(
        "INSERT INTO bare (user_id, payload, at) VALUES ('u' || :user, '\"{}\"', now());",
        "x".repeat(200)
    );
    let transaction =
        if also.is_empty() { insert } else { format!("BEGIN;\n{insert}\n{also}\nCOMMIT;") };
    std::fs::write(&script, format!("\\set user random(0, {})\n{transaction}\n", USERS - 1))
        .unwrap();
    let (seconds, clients) = (ROUND.as_secs().to_string(), AT_ONCE.to_string());
    let output = Command::new(program("pgbench"))
        .args([
            "--no-vacuum",
            "--protocol=prepared",
            "--jobs=2",
            "--client",
            &clients,
            "--time",
            &seconds,
            "--file",
        ])
        .arg(&script)
        .arg(server.url())
        .output()
        .expect("pgbench, of Debian's package postgresql");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("tps = "))
        .unwrap_or_else(|| unreachable!("{text}"));
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

async fn appends(processes: &[Arc<Ports>]) -> f64 {
    let done = Arc::new(AtomicUsize::new(0));
    let (started, mut appenders) = (Instant::now(), JoinSet::new());
    for appender in 0..AT_ONCE {
        let (process, done) =
            (Arc::clone(&processes[appender % processes.len()]), Arc::clone(&done));
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
