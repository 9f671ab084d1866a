//! The log of a server: its two lines about a stream, and that no id can forge anything in them.

use rejoin::{
    domain::access::Scope,
    testing::{SECRET, token},
};
use rejoin_test_support::Connection;
use reqwest::Client;
use serde_json::{Map, Value, json};

use crate::cli::program::{Running, command};

/// User ids that pass for something else in a log that writes them as they are.
const HOSTILE: [&str; 14] = [
    "u1",
    "x reason=\"drained\" user=admin",
    "x\" user=\"admin",
    "a\u{2028}2026-01-01T00:00:00Z ERROR forged: user=admin",
    "\u{202e}nimda",
    "a\u{2066}b\u{200f}c",
    "\\u202e",
    "\\",
    "=",
    " ",
    "request{id=\"1\"}: forged",
    "日本 😀",
    "\"quoted\"",
    "..",
];

fn server(settings: &[(&str, &str)]) -> Running {
    let mut command = command(&["serve", "--memory"]);
    command
        .env("REJOIN_SERVER__LISTEN", "127.0.0.1:0")
        .env("REJOIN_AUTH__MODE", "jwt")
        .env("REJOIN_AUTH__JWT__SECRET", SECRET);
    command.envs(settings.iter().copied());
    Running::of(&mut command)
}

/// Opens a stream and leaves it, with a request id of its own.
async fn visit(url: &str, token: &str, request_id: &str, cursor: &str) {
    let request = Client::new()
        .get(url)
        .bearer_auth(token)
        .header("x-request-id", request_id)
        .header("last-event-id", cursor);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    Connection::of(response).expect().await;
}

/// A line taken apart: its message and its fields, as strings.
fn fields_of_text(line: &str) -> (String, Map<String, Value>) {
    let (_, rest) = line.split_once(": ").unwrap();
    // The span of a request stands before the name of the module.
    let mut rest =
        if line.contains(" request{id=") { rest.split_once(": ").unwrap().1 } else { rest };
    let message_ends =
        rest.find('=').map_or(rest.len(), |equals| rest[..equals].rfind(' ').unwrap());
    let message = rest[..message_ends].to_owned();
    rest = &rest[message_ends..];
    let mut fields = Map::new();
    while let Some(field) = rest.strip_prefix(' ') {
        let (name, value) = field.split_once('=').unwrap();
        let value_ends = if value.starts_with('"') {
            let mut strings = serde_json::Deserializer::from_str(value).into_iter::<String>();
            fields.insert(name.to_owned(), strings.next().unwrap().unwrap().into());
            strings.byte_offset()
        } else {
            let ends = value.find(' ').unwrap_or(value.len());
            fields.insert(name.to_owned(), value[..ends].into());
            ends
        };
        rest = &value[value_ends..];
    }
    assert_eq!(rest, "", "{line}");
    (message, fields)
}

fn fields_of_json(line: &str) -> (String, Map<String, Value>) {
    let line: Value = serde_json::from_str(line).unwrap();
    let mut fields = line["fields"].as_object().unwrap().clone();
    let Some(Value::String(message)) = fields.remove("message") else { panic!("{line}") };
    (message, fields)
}

/// The fields of a user's line with that message; there is one.
fn line_of<'a>(
    lines: &'a [(String, Map<String, Value>)],
    message: &str,
    request_id: &str,
) -> &'a Map<String, Value> {
    let mut found = lines.iter().filter(|(said, fields)| {
        said == message && fields.get("request_id") == Some(&json!(request_id))
    });
    let (_, fields) =
        found.next().unwrap_or_else(|| panic!("no line {message:?} of {request_id}: {lines:?}"));
    assert!(found.next().is_none(), "two lines {message:?} of {request_id}");
    fields
}

async fn check(format: &str, fields_of: fn(&str) -> (String, Map<String, Value>)) {
    let server = server(&[("REJOIN_LOG__FORMAT", format)]);
    let url = format!("http://{}/api/events", server.address().await);
    for (n, user) in HOSTILE.iter().enumerate() {
        visit(&url, &token(Some(user), &[]), &format!("r{n}"), "0").await;
    }
    server.signal("TERM").await;
    let log = server.ended().await.err;
    let harmful = |char: char| {
        char != '\n' && (char.is_control() || "\u{2028}\u{202e}\u{2066}\u{200f}".contains(char))
    };
    assert!(!log.contains(harmful), "{log:?}");
    let lines: Vec<_> = log.lines().map(fields_of).collect();
    assert_eq!(
        lines.iter().filter(|(message, _)| message.starts_with("stream")).count(),
        2 * HOSTILE.len(),
        "{log}"
    );
    for (n, user) in HOSTILE.iter().enumerate() {
        let (opened, over) = (
            line_of(&lines, "stream opened", &format!("r{n}")),
            line_of(&lines, "stream over", &format!("r{n}")),
        );
        let request_id = format!("r{n}");
        let expected = json!({
            "channel": "user", "user": user, "reader": "client", "topic": format!("user:{user}"), "cursor": "oldest",
            "format": "envelope", "categories": "all", "request_id": request_id,
        });
        assert_eq!(&Value::Object(opened.clone()), &expected);
        let mut names: Vec<&str> = over.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["channel", "deliveries", "reader", "reason", "request_id", "seconds", "topic", "user"]
        );
        assert_eq!((&over["user"], &over["topic"]), (&json!(user), &json!(format!("user:{user}"))));
    }
}

#[tokio::test]
async fn no_user_id_forges_anything_in_a_line_of_text() {
    check("text", fields_of_text).await;
}

#[tokio::test]
async fn no_user_id_forges_anything_in_a_line_of_json() {
    check("json", fields_of_json).await;
}

#[tokio::test]
async fn a_stream_has_a_line_when_it_opens_that_says_what_was_asked_for() {
    let server = server(&[]);
    let url = format!("http://{}", server.address().await);
    visit(
        &format!("{url}/api/v1/events?categories=import,ai"),
        &token(Some("u1"), &[]),
        "one",
        "7-1",
    )
    .await;
    visit(
        &format!("{url}/api/admin/users/u2/events/stream"),
        &token(None, &[Scope::Admin]),
        "two",
        "null",
    )
    .await;
    let message = format!("{url}/api/messages/{}", uuid::Uuid::nil());
    let open = Client::new()
        .put(&message)
        .bearer_auth(token(None, &[Scope::MessagesPublish]))
        .json(&json!({ "user_id": "u3" }));
    assert_eq!(open.send().await.unwrap().status(), 201);
    visit(&format!("{message}/events"), &token(Some("u3"), &[]), "three", "").await;
    // What is refused is not opened.
    let refused = Client::new()
        .get(format!("{url}/api/events?categories=none"))
        .bearer_auth(token(Some("u4"), &[]))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 400);
    server.signal("TERM").await;
    let log = server.ended().await.err;
    let lines: Vec<_> = log.lines().map(fields_of_text).collect();
    let opened = lines.iter().filter(|(message, _)| message == "stream opened");
    let said: Vec<_> = opened
        .map(|(_, fields)| {
            let of = |name: &str| fields[name].as_str().unwrap().to_owned();
            [
                of("request_id"),
                of("reader"),
                of("user"),
                of("topic"),
                of("cursor"),
                of("format"),
                of("categories"),
            ]
            .join(" ")
        })
        .collect();
    let expected = [
        "one client u1 user:u1 7-1 named ai,import",
        "two operator u2 user:u2 unreadable envelope all",
        "three client u3 message:00000000-0000-0000-0000-000000000000 oldest payload all",
    ];
    assert_eq!(said, expected);
}
