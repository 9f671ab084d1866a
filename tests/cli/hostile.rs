//! A server that means harm: nothing that it sends crashes the client, grows it, or reaches the
//! terminal.

use crate::cli::{
    program::{Finished, Running},
    scripted_server::{STREAM, ScriptedServer, answer},
};

/// What one client may take of an endless answer, and of memory, at the most. Both are far above
/// what it should take, and far below what it would take without a bound.
const TAKEN_MAX: usize = 64 * 1024 * 1024;
const MEMORY_KIB_MAX: u64 = 160 * 1024;

/// Everything that a terminal would obey, as it is.
const HARMFUL: &str =
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{8}\u{7f}\u{9b}31m\u{90}\u{202e}\u{2066}\u{2028}\u{85}";

/// The same as a JSON string has it.
fn escaped() -> String {
    let escape = |char: char| {
        if char.is_ascii_graphic() {
            char.to_string()
        } else {
            format!("\\u{:04x}", u32::from(char))
        }
    };
    HARMFUL.chars().map(escape).collect()
}

#[track_caller]
fn assert_harmless(finished: &Finished) {
    for text in [&finished.out, &finished.err] {
        let harmful = |char: char| {
            char != '\n' && (char.is_control() || HARMFUL.contains(char) && !char.is_ascii())
        };
        assert!(!text.contains(harmful), "{text:?}");
    }
    assert!(!finished.err.contains("panicked"), "{}", finished.err);
}

#[tokio::test]
async fn nothing_that_a_terminal_obeys_is_written() {
    for json in [false, true] {
        let server = ScriptedServer::start().await;
        let url = server.url();
        let mut arguments = vec!["tail", "--url", &url, "--count", "2"];
        arguments.extend(json.then_some("--json"));
        let tail = Running::start(&arguments);
        let mut visit = server.visit().await;
        // Once as escapes in JSON, and once as it is, where JSON lets it through.
        let as_is: String = HARMFUL.chars().filter(|char| u32::from(*char) >= 0x7f).collect();
        let escaped = escaped();
        visit.send(STREAM).await;
        for text in [escaped, as_is] {
            let fields = format!(
                "\"type\":\"{text}\",\"ts\":\"{text}\",\"category\":\"{text}\",\"payload\":\"{text}\""
            );
            visit
                .send(format!("event: {text}\nid: 1{text}\ndata: {{{fields},\"scope\":{{\"kind\":\"{text}\",\"id\":\"{text}\"}}}}\n\n"))
                .await;
        }
        let finished = tail.ended().await;
        assert_eq!(finished.lines().len(), 2);
        assert!(
            finished.out.contains("\\u001b[2J")
                && finished.out.contains("\\u009b31m")
                && finished.out.contains("\\u202e")
        );
        assert_harmless(&finished);
    }
}

#[tokio::test]
async fn messages_are_disarmed_too() {
    let server = ScriptedServer::start().await;
    let tail = Running::start(&["tail", "--url", &server.url()]);
    // A comment is the reason of a stream's end, an id is in the last message, a message in the
    // error.
    server
        .visit()
        .await
        .send(format!("{STREAM}id: 1;{HARMFUL}\n\n: because of {HARMFUL}\n\n"))
        .await;
    let mut visit = server.visit().await;
    assert!(!visit.request.contains("last-event-id"), "such an id is no cursor");
    let escaped = escaped();
    visit
        .send(answer(
            "400 Bad Request",
            &format!(r#"{{"message":"{escaped}","code":"{escaped}"}}"#),
        ))
        .await;
    let finished = tail.ended().await;
    finished.assert_failed("(400 \\u001b[2J");
    assert!(finished.err.contains("because of \\u001b[2J"));
    assert_harmless(&finished);

    let publish =
        Running::start(&["publish", "--url", &server.url(), "--user", "u", "--type", "t"]);
    server
        .visit()
        .await
        .send(answer("201 Created", &format!(r#"{{"success":true,"id":"{escaped}"}}"#)))
        .await;
    let finished = publish.ended().await;
    assert_eq!(finished.lines().len(), 1);
    assert_harmless(&finished);
}

#[tokio::test]
async fn promise_7_an_endless_answer_is_not_held() {
    let server = ScriptedServer::start().await;
    let tail = Running::start(&["tail", "--url", &server.url(), "--count", "1"]);
    let megabyte = vec![b'x'; 1024 * 1024];
    for beginning in ["data: ", ": ", "id: ", "event: ", "no colon "] {
        let mut visit = server.visit().await;
        visit.send(format!("{STREAM}{beginning}")).await;
        assert!(visit.send_forever(&megabyte, TAKEN_MAX).await < TAKEN_MAX, "{beginning}");
    }
    let mut visit = server.visit().await;
    visit.send(STREAM).await;
    let lines = "data: and so on\n".repeat(10_000);
    assert!(visit.send_forever(lines.as_bytes(), TAKEN_MAX).await < TAKEN_MAX);
    let mut visit = server.visit().await;
    visit.send("HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
    assert!(visit.send_forever(&megabyte, TAKEN_MAX).await < TAKEN_MAX);
    let mut visit = server.visit().await;
    assert!(tail.memory_kib() < MEMORY_KIB_MAX, "{} KiB", tail.memory_kib());
    visit.send(format!("{STREAM}data: {{\"type\":\"t\"}}\n\n")).await;
    let finished = tail.ended().await;
    assert_eq!(finished.lines(), ["- t"]);
    assert_eq!(
        finished.err.matches("an event is longer than 8 MiB").count(),
        6,
        "{}",
        finished.err
    );
}

#[tokio::test]
async fn rubbish_halves_and_cuts_are_survived() {
    let server = ScriptedServer::start().await;
    let tail = Running::start(&["tail", "--url", &server.url(), "--count", "2"]);
    let chunked =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let rubbish: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let answers: [&[u8]; 10] = [
        b"",
        STREAM.as_bytes(),
        b"HTTP/1.1 200 OK\r\ncontent-type: text/eve",
        &[STREAM.as_bytes(), &rubbish].concat(),
        &[STREAM.as_bytes(), b"id: 7-0\ndata: {\"type\":\"half\""].concat(),
        &[STREAM.as_bytes(), b"id: 7-0\ndata: {\"type\":\"half\"}\n"].concat(),
        &[chunked.as_bytes(), b"10\r\nid: 7-0\ndata: {"].concat(),
        &[chunked.as_bytes(), b"zz\r\nid: 7-0\n"].concat(),
        &[STREAM.as_bytes(), b"data: not JSON\n\ndata: 7\n\ndata: {\"type\":[]}\n\ndata\n\n"].concat(),
        &[STREAM.as_bytes(), b"retry: 99999999999999999999\n\nid: 9-0\ndata: {\"type\":\"one\"}\n\ndata: {\"type\":\"half"].concat(),
    ];
    for answer in answers {
        let mut visit = server.visit().await;
        assert!(!visit.request.contains("last-event-id"), "an unfinished frame is nothing");
        visit.send(answer).await;
    }
    let mut visit = server.visit().await;
    assert!(visit.request.contains("last-event-id: 9-0\r\n"));
    visit.send(format!("{STREAM}data: {{\"type\":\"two\"}}\n\n")).await;
    let finished = tail.ended().await;
    assert_eq!(finished.lines(), ["- one", "- two"]);
    assert_eq!(finished.err.matches("not of the form").count(), 4, "{}", finished.err);
    assert_harmless(&finished);
}
