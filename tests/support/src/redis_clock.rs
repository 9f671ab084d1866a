//! A proxy before a Redis that gives scripts the time that a test sets.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// How a script asks for the time. What takes its place has the same length, since commands say how
/// long their arguments are.
const CALL: &[u8] = b"redis.call('TIME')";

/// Replaces the call in the texts of scripts. A server never knows such a script by the hash of its
/// original text, so each call sends the text, and gets the time of that moment. Expiry of keys
/// follows the server's own clock.
pub struct RedisClockProxy {
    address: SocketAddr,
    now_ms: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl RedisClockProxy {
    /// Starts a proxy before `server`, whose clock stands still at `now_ms`, milliseconds since the
    /// Unix epoch.
    pub async fn start(server: SocketAddr, now_ms: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let now_ms = Arc::new(AtomicU64::new(now_ms));
        let accepting = tokio::spawn({
            let now_ms = Arc::clone(&now_ms);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass(client, server, Arc::clone(&now_ms)));
                }
            }
        });
        Self { address, now_ms, accepting }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the time, also to an earlier one.
    pub fn set_ms(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Drop for RedisClockProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: TcpStream, server: SocketAddr, now_ms: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let commands = async {
        let (mut waiting, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        while let Ok(read @ 1..) = from_client.read(&mut chunk).await {
            waiting.extend_from_slice(&chunk[..read]);
            let time = time_at(now_ms.load(Ordering::SeqCst));
            while let Some(at) = waiting.windows(CALL.len()).position(|text| text == CALL) {
                waiting[at..at + CALL.len()].copy_from_slice(&time);
            }
            // The beginning of a call at the end waits for its rest.
            let begun = (1..CALL.len())
                .rev()
                .find(|length| waiting.ends_with(&CALL[..*length]))
                .unwrap_or(0);
            let complete: Vec<u8> = waiting.drain(..waiting.len() - begun).collect();
            if to_server.write_all(&complete).await.is_err() {
                return;
            }
        }
    };
    let answers = async { tokio::io::copy(&mut from_server, &mut to_client).await };
    tokio::select! {
        () = commands => {}
        _ = answers => {}
    }
}

/// What the server would answer, as a Lua table: seconds, and microseconds.
fn time_at(now_ms: u64) -> [u8; CALL.len()] {
    let text = format!("{{{},{:03}e3}}", now_ms / 1_000, now_ms % 1_000);
    text.into_bytes().try_into().expect("seconds have ten digits until the year 2286")
}
