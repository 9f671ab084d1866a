//! Many clients at once: how many may wait to be accepted, and what an operator sees when there are
//! too many.

use std::time::Duration;

use rejoin_test_support::{Connection, ServerProcess, eventually, soon};
use tokio::{io::AsyncWriteExt, net::TcpStream, process::Command, time::timeout};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rejoin");

/// Allows this process so many clients at once; returns how many that may be.
fn allow_clients(wanted: usize) -> usize {
    let files =
        usize::try_from(rlimit::increase_nofile_limit(u64::MAX).unwrap()).unwrap_or(usize::MAX);
    wanted.min(files / 2)
}

fn lines(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn as_many_clients_may_wait_to_be_accepted_as_the_system_grants() {
    let server = ServerProcess::start(PROGRAM, &[]).await;
    let granted: usize =
        std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    // It accepts nobody: whoever is connected now waits in the kernel's queue.
    server.signal("STOP").await;
    let mut waiting = Vec::new();
    let clients = allow_clients(granted.min(2_000));
    for n in 0..clients {
        let connected =
            timeout(Duration::from_secs(20), TcpStream::connect(server.address())).await;
        waiting.push(
            connected.unwrap_or_else(|_| panic!("{n} clients wait, and no more can")).unwrap(),
        );
    }
    server.signal("CONT").await;
    let all = f64::from(u32::try_from(waiting.len()).unwrap());
    eventually("all are accepted", async || {
        server.metric("rejoin_client_connections").await > Some(all)
    })
    .await;
    drop(waiting);
    eventually("all are gone", async || {
        server.metric("rejoin_client_connections").await < Some(3.0)
    })
    .await;
}

#[tokio::test]
async fn the_limit_of_connections_is_counted_and_logged_once() {
    let server = ServerProcess::start(PROGRAM, &[("REJOIN_SERVER__MAX_CONNECTIONS", "2")]).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams
            .push(Connection::open(&format!("http://{}/api/events", server.address()), None).await);
    }
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    for _ in 0..5 {
        let refused =
            soon("an answer", client.get(format!("http://{}/api/events", server.address())).send())
                .await
                .unwrap();
        assert_eq!(refused.status(), 503);
    }
    let counted = server
        .metric("rejoin_connection_limits_reached_total{limit=\"connections\"}")
        .await
        .unwrap();
    // The connection that asks for the metric is itself over the limit.
    assert!((counted - 6.0).abs() < 0.5, "{counted}");
    assert_eq!(lines(&server.log(), "server.max_connections"), 1, "{}", server.log());
    drop(streams);
}

/// The program with so few files that it can't serve many clients.
async fn with_files(files_max: u32, environment: &[(&str, &str)]) -> ServerProcess {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {files_max} && exec \"$0\" serve --memory"), PROGRAM])
        .envs(environment.iter().copied());
    ServerProcess::start_by(command).await
}

#[tokio::test]
async fn the_limit_of_files_is_warned_of_counted_and_logged_once() {
    let server = with_files(60, &[]).await;
    assert_eq!(
        lines(&server.log(), "the limit of open files is below server.max_connections"),
        1,
        "{}",
        server.log()
    );
    let failures = || server.metric("rejoin_connection_limits_reached_total{limit=\"files\"}");
    assert_eq!(failures().await, None);
    let mut clients = Vec::new();
    for _ in 0..80 {
        clients.push(TcpStream::connect(server.address()).await.unwrap());
    }
    eventually("it has tried several times", async || failures().await >= Some(5.0)).await;
    eventually("it is logged", async || lines(&server.log(), "can't accept connections") > 0).await;
    clients.truncate(1);
    let health = reqwest::get(format!("http://{}/healthz", server.address()));
    assert_eq!(soon("it serves again", health).await.unwrap().status(), 200);
    assert_eq!(lines(&server.log(), "can't accept connections"), 1, "{}", server.log());
}

#[tokio::test]
async fn a_limit_of_files_that_allows_all_connections_is_not_warned_of() {
    let server = with_files(1_000, &[("REJOIN_SERVER__MAX_CONNECTIONS", "900")]).await;
    assert_eq!(lines(&server.log(), "limit of open files"), 0, "{}", server.log());
}

#[tokio::test]
async fn clients_that_wait_cost_no_processor_time_whatever_they_have_sent() {
    let server = ServerProcess::start(PROGRAM, &[]).await;
    let mut waiting = Vec::new();
    let each = allow_clients(1_000) / 4;
    for first in ["", "P", "PRI", "GET /"] {
        for _ in 0..each {
            let mut socket = TcpStream::connect(server.address()).await.unwrap();
            socket.write_all(first.as_bytes()).await.unwrap();
            waiting.push(socket);
        }
    }
    let all = f64::from(u32::try_from(waiting.len()).unwrap());
    eventually("all are accepted", async || {
        server.metric("rejoin_client_connections").await > Some(all)
    })
    .await;
    let before = server.processor_ticks();
    // The time that is measured.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = server.processor_ticks() - before;
    assert!(used < 30, "{used} hundredths of a second within 3 s");
}
