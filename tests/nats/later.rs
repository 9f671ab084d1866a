//! Servers that come later, that lie, and connections that are cut.

use std::{net::SocketAddr, time::Duration};

use futures_util::StreamExt;
use rejoin::{domain::position::Position, ports::feed::Signal, testing::event};
use rejoin_test_support::{NatsServer, ServerProcess, eventually, soon};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::nats::given::{AMPLE, appended, open, payloads, topic};

/// Passes bytes on to a server, with some words of it replaced by others that are as long.
pub(crate) async fn proxy_that_says(
    port: u16,
    word: &'static str,
    instead: &'static str,
) -> SocketAddr {
    assert_eq!(word.len(), instead.len());
    proxy(port, (word, instead), watch::channel(0).1).await
}

async fn proxy(
    port: u16,
    (word, instead): (&'static str, &'static str),
    cuts: watch::Receiver<u32>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            let mut cuts = cuts.clone();
            cuts.mark_unchanged();
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let up = tokio::io::copy(&mut from_client, &mut to_server);
                let down = async {
                    let mut bytes = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                        if let Some(at) = bytes[..count]
                            .windows(word.len())
                            .position(|window| window == word.as_bytes())
                        {
                            bytes[at..at + word.len()].copy_from_slice(instead.as_bytes());
                        }
                        if to_client.write_all(&bytes[..count]).await.is_err() {
                            break;
                        }
                    }
                };
                let cut = async {
                    if cuts.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    _ = up => {}
                    () = down => {}
                    () = cut => {}
                }
            });
        }
    });
    address
}

/// What is appended and broadcast while connections are cut is heard, once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_nothing_is_lost_where_connections_are_cut() {
    const EVENTS: usize = 30;
    let server = NatsServer::start().await;
    let (cut, cuts) = watch::channel(0);
    let address = proxy(server.port(), ("\r", "\r"), cuts).await;
    let (cut_off, writer) = (open(format!("nats://{address}")).await, open(server.url()).await);
    let mut signals = cut_off.feed.signals();
    cut_off.feed.watch(&topic("u1")).await.unwrap();
    for number in 0..EVENTS {
        cut.send_modify(|cuts| *cuts += 1);
        writer.feed.broadcast(event(&number.to_string())).await.unwrap();
        appended(&writer, "u1", [number]).await;
    }
    let (mut broadcasts, mut heard, mut position) = (0, Vec::new(), Position::Start);
    while broadcasts < EVENTS || heard.len() < EVENTS {
        if let Signal::Broadcast(event) = soon("a signal", signals.next()).await.unwrap() {
            assert_eq!(
                event.content.payload().unwrap().as_str(),
                broadcasts.to_string(),
                "each once, in order"
            );
            broadcasts += 1;
            continue;
        }
        // As who follows does: whatever is signalled, the journal says what there is.
        let page = loop {
            match cut_off.journal.read(&topic("u1"), position, AMPLE).await {
                Ok(page) => break page,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        position = page.entries.last().map_or(position, |last| last.id.into());
        heard.extend(
            page.entries
                .iter()
                .map(|entry| entry.event.content.payload().unwrap().as_str().to_owned()),
        );
    }
    assert_eq!(heard, (0..EVENTS).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn promise_9_a_server_that_is_not_there_at_the_start_is_used_when_it_comes() {
    let mut nats = NatsServer::start().await;
    nats.kill().await;
    let environment = [
        ("REJOIN_EVENTS__BACKEND", "nats"),
        ("REJOIN_MESSAGES__BACKEND", "nats"),
        ("REJOIN_LIMITS__BACKEND", "nats"),
        ("REJOIN_NATS__URL", &nats.url()),
        ("REJOIN_LOG__LEVEL", "info,rejoin=debug"),
    ];
    let process = ServerProcess::start(env!("CARGO_BIN_EXE_rejoin"), &environment).await;
    let url = |path: &str| format!("http://{}{path}", process.address());
    let status = async |path: &str| reqwest::get(url(path)).await.unwrap().status().as_u16();
    assert_eq!((status("/healthz").await, status("/readyz").await), (200, 503));
    assert!(process.log().contains("NATS can't be reached yet"), "{}", process.log());
    let publish = async || {
        let body = json!({ "user_id": "local", "type": "t" });
        reqwest::Client::new().post(url("/api/events")).json(&body).send().await.unwrap()
    };
    let refused = publish().await;
    assert_eq!(
        (refused.status().as_u16(), refused.headers().contains_key("retry-after")),
        (503, true)
    );
    // What each attempt to listen meets is logged at no level but debug.
    eventually("several attempts", async || {
        process.log().matches("the feed's connection is of no more use").count() > 3
    })
    .await;
    let log = process.log();
    let told = log
        .lines()
        .filter(|line| line.contains("can't use NATS") || line.contains("async_nats"))
        .count();
    assert!(told <= 1, "each reason is told once: {log}");
    nats.start_again().await;
    eventually("it is ready", async || status("/readyz").await == 200).await;
    eventually("it publishes", async || publish().await.status() == 201).await;
}

/// A stream that is removed while processes run is made again, and who was there before is told.
#[tokio::test]
async fn promise_1_a_stream_that_is_removed_is_made_again() {
    let server = NatsServer::start().await;
    let (one, two) = (open(server.url()).await, open(server.url()).await);
    let before = appended(&one, "u1", 0..3).await;
    server.wipe("REJOIN").await;
    let after = appended(&two, "u1", 3..5).await;
    assert!(before[2] < after[0]);
    let page = one.journal.read(&topic("u1"), before[0].into(), AMPLE).await.unwrap();
    assert_eq!(
        page.bounds.continuity(before[0].into()),
        rejoin::domain::cursor::Continuity::Truncated
    );
    assert_eq!(
        page.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        after,
        "under the ids that were told"
    );
    assert_eq!(payloads(&one, "u1", after[0].into()).await, ["4"]);
}
