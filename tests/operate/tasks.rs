//! Background tasks that fail: the process says so, drains, and exits with a failure (promise 10).

use std::collections::BTreeSet;

use futures_util::future::join_all;
use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{
    Connection, NatsServer, PostgresServer, RedisServer, ServerProcess, eventually, soon,
};

/// The vital tasks, as an operator's page lists them.
const PAGE: &str = include_str!("../../docs/operations/tasks.md");

/// How a task can fail.
const FAULTS: [&str; 2] = ["panic", "end"];

/// What a process is started with to use a backend for everything.
fn on(backend: &str, url: Option<String>) -> Vec<(String, String)> {
    let sections = ["EVENTS", "MESSAGES", "LIMITS"]
        .map(|section| (format!("REJOIN_{section}__BACKEND"), backend.to_owned()));
    let url = url.map(|url| (format!("REJOIN_{}__URL", backend.to_uppercase()), url));
    sections.into_iter().chain(url).collect()
}

async fn start(environment: &[(String, String)], more: &[(&str, &str)]) -> ServerProcess {
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .chain(more.iter().copied())
        .collect();
    ServerProcess::start(env!("CARGO_BIN_EXE_rejoin"), &environment).await
}

/// The vital tasks that a process has started, by its log.
async fn vital_tasks(environment: &[(String, String)]) -> BTreeSet<String> {
    let more = [
        ("REJOIN_LOG__LEVEL", "debug"),
        ("REJOIN_LOG__FORMAT", "json"),
        ("REJOIN_SERVER__OPS_LISTEN", "127.0.0.1:0"),
    ];
    let process = start(environment, &more).await;
    // The last one to begin is a listener.
    eventually("the last task", async || process.log().contains("\"operators listener\"")).await;
    let lines = process.log();
    let tasks =
        lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let tasks =
        tasks.map(|line| line["fields"].clone()).filter(|fields| fields["is_vital"] == true);
    tasks.map(|fields| fields["task"].as_str().unwrap().to_owned()).collect()
}

/// The names in the page's table, of tasks with a backend or of those that every process has.
fn listed(backend: &str) -> BTreeSet<String> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let is_of_backend = |name: &str| {
        ["disk ", "redis ", "nats ", "postgres "].iter().any(|backend| name.starts_with(backend))
    };
    let names = rows.map(|(name, _)| name.to_owned());
    names.filter(|name| name.starts_with(&format!("{backend} ")) || !is_of_backend(name)).collect()
}

/// Has one task fail while a client is connected.
async fn fail(environment: Vec<(String, String)>, task: String, fault: &'static str) {
    let wanted = format!("{task}:{fault}");
    let more = [
        ("REJOIN_TEST_FAIL_TASK", &*wanted),
        ("REJOIN_SERVER__DRAIN_SECONDS", "3"),
        ("REJOIN_SERVER__OPS_LISTEN", "127.0.0.1:0"),
        // All of them count the connections of one user.
        ("SSE_MAX_CONCURRENT_PER_USER", "0"),
    ];
    let process = start(&environment, &more).await;
    let mut stream =
        Connection::open(&format!("http://{}/api/events", process.address()), None).await;
    stream.expect().await;
    process.signal("USR1").await;
    eventually("a line that names the task", async || {
        process.log().lines().any(|line| {
            line.contains("a background task failed") && line.contains(&format!("task=\"{task}\""))
        })
    })
    .await;
    let rest = soon("the stream's end", stream.rest()).await;
    let farewell = rest
        .iter()
        .any(|decoded| matches!(decoded, Decoded::Comment(comment) if comment == "draining"));
    assert!(farewell, "{wanted}: its client was not asked to reconnect: {rest:?}");
    let status = process.ended().await;
    assert_eq!(status.code(), Some(1), "{wanted}");
}

async fn fail_each(
    backend: &str,
    environment: Vec<(String, String)>,
    meant: impl Fn(&str) -> bool,
) {
    assert_eq!(
        vital_tasks(&environment).await,
        listed(backend),
        "docs/operations/tasks.md lists the vital tasks"
    );
    let tasks = listed(backend).into_iter().filter(|task| meant(task));
    let failing =
        tasks.flat_map(|task| FAULTS.map(|fault| fail(environment.clone(), task.clone(), fault)));
    join_all(failing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_10_a_vital_task_that_fails_takes_the_process_with_it() {
    fail_each("memory", on("memory", None), |_| true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_10_a_vital_task_of_the_disk_that_fails_takes_the_process_with_it() {
    let environment = |path: &std::path::Path| {
        let settings = [
            ("REJOIN_EVENTS__BACKEND", "disk"),
            ("REJOIN_MESSAGES__BACKEND", "disk"),
            ("REJOIN_DISK__PATH", path.to_str().unwrap()),
        ];
        settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    };
    // Each process has a directory of its own.
    let folder = || tempfile::TempDir::new().unwrap();
    let listing = folder();
    assert_eq!(
        vital_tasks(&environment(listing.path())).await,
        listed("disk"),
        "docs/operations/tasks.md lists the vital tasks"
    );
    let folders: Vec<_> = listed("disk")
        .into_iter()
        .filter(|task| task.starts_with("disk "))
        .map(|task| (task, folder()))
        .collect();
    join_all(
        folders
            .iter()
            .map(|(task, folder)| fail(environment(folder.path()), task.clone(), FAULTS[0])),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_10_a_vital_task_of_redis_that_fails_takes_the_process_with_it() {
    let server = RedisServer::start().await;
    fail_each("redis", on("redis", Some(server.url())), |task| task.starts_with("redis ")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_10_a_vital_task_of_nats_that_fails_takes_the_process_with_it() {
    let server = NatsServer::start().await;
    fail_each("nats", on("nats", Some(server.url())), |task| task.starts_with("nats ")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_10_a_vital_task_of_postgres_that_fails_takes_the_process_with_it() {
    let server = PostgresServer::start().await;
    fail_each("postgres", on("postgres", Some(server.url())), |task| task.starts_with("postgres "))
        .await;
}

/// A load balancer sends nothing more to a process that has lost a task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_10_a_process_that_lost_a_task_is_not_ready() {
    let more =
        [("REJOIN_TEST_FAIL_TASK", "hub listener:panic"), ("REJOIN_SERVER__DRAIN_SECONDS", "20")];
    let process = start(&on("memory", None), &more).await;
    // A stream keeps the drain from being over at once.
    let _stream = Connection::open(&format!("http://{}/api/events", process.address()), None).await;
    let ready = || async {
        let response = reqwest::get(format!("http://{}/readyz", process.address())).await;
        response.map(|response| response.status().as_u16())
    };
    assert_eq!(ready().await.unwrap(), 200);
    process.signal("USR1").await;
    eventually("a 503", async || ready().await.is_ok_and(|status| status == 503)).await;
    assert_eq!(
        process.metric("rejoin_task_failures_total{task=\"hub listener\"}").await,
        Some(1.0)
    );
}
