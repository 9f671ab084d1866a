//! What an operator is told at the start of the Redis they chose.

use std::net::SocketAddr;

use rejoin_test_support::{RedisServer, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::redis::program::Program;

/// Passes bytes on to a Redis, and makes it look old.
async fn start_ageing_proxy(port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                    const VERSION: &[u8] = b"redis_version:";
                    if let Some(at) =
                        bytes[..count].windows(VERSION.len()).position(|window| window == VERSION)
                    {
                        bytes[at + VERSION.len()] = b'5';
                    }
                    to_client.write_all(&bytes[..count]).await.unwrap();
                }
            });
        }
    });
    address
}

const WARNINGS: [&str; 3] =
    ["is too old", "maxmemory-policy is allkeys-lru", "has no append-only file"];

#[tokio::test]
async fn each_danger_of_a_server_is_told_once() {
    let redis = RedisServer::start_with(&["--save", "", "--maxmemory-policy", "allkeys-lru"]).await;
    let program =
        Program::start(&format!("redis://{}", start_ageing_proxy(redis.port()).await), &[]).await;
    for warning in WARNINGS {
        eventually(warning, async || program.logged(&[warning]) > 0).await;
    }
    // Requests and further looks add nothing.
    program.caller().publish(1).await;
    assert!(program.caller().is_ready().await);
    for warning in WARNINGS {
        assert_eq!(program.logged(&["WARN", warning]), 1, "{:#?}", program.log());
    }
    assert_eq!(program.logged(&["loses all events"]), 1, "{:#?}", program.log());
}

#[tokio::test]
async fn nothing_is_told_of_a_safe_server() {
    let redis = RedisServer::start().await;
    // Few connections, so that no limit of open files is too low for them.
    let program = Program::start(&redis.url(), &[("REJOIN_SERVER__MAX_CONNECTIONS", "100")]).await;
    program.caller().publish(1).await;
    // It has been asked by now, or is being asked before this.
    eventually("the questions", async || {
        let commands: String = redis.ask(redis::cmd("INFO").arg("commandstats")).await;
        commands.contains("cmdstat_config|get")
    })
    .await;
    program.caller().publish(2).await;
    assert_eq!(program.logged(&["WARN", "Redis"]), 0, "{:#?}", program.log());
    assert_eq!(
        program.logged(&["WARN"]),
        program.logged(&["auth.mode is `none`"]),
        "{:#?}",
        program.log()
    );
}
