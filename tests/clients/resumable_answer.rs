//! The example of `examples/resumable-answer` does what it says, in Chromium.

use std::{path::Path, process::Stdio};

use rejoin_test_support::{EventClient, Seen, TestServer, soon};
use serde_json::Value;
use tokio::process::Command;
use uuid::Uuid;

use crate::clients::folder::ServedFolder;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Lets the example's model speak, and its page do these steps; gives what the page showed, and
/// what was kept of the answer.
async fn show(words_per_second: &str, steps: &[&str]) -> (Vec<Value>, String) {
    let id = Uuid::new_v4().to_string();
    let example = format!("{ROOT}/examples/resumable-answer");
    let site = ServedFolder::start(Path::new(&example)).await;
    let server = TestServer::start(&format!("server.cors_origins = [\"{}\"]", site.origin())).await;
    let mut model = Command::new(format!("{example}/speak.sh"));
    model
        .arg(&id)
        .env("REJOIN", env!("CARGO_BIN_EXE_rejoin"))
        .env("REJOIN_URL", server.url(""))
        .env("WORDS_PER_SECOND", words_per_second);
    let model = model.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let message = server.url(&format!("/api/messages/{id}"));
    rejoin_test_support::eventually("the message", async || {
        reqwest::get(&message).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let url = format!("{}/index.html?message={id}&server={}", site.origin(), server.url(""));
    let mut page = Command::new("node");
    page.current_dir(format!("{ROOT}/tests/clients"))
        .arg("resumable.mjs")
        .arg(&url)
        .arg(&shots)
        .args(steps);
    let output = soon("the page", page.kill_on_drop(true).output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut reader = EventClient::new(format!("{message}/events"));
    soon(
        "the end",
        reader.follow_until(
            |seen| matches!(seen.last(), Some(Seen::Event(_, event)) if event["type"] == "end"),
        ),
    )
    .await;
    let kept = reader
        .seen
        .iter()
        .filter_map(
            |seen| if let Seen::Event(_, event) = seen { event["text"].as_str() } else { None },
        )
        .collect();
    drop(model);
    (shown, kept)
}

#[tokio::test]
async fn a_reload_in_the_middle_loses_and_doubles_nothing() {
    let steps = [
        "text:100",
        "shot:streaming",
        "reload",
        "text:300",
        "dark",
        "shot:resumed-dark",
        "reload",
        "over",
        "reload",
        "over",
    ];
    let (shown, kept) = show("60", &steps).await;
    for step in &shown {
        let text = step["text"].as_str().unwrap();
        assert!(kept.starts_with(text), "at {}: {text:?}", step["step"]);
    }
    let over = shown.last().unwrap();
    assert_eq!(
        (&over["text"], &over["status"]),
        (&Value::from(kept), &Value::from("The answer is complete."))
    );
}

#[tokio::test]
async fn the_button_stops_the_answer_with_what_was_said() {
    // The whole answer takes a minute: it is not over before a slow browser has opened the page.
    let (shown, kept) =
        show("4", &["text:60", "stop", "over", "shot:stopped", "reload", "over"]).await;
    let over = shown.last().unwrap();
    assert_eq!(
        (&over["text"], &over["status"]),
        (&Value::from(kept.as_str()), &Value::from("Stopped."))
    );
    assert!(
        kept.len() >= 60 && !kept.contains("paragraph 6"),
        "it was stopped before its end: {kept:?}"
    );
}
