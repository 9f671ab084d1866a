//! `rejoin pipe`, with a model, readers that are cut, and producers that die.

use std::{fmt::Display, process::Stdio, time::Duration};

use rejoin_test_support::{CuttingProxy, EventClient, Seen, TestServer, eventually, soon};
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    time::{Instant, MissedTickBehavior},
};
use uuid::Uuid;

use crate::messages::server::{Message, answer, path};

/// A `rejoin pipe` that a test feeds.
struct Pipe {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Pipe {
    fn start(server: &TestServer, id: impl Display, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
        command.env_clear().env("NO_PROXY", "*").args([
            "pipe",
            "--user",
            "local",
            "--message",
            &id.to_string(),
        ]);
        command
            .env("REJOIN_URL", server.url(""))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        Self { stdin: child.stdin.take(), child }
    }

    async fn write(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    /// Writes chunks as a model does, 200 a second.
    async fn speak(&mut self, words: &[String]) {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for word in words {
            ticks.tick().await;
            self.write(&chunk(word)).await;
        }
    }

    /// Closes the input, and gives the exit code and what was said on standard output and standard
    /// error.
    async fn ended(mut self) -> (Option<i32>, String, String) {
        drop(self.stdin.take());
        let output = soon("the end of the pipe", self.child.wait_with_output()).await.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

/// The text of a provider's stream, as events of type `chunk`.
const AS_TEXT: [&str; 2] = ["--as", "text"];

fn chunk(text: &str) -> String {
    format!(
        "data: {}\n\n",
        json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] })
    )
}

fn words(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("wörd{n} ")).collect()
}

fn text_of(seen: &[Seen]) -> String {
    seen.iter()
        .filter_map(
            |seen| if let Seen::Event(_, data) = seen { data["text"].as_str() } else { None },
        )
        .collect()
}

fn last_type(seen: &[Seen]) -> &str {
    match seen.last() {
        Some(Seen::Event(_, data) | Seen::Control(data)) => {
            data["type"].as_str().unwrap_or_default()
        }
        None => "",
    }
}

/// Cuts all connections every half second, until it is dropped.
async fn cut_every_half_second(proxy: &CuttingProxy) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.unplug();
        tokio::time::sleep(Duration::from_millis(1)).await;
        proxy.plug_in();
    }
}

