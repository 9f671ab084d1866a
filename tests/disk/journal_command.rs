//! `rejoin journal` over stores on disk, and what a running server exports by itself.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use rejoin_test_support::{Connection, ServerProcess, soon};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::{crash::read_all, open, released, serve};

async fn run(path: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    command
        .arg("journal")
        .args(arguments)
        .env("REJOIN_DISK__PATH", path)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    soon("the command's end", command.output()).await.unwrap()
}

/// What a command that succeeds prints.
async fn said(path: &Path, arguments: &[&str]) -> String {
    let output = run(path, arguments).await;
    let (out, err) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    out
}

/// What a command that fails says.
async fn complaint(path: &Path, arguments: &[&str]) -> String {
    let output = run(path, arguments).await;
    assert!(!output.status.success(), "{arguments:?} succeeded");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn url(server: &ServerProcess, path: &str) -> String {
    format!("http://{}{path}", server.address())
}

async fn publish(server: &ServerProcess, number: u32) -> String {
    let body = json!({ "user_id": "local", "type": "number", "payload": number });
    let answer =
        reqwest::Client::new().post(url(server, "/api/events")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

async fn kill(server: ServerProcess, path: &Path) {
    server.signal("KILL").await;
    server.ended().await;
    released(path).await;
}

/// A store with five events and a message, its server still running.
async fn filled(path: &Path) -> (ServerProcess, Vec<String>) {
    let server = serve(path, &[]).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(publish(&server, number).await);
    }
    let (client, message) = (
        reqwest::Client::new(),
        url(&server, "/api/messages/67e55044-10b1-426f-9247-bb680e5fe0c8"),
    );
    assert_eq!(
        client.put(&message).json(&json!({ "user_id": "local" })).send().await.unwrap().status(),
        201
    );
    for event in [
        json!({ "type": "chunk", "payload": { "text": "a" } }),
        json!({ "type": "end", "payload": {} }),
    ] {
        assert_eq!(
            client.post(format!("{message}/events")).json(&event).send().await.unwrap().status(),
            201
        );
    }
    (server, ids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_exports_and_a_client_goes_on_at_the_store_that_imports() {
    let folder = TempDir::new().unwrap();
    let (path, other, file) = (
        folder.path().join("one"),
        folder.path().join("other"),
        folder.path().join("backup.ndjson"),
    );
    let (server, ids) = filled(&path).await;
    let busy = complaint(&path, &["export"]).await;
    assert!(
        busy.contains("is in use by another process") && busy.contains("GET /api/admin/export"),
        "{busy}"
    );
    let export = reqwest::get(url(&server, "/api/admin/export")).await.unwrap();
    assert_eq!(
        (export.status().as_u16(), &export.headers()["content-type"]),
        (200, &"application/x-ndjson".parse().unwrap())
    );
    fs::write(&file, export.bytes().await.unwrap()).unwrap();
    kill(server, &path).await;

    let file = file.to_str().unwrap();
    let imported = said(&other, &["import", file]).await;
    assert!(
        imported.contains("1 topics with their ids") && imported.contains("1 messages"),
        "{imported}"
    );
    assert!(
        said(&other, &["verify"])
            .await
            .ends_with("1 topics with 5 entries, 1 messages with 2 events: all whole\n")
    );
    let stats: Value = serde_json::from_str(&said(&other, &["stats", "--json"]).await).unwrap();
    assert_eq!(
        (&stats["topics"], &stats["entries"], &stats["message_events"]),
        (&json!(1), &json!(5), &json!(2))
    );
    assert!(stats["disk_table_bytes"].as_u64().unwrap() > 0);
    assert!(said(&other, &["compact"]).await.contains("bytes now"));
    // Once more it changes nothing.
    assert!(said(&other, &["import", file]).await.contains("1 topics with their ids"));
    // What both export is the same, but for the time.
    let lines = |text: String| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(said(&other, &["export"]).await), lines(fs::read_to_string(file).unwrap()));

    let server = serve(&other, &[]).await;
    let mut client = Connection::open(&url(&server, "/api/events"), Some(&ids[1])).await;
    let next = publish(&server, 5).await;
    for id in [&ids[2], &ids[3], &ids[4], &next] {
        assert_eq!(client.event().await.0.as_ref(), Some(id));
    }
    kill(server, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_whole_export_is_told_and_memory_is_refused() {
    let folder = TempDir::new().unwrap();
    let (path, file) = (folder.path().join("one"), folder.path().join("backup.ndjson"));
    let (server, _) = filled(&path).await;
    kill(server, &path).await;
    let export = said(&path, &["export"]).await;
    let file_name = file.to_str().unwrap();
    let into = |name: &str| folder.path().join(name);
    let whole: Vec<&str> = export.lines().collect();
    fs::write(&file, whole[..3].join("\n")).unwrap();
    assert!(complaint(&into("cut"), &["import", file_name]).await.contains("it was cut short"));
    let without_an_entry: Vec<&str> =
        whole.iter().enumerate().filter(|(place, _)| *place != 3).map(|(_, line)| *line).collect();
    fs::write(&file, without_an_entry.join("\n")).unwrap();
    assert!(
        complaint(&into("lacking"), &["import", file_name])
            .await
            .contains("the export is not whole")
    );
    fs::write(&file, "{\"export_format\":2,\"exported_at\":\"2026-11-27T10:00:00Z\"}\n").unwrap();
    assert!(
        complaint(&into("newer"), &["import", file_name])
            .await
            .contains("line 1: the export has format 2")
    );
    let mut memory = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    memory
        .args(["journal", "stats"])
        .env("REJOIN_EVENTS__BACKEND", "memory")
        .env("REJOIN_DISK__PATH", into("none"));
    let refused = memory.output().await.unwrap();
    assert!(
        !refused.status.success()
            && String::from_utf8_lossy(&refused.stderr).contains("events.backend is \"memory\"")
    );
}

/// Each byte that is flipped in one place of the table is told: the store is not opened, or
/// `verify` names what is damaged; or it lies where nothing is kept, and nothing is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_a_flipped_byte_of_the_table_is_never_passed_over_in_silence() {
    let folder = TempDir::new().unwrap();
    let (server, _) = filled(folder.path()).await;
    kill(server, folder.path()).await;
    {
        let disk = open(folder.path()).await;
        disk.checkpoint().await.unwrap();
    }
    released(folder.path()).await;
    let table = folder.path().join("rejoin.redb");
    let whole = fs::read(&table).unwrap();
    let (mut refused, mut told, mut harmless) = (0, 0, 0);
    for place in (0..whole.len()).step_by(whole.len() / 60) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        fs::write(&table, &damaged).unwrap();
        let output = run(folder.path(), &["verify"]).await;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            assert!(
                out.contains("1 topics with 5 entries, 1 messages with 2 events: all whole"),
                "byte {place}: {out}{err}"
            );
            harmless += 1;
        } else if out.contains("the store: ") {
            told += 1;
        } else {
            assert!(
                err.contains("damaged") || err.contains("can't be opened"),
                "byte {place}: {out}{err}"
            );
            refused += 1;
        }
        fs::write(&table, &whole).unwrap();
    }
    println!("{refused} refused, {told} told, {harmless} harmless");
    assert!(told + refused > 0);
    assert_eq!(read_all(&open(folder.path()).await.ports().journal, "local").await.len(), 5);
}
