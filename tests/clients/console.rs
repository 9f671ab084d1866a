//! The console does what it says, in Chromium, by keyboard alone. `console.mjs` says what the steps
//! mean.

use std::path::Path;

use rejoin_test_support::{Connection, TestServer, soon};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::clients::token;

const HOSTILE: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>";

/// Lets a Chromium take these steps, and gives what those that ask were answered. It fails over
/// whatever the page's own script does wrong.
async fn run(console: &str, steps: &[Value]) -> Vec<Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let mut node = Command::new("node");
    node.current_dir(directory)
        .arg("console.mjs")
        .arg(console)
        .arg(&shots)
        .args(steps.iter().map(Value::to_string));
    let output = soon("the browser", node.kill_on_drop(true).output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn press(key: &str) -> Value {
    json!({ "press": key })
}

fn tab(name: &str) -> Value {
    json!({ "tab": name })
}

fn types(text: &str) -> Value {
    json!({ "type": text })
}

fn see(selector: &str, text: &str) -> Value {
    json!({ "see": [selector, text] })
}

fn shot(name: &str) -> Value {
    json!({ "shot": format!("console-{name}") })
}

/// Publishes as an application would.
async fn publish(server: &TestServer, user: &str, event_type: &str, payload: &Value) {
    let (status, _) = server.post(&json!({ "user_id": user, "type": event_type, "payload": payload, "scope": { "kind": "order" } })).await;
    assert_eq!(status, 201);
}

#[tokio::test]
async fn an_operator_looks_at_a_user_and_sees_a_test_event_arrive() {
    let server = TestServer::start("").await;
    for number in 1..=7 {
        publish(
            &server,
            "ada",
            "source.ingest.progress",
            &json!({ "file": format!("report-{number}.pdf"), "pages": number }),
        )
        .await;
    }
    publish(&server, "ada", "security.alert", &json!({ "text": HOSTILE })).await;
    let mut theirs = Connection::open(&server.url("/api/events"), None).await;
    theirs.expect().await;
    let message = Uuid::new_v4();
    let opened = Client::new()
        .put(server.url(&format!("/api/messages/{message}")))
        .json(&json!({ "user_id": "ada" }))
        .send()
        .await;
    assert_eq!(opened.unwrap().status(), 201);
    let steps = [
        json!({ "run": "decoder" }),
        see("#health", "Serving"),
        see("#connected", "local"),
        shot("empty"),
        press("/"),
        types("ada"),
        press("Enter"),
        see("#backlog-range", "1–8 of 8"),
        json!({ "focus": true }),
        tab("Begin"),
        press("ArrowDown"),
        tab("Start"),
        press("Enter"),
        see("#tail-state", "Live"),
        see("#tail", HOSTILE),
        tab("Payload, any JSON"),
        press("Control+A"),
        types("{\"n\": 12345678901234567890, "),
        see("#event-problem", "Not JSON yet"),
        types("\"done\": 1.0}"),
        press("Control+Enter"),
        see("#event-receipt", "Published as"),
        see("#tail", "{\"n\":12345678901234567890,\"done\":1.0}"),
        see("#backlog-range", "1–9 of 9"),
        tab("Message id"),
        types(&message.to_string()),
        press("Enter"),
        see("#message", "streaming"),
        json!({ "text": "#tail-count" }),
        json!({ "count": "#user img, #user script" }),
        json!({ "text": "#connections" }),
        json!({ "text": "#replays" }),
        shot("light"),
        json!({ "dark": true }),
        shot("dark"),
        json!({ "width": 400 }),
        json!({ "run": "overflow" }),
        shot("dark-narrow"),
        json!({ "dark": false }),
        shot("light-narrow"),
    ];
    let said = run(&server.url("/console"), &steps).await;
    let [decoded, focused, count, elements, connections, replays, overflow] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(decoded.as_array().map(Vec::len), Some(6), "{decoded}");
    assert_eq!(focused, "ada", "who opens a user by keyboard is taken there");
    assert_eq!(count, "9 events.");
    assert_eq!(elements, 0, "what an event holds is text");
    assert_eq!(
        (connections, replays),
        (&json!("0 of 8"), &json!("30 of 30")),
        "looking costs nothing"
    );
    assert_eq!(overflow, 0);
    // The payload went as it was typed.
    let kept = reqwest::get(server.url("/api/admin/users/ada/events"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(kept.contains("{\"n\": 12345678901234567890, \"done\": 1.0}"), "{kept}");
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_asked_for_and_truncation_is_shown_plainly() {
    let server = TestServer::start("").await;
    for number in 0..30 {
        publish(&server, "ada", "step", &json!(number)).await;
    }
    let url = format!("{}#user=ada", server.url("/console"));
    let mut steps = vec![
        see("#backlog-range", "1–25 of 30"),
        tab("Start"),
        press("Enter"),
        see("#tail-state", "Live"),
    ];
    steps.extend([
        press("Enter"),
        see("#tail-state", "Stopped"),
        json!({ "text": "#tail-from option:checked" }),
    ]);
    steps.extend([
        tab("Next"),
        press("Enter"),
        see("#backlog-range", "26–30 of 30"),
        json!({ "back": "Previous" }),
        press("Enter"),
    ]);
    steps.extend([see("#backlog-range", "1–25 of 30"), json!({ "focus": true })]);
    // What the tail has not seen when it is purged.
    steps.extend([
        json!({ "back": "Payload, any JSON" }),
        press("Control+Enter"),
        see("#backlog-length", "31"),
    ]);
    // Escape means no, and so does Enter at once.
    let ask = [press("Enter"), see("#confirm-text", "31 events of ada")];
    steps.push(json!({ "back": "Purge backlog" }));
    steps.extend(ask.clone());
    steps.extend([
        shot("confirm"),
        press("Escape"),
        json!({ "focus": true }),
        json!({ "text": "#backlog-length" }),
    ]);
    steps.extend(ask.clone());
    steps.extend([press("Enter"), json!({ "text": "#backlog-length" })]);
    steps.extend(ask);
    steps.extend([
        tab("Purge it"),
        press("Enter"),
        see("#user-word", "The backlog was purged."),
        see("#backlog-empty", "Nothing is"),
    ]);
    // The tail goes on where it stopped, and what lies between is gone.
    steps.extend([
        tab("Payload, any JSON"),
        press("Control+Enter"),
        see("#backlog-range", "1–1 of 1"),
        json!({ "back": "Start" }),
    ]);
    steps.extend([
        press("Enter"),
        see("#tail .notice", "Events are missing here."),
        see("#tail-count", "1 event."),
        shot("truncated"),
    ]);
    // Tab stops once at the events, and the arrow keys do the rest.
    steps.extend([
        press("Tab"),
        press("Enter"),
        see("#tail pre", "hello"),
        press("Tab"),
        json!({ "focus": true }),
    ]);
    let said = run(&url, &steps).await;
    assert_eq!(said, ["where it stopped", "Previous", "Purge backlog", "31", "31", "Type"]);
}

#[tokio::test]
async fn a_tail_comes_back_by_itself_and_only_the_last_rows_are_kept() {
    let settings = "sse.retry_ms = 20\nevents.replay_max_per_request = 100";
    let server = TestServer::start(settings).await;
    for number in 1..=450 {
        publish(&server, "ada", "step", &json!(number)).await;
    }
    let steps = [
        see("#backlog-range", "of 450"),
        tab("Begin"),
        press("ArrowDown"),
        tab("Start"),
        press("Enter"),
        see("#tail-count", "450 events; the last 300 are shown."),
        json!({ "count": "#tail > li" }),
        json!({ "text": "#tail > li:first-child .line" }),
        press("Tab"),
        press("Home"),
        press("ArrowDown"),
        press("Enter"),
        see("#tail pre", "152"),
        tab("Payload, any JSON"),
        press("Control+Enter"),
        see("#tail", "console.test"),
        see("#tail-count", "451 events"),
    ];
    let said = run(&format!("{}#user=ada", server.url("/console")), &steps).await;
    assert_eq!(said, [json!(300), json!("151")]);
    // Each connection got 100 of them at most, and the page came back for the next.
    assert_eq!(server.metric(r#"rejoin_replays_total{channel="user"}"#).await, Some(5.0));
}

#[tokio::test]
async fn every_user_id_can_be_looked_at_and_acted_on() {
    let server = TestServer::start("").await;
    let longest = "../?user_id=x&y=%2e#+;".repeat(12)[..256].to_owned();
    let ids = [".", "..", "a/b", "%2e", "a?b#c", "\\", "..\\x", "a b", "+", "😀", &longest];
    for id in ids {
        publish(&server, id, "step", &json!(1)).await;
        let mut steps = vec![see("#health", "Serving")];
        steps.extend([
            press("/"),
            types(id),
            press("Enter"),
            json!({ "exact": ["#user-title", id] }),
            see("#backlog-range", "1–1 of 1"),
        ]);
        steps.extend([
            tab("Begin"),
            press("ArrowDown"),
            tab("Start"),
            press("Enter"),
            see("#tail-count", "1 event."),
        ]);
        steps.extend([
            tab("Payload, any JSON"),
            press("Control+Enter"),
            see("#event-receipt", "Published as"),
            see("#tail-count", "2 events."),
        ]);
        steps.extend([
            json!({ "back": "Close connections" }),
            press("Enter"),
            tab("Close them"),
            press("Enter"),
        ]);
        steps.push(see("#user-word", "0 connections closed."));
        steps.extend([
            json!({ "back": "Purge backlog" }),
            press("Enter"),
            tab("Purge it"),
            press("Enter"),
        ]);
        steps.extend([see("#user-word", "The backlog was purged."), see("#backlog-length", "0")]);
        run(&server.url("/console"), &steps).await;
    }
    let request = |id: &str| {
        reqwest::Url::parse_with_params(&server.url("/api/admin/user"), [("user_id", id)]).unwrap()
    };
    for id in ids {
        let state: Value = reqwest::get(request(id)).await.unwrap().json().await.unwrap();
        assert_eq!((&state["user_id"], &state["backlog_length"]), (&json!(id), &json!(0)));
    }
}

#[tokio::test]
async fn a_token_is_asked_for_and_one_without_the_scope_is_refused() {
    let server =
        TestServer::start(&format!("server.ops_listen = \"127.0.0.1:0\"\n{}", token::settings()))
            .await;
    let steps = [
        see("#sign-in", "A token, please"),
        shot("sign-in"),
        json!({ "focus": true }),
        types(&token::of("ada")),
        press("Enter"),
        see("#sign-in-problem", "lack the scope `admin`"),
        types("no token at all"),
        press("Enter"),
        see("#sign-in-problem", "not acceptable"),
        types(&token::operator()),
        press("Enter"),
        see("#health", "Serving"),
        // It is kept for the tab, and the page's address is.
        press("/"),
        types("ada"),
        press("Enter"),
        see("#user-title", "ada"),
        json!({ "reload": true }),
        see("#user-title", "ada"),
        tab("Start"),
        press("Enter"),
        see("#tail-state", "Live"),
        json!({ "back": "Forget token" }),
        press("Enter"),
        see("#sign-in", "A token, please"),
        json!({ "text": "#health" }),
        json!({ "count": "#tail li, #backlog tr" }),
    ];
    let said = run(&server.ops_url("/console"), &steps).await;
    assert_eq!(said, [json!("Token"), json!("Needs a token"), json!(0)]);
}
