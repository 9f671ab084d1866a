//! A TCP proxy that cuts connections, in the middle of a frame too.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Passes bytes on to a server, and cuts each connection after a number of bytes that a seed decides.
pub struct CuttingProxy {
    address: SocketAddr,
    calm: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl CuttingProxy {
    /// Starts a proxy before `server`, which cuts after at most `bytes_max` bytes of answer.
    pub async fn start(server: SocketAddr, seed: u64, bytes_max: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calm, cuts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let random = Arc::new(AtomicU64::new(seed));
        let accepting = {
            let (calm, cuts) = (Arc::clone(&calm), Arc::clone(&cuts));
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let budget = next_random(&random) % bytes_max;
                    tokio::spawn(pass(client, server, budget, Arc::clone(&calm), Arc::clone(&cuts)));
                }
            })
        };
        Self { address, calm, cuts, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops cutting.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Marsaglia's xorshift: a seed gives the same cuts again.
fn next_random(state: &AtomicU64) -> u64 {
    let mut x = state.load(Ordering::Relaxed) | 1;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    state.store(x, Ordering::Relaxed);
    x >> 3
}

async fn pass(client: TcpStream, server: SocketAddr, budget: u64, calm: Arc<AtomicBool>, cuts: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let upward = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut left = usize::try_from(budget).unwrap_or(usize::MAX);
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
        let allowed = if calm.load(Ordering::Relaxed) { count } else { count.min(left) };
        if to_client.write_all(&buffer[..allowed]).await.is_err() {
            break;
        }
        if allowed < count {
            cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
        left = left.saturating_sub(count);
    }
    upward.abort();
}