fn reader(proxy: &CuttingProxy, id: Uuid) -> EventClient {
    EventClient::new(format!("http://{}{}", proxy.address(), path(id, "/events")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_and_2_a_reader_that_is_cut_every_half_second_has_the_producers_text() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    let proxy = CuttingProxy::start(server.address(), 1, u64::MAX).await;
    let words = words(0..2_000);
    let mut pipe = Pipe::start(&server, message.id, &AS_TEXT);
    let began = Instant::now();
    let produce = async {
        pipe.speak(&words).await;
        pipe.write(
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        )
        .await;
    };
    let mut client = reader(&proxy, message.id);
    let read = soon("the whole answer", client.follow_until(|seen| last_type(seen) == "end"));
    tokio::select! {
        ((), ()) = async { tokio::join!(produce, read) } => {}
        () = cut_every_half_second(&proxy) => {}
    }
    assert!(began.elapsed() > Duration::from_secs(9), "200 a second");
    assert!(client.connections >= 10, "{} connections", client.connections);
    assert_eq!(text_of(&client.seen), words.concat());
    assert_eq!(pipe.ended().await.0, Some(0));
    let ids: Vec<u64> = client
        .seen
        .iter()
        .filter_map(|seen| if let Seen::Event(id, _) = seen { id.parse().ok() } else { None })
        .collect();
    assert!(ids.iter().copied().eq(0..ids.len() as u64), "each once, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_is_killed_is_noticed_taken_over_and_fenced() {
    let server = TestServer::start("messages.producer_idle_seconds = 2").await;
    let message = Message::open(&server).await;
    let proxy = CuttingProxy::start(server.address(), 2, u64::MAX).await;
    let words = words(0..2_000);
    let mut first = Pipe::start(&server, message.id, &["--as", "text", "--heartbeat", "1s"]);
    let mut client = reader(&proxy, message.id);
    let read = soon(
        "the notice",
        client.follow_until(|seen| matches!(seen.last(), Some(Seen::Control(_)))),
    );
    let produce_and_die = async {
        first.speak(&words[..1_000]).await;
        // The model pauses: heartbeats keep the message alive.
        tokio::time::sleep(Duration::from_secs(3)).await;
        first.child.kill().await.unwrap();
        Instant::now()
    };
    let (killed_at, ()) = tokio::select! {
        both = async { tokio::join!(produce_and_die, read) } => both,
        () = cut_every_half_second(&proxy) => unreachable!("cutting never ends"),
    };
    let noticed_after = killed_at.elapsed();
    assert!(noticed_after < Duration::from_millis(3_500), "{noticed_after:?}");
    assert!(
        matches!(client.seen.last(), Some(Seen::Control(notice)) if notice["code"] == "producer_stale")
    );
    assert_eq!(
        text_of(&client.seen),
        words[..1_000].concat(),
        "all that the first one said was kept"
    );

    let mut second = Pipe::start(&server, message.id, &["--as", "text", "--takeover"]);
    second.speak(&words[1_000..1_100]).await;
    eventually("the takeover", async || message.view().await.1["epoch"] == 2).await;
    let late = message
        .request(Method::POST, "/events")
        .header("producer-epoch", 1)
        .json(&json!({ "type": "chunk", "payload": { "text": "late" } }));
    let (status, fenced) = answer(late).await;
    assert_eq!((status, &fenced["code"]), (409, &json!("producer_fenced")));
    client.seen.retain(|seen| matches!(seen, Seen::Event(..)));
    let finish = async {
        second.speak(&words[1_100..]).await;
        second.write("data: [DONE]\n\n").await;
    };
    tokio::join!(finish, soon("the rest", client.follow_until(|seen| last_type(seen) == "end")));
    assert_eq!(text_of(&client.seen), words.concat());
    assert_eq!(second.ended().await.0, Some(0));
}

#[tokio::test]
async fn a_stop_ends_the_message_and_closes_the_input() {
    let server = TestServer::start("").await;
    let id = Uuid::new_v4();
    let mut pipe = Pipe::start(&server, id, &["--as", "text", "--heartbeat", "1s", "--tee"]);
    pipe.write(&chunk("one ")).await;
    let message = Message { server: &server, id };
    eventually("the first chunk", async || message.view().await.1["last_sequence_no"] == 0).await;
    assert_eq!(message.post("/stop").await.0, 200);
    // The model goes on talking until nobody listens.
    let mut stdin = pipe.stdin.take().unwrap();
    let closed = async {
        while stdin.write_all(chunk("more ").as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the input to be closed", closed).await;
    let (code, out, err) = pipe.ended().await;
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("stopped by the reader"), "{err}");
    let mut client = EventClient::new(message.url("/events"));
    soon("the end", client.follow_until(|seen| last_type(seen) == "end")).await;
    assert_eq!(text_of(&client.seen), out, "what was shown is what was kept");
    assert!(matches!(client.seen.last(), Some(Seen::Event(_, end)) if end["reason"] == "stopped"));
    assert_eq!(message.view().await.1["status"], "complete");
}

#[tokio::test]
async fn a_message_ends_by_how_the_input_ended() {
    let server = TestServer::start("").await;
    let cases: [(&[&str], &str, i32, &str, &str); 4] = [
        (&[], "plain text\nin lines", 0, "complete", "plain text\nin lines"),
        (&["--format", "text"], "data: is just a word", 0, "complete", "data: is just a word"),
        (
            &AS_TEXT,
            "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n",
            1,
            "failed",
            "half",
        ),
        (&AS_TEXT, "data: {\"error\":{\"message\":\"overloaded\"}}\n\n", 1, "failed", ""),
    ];
    for (arguments, input, code, status, text) in cases {
        let message = Message { server: &server, id: Uuid::new_v4() };
        let mut pipe = Pipe::start(&server, message.id, arguments);
        pipe.write(input).await;
        let (exit, _, err) = pipe.ended().await;
        assert_eq!(exit, Some(code), "{input:?}: {err}");
        assert_eq!(message.view().await.1["status"], status, "{input:?}");
        let mut client = EventClient::new(message.url("/events"));
        soon("the end", client.follow_until(|seen| matches!(last_type(seen), "end" | "error")))
            .await;
        assert_eq!(text_of(&client.seen), text);
    }
}

#[tokio::test]
async fn a_signal_ends_the_message_with_an_error() {
    let server = TestServer::start("").await;
    let message = Message { server: &server, id: Uuid::new_v4() };
    let mut pipe = Pipe::start(&server, message.id, &[]);
    pipe.write("some text").await;
    eventually("the text", async || message.view().await.1["last_sequence_no"] == 0).await;
    let status = Command::new("kill")
        .arg("-TERM")
        .arg(pipe.child.id().unwrap().to_string())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    let stdin = pipe.stdin.take();
    let (code, ..) = pipe.ended().await;
    drop(stdin);
    assert_eq!((code, &message.view().await.1["status"]), (Some(1), &json!("failed")));
}

#[tokio::test]
async fn promise_5_while_the_server_is_away_nothing_is_lost_or_sent_twice() {
    let server = TestServer::start("").await;
    let message = Message { server: &server, id: Uuid::new_v4() };
    let proxy = CuttingProxy::start(server.address(), 3, u64::MAX).await;
    let mut pipe = Pipe::start(
        &server,
        message.id,
        &["--as", "text", "--url", &format!("http://{}", proxy.address())],
    );
    pipe.write(&chunk("0 ")).await;
    eventually("the first chunk", async || message.view().await.1["last_sequence_no"] == 0).await;
    for n in 1..40 {
        if n % 10 == 0 {
            proxy.unplug();
        }
        pipe.write(&chunk(&format!("{n} "))).await;
        if n % 10 == 5 {
            proxy.plug_in();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pipe.write("data: [DONE]\n\n").await;
    assert_eq!(pipe.ended().await.0, Some(0));
    let mut client = EventClient::new(message.url("/events"));
    soon("the end", client.follow_until(|seen| last_type(seen) == "end")).await;
    assert_eq!(text_of(&client.seen), (0..40).map(|n| n.to_string() + " ").collect::<String>());
}

#[tokio::test]
async fn what_can_not_be_produced_is_said_at_once() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    message.end().await;
    let (code, _, err) = Pipe::start(&server, message.id, &[]).ended().await;
    assert_eq!(code, Some(1));
    assert!(err.contains("has ended"), "{err}");
    let other = Message { server: &server, id: Uuid::new_v4() };
    assert_eq!(other.put(json!({ "user_id": "somebody else" })).await.0, 201);
    let (code, _, err) = Pipe::start(&server, other.id, &[]).ended().await;
    assert_eq!(code, Some(1));
    assert!(err.contains("belongs to another user"), "{err}");
}

/// What providers send, as their API references and packages have it.
const RECORDINGS: [(&str, &str); 4] = [
    ("openai-chat", include_str!("recordings/openai-chat.sse")),
    ("openai-responses", include_str!("recordings/openai-responses.sse")),
    ("anthropic", include_str!("recordings/anthropic.sse")),
    ("ai-sdk", include_str!("recordings/ai-sdk.sse")),
];

/// The `data:` lines of a stream, but for that which is the server's own.
fn data_lines(stream: &str) -> Vec<&str> {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.filter(|data| *data != "[DONE]").collect()
}

/// A message's stream, whole, in a format.
async fn whole_stream(server: &TestServer, id: &str, format: &str) -> String {
    let url = server.url(&format!("/api/messages/{id}/events?format={format}"));
    let answer = reqwest::get(url).await.unwrap();
    soon("the end of the stream", answer.text()).await.unwrap()
}

async fn status_of(server: &TestServer, id: &str) -> String {
    let url = server.url(&format!("/api/messages/{id}"));
    let answer = reqwest::get(url).await.unwrap();
    let view: serde_json::Value = answer.json().await.unwrap();
    view["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_providers_stream_is_passed_through_to_the_byte_and_ends_as_it_ended() {
    let server = TestServer::start("").await;
    for (name, recording) in RECORDINGS {
        let mut pipe = Pipe::start(&server, name, &["--tee"]);
        // As a network brings it: in pieces that end anywhere.
        for piece in recording.as_bytes().chunks(37) {
            pipe.stdin.as_mut().unwrap().write_all(piece).await.unwrap();
        }
        let (code, out, err) = pipe.ended().await;
        assert_eq!((code, &*out), (Some(0), "Gr\u{fc}\u{df}e, \u{1f30d}!\n"), "{name}: {err}");
        assert_eq!(status_of(&server, name).await, "complete");
        let data = whole_stream(&server, name, "data").await;
        assert_eq!(data_lines(&data), data_lines(recording), "{name}");
        assert!(data.ends_with("data: [DONE]\n\n"), "{name}: {data}");
        let named = whole_stream(&server, name, "named").await;
        assert_eq!(data_lines(&named), data_lines(recording), "{name}");
        let events = |stream: &str| {
            let lines = stream.lines().filter_map(|line| line.strip_prefix("event: "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        if recording.contains("event: ") {
            assert_eq!(events(&named), events(recording), "{name}");
        }
    }
}

#[tokio::test]
async fn a_providers_stream_that_breaks_off_ends_as_failed_in_its_own_words() {
    let server = TestServer::start("").await;
    for ((name, recording), words) in RECORDINGS.into_iter().zip([
        r#""error":{"#,
        r#""code":"producer_broke_off""#,
        r#""error":{"message":"#,
        r#""errorText":"#,
    ]) {
        let half = &recording[..recording.find("Gr\u{fc}").unwrap()];
        let came = &half[..half.rfind("\n\n").unwrap() + 2];
        let mut pipe = Pipe::start(&server, name, &[]);
        pipe.write(came).await;
        assert_eq!(pipe.ended().await.0, Some(1), "{name}");
        assert_eq!(status_of(&server, name).await, "failed", "{name}");
        let stream = whole_stream(&server, name, "data").await;
        let data = data_lines(&stream);
        let (last, before) = data.split_last().unwrap();
        assert_eq!(before, data_lines(came), "{name}");
        assert!(last.contains(words), "{name}: {last}");
    }
}

#[tokio::test]
async fn a_stop_ends_a_providers_stream_in_its_own_words() {
    let server = TestServer::start("").await;
    for ((name, recording), last_event) in
        RECORDINGS.into_iter().zip(["", "response.incomplete", "message_stop", "abort"])
    {
        let half = &recording[..recording.find("Gr\u{fc}").unwrap()];
        let came = &half[..half.rfind("\n\n").unwrap() + 2];
        let mut pipe = Pipe::start(&server, name, &["--heartbeat", "1s"]);
        pipe.write(came).await;
        let url = server.url(&format!("/api/messages/{name}"));
        let events = data_lines(came).len() as u64;
        eventually("what came", async || {
            let view = reqwest::get(&url).await.unwrap();
            let view: serde_json::Value = view.json().await.unwrap();
            view["last_sequence_no"] == events - 1
        })
        .await;
        let stop = reqwest::Client::new().post(format!("{url}/stop")).send().await.unwrap();
        assert_eq!(stop.status(), 200);
        let stdin = pipe.stdin.take();
        let (code, _, err) = pipe.ended().await;
        drop(stdin);
        assert_eq!(code, Some(0), "{name}: {err}");
        assert_eq!(status_of(&server, name).await, "complete");
        let stream = whole_stream(&server, name, "data").await;
        assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
        let data = data_lines(&stream);
        if !last_event.is_empty() {
            assert!(
                data.last().unwrap().contains(&format!("\"type\":\"{last_event}\"")),
                "{data:?}"
            );
        }
    }
}
