//! A TCP proxy that cuts connections, in the middle of a frame too.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Passes bytes on to a server, and cuts each connection after a number of bytes that a seed
/// decides.
pub struct CuttingProxy {
    address: SocketAddr,
    cutter: Arc<Cutter>,
    accepting: JoinHandle<()>,
    /// Has the port where nobody listens any more.
    port_keeper: Option<TcpSocket>,
}

/// Places in an answer at which a proxy does not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spared {
    /// It cuts everywhere.
    Nothing,
    /// The answer's head, whose bytes do not count.
    Heads,
    /// The line end that ends a block of events. Some clients keep an id as soon as its line has
    /// ended; where the connection ends right behind it, they lose that event, whoever sends it.
    BlockEnds,
    /// All of a block behind its data. Some clients keep what they have read of a block when the
    /// connection ends, and join it with the first block of the next one.
    BehindData,
}

impl Spared {
    /// Whether no cut may come before this byte, behind so much of a block.
    fn covers(self, block: &[u8], next: u8) -> bool {
        match self {
            Self::Nothing | Self::Heads => false,
            Self::BlockEnds => block.ends_with(b"\n") && next == b'\n',
            Self::BehindData => {
                let data = block.windows(6).position(|bytes| bytes == b"\ndata:");
                data.is_some_and(|at| block[at + 1..].contains(&b'\n'))
            }
        }
    }
}

/// What all connections of a proxy share.
struct Cutter {
    server: Mutex<SocketAddr>,
    spared: Spared,
    calm: AtomicBool,
    unplugged: watch::Sender<bool>,
    cuts: AtomicUsize,
}

impl CuttingProxy {
    /// Starts a proxy before `server`, which cuts after at most `bytes_max` bytes of answer.
    pub async fn start(server: SocketAddr, seed: u64, bytes_max: u64) -> Self {
        Self::start_sparing(server, seed, 0..bytes_max, Spared::Nothing).await
    }

    /// The same, but it counts from behind the answer's head. Chromium takes half a head of plain
    /// HTTP for a whole one that lacks the media type, and gives up for good.
    pub async fn start_sparing_heads(server: SocketAddr, seed: u64, bytes_max: u64) -> Self {
        Self::start_sparing(server, seed, 0..bytes_max, Spared::Heads).await
    }

    /// Starts a proxy that cuts nothing by itself.
    pub async fn start_uncut(server: SocketAddr) -> Self {
        let proxy = Self::start(server, 1, u64::MAX).await;
        proxy.calm_down();
        proxy
    }

    /// Starts a proxy before `server`, which cuts after so many bytes of answer, or a little later
    /// where places are spared.
    pub async fn start_sparing(
        server: SocketAddr,
        seed: u64,
        bytes: Range<u64>,
        spared: Spared,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calm, cuts) = (AtomicBool::new(false), AtomicUsize::new(0));
        let cutter = Arc::new(Cutter {
            server: Mutex::new(server),
            spared,
            calm,
            unplugged: watch::Sender::new(false),
            cuts,
        });
        let random = AtomicU64::new(seed);
        let accepting = tokio::spawn({
            let cutter = Arc::clone(&cutter);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let budget = bytes.start + next_random(&random) % (bytes.end - bytes.start);
                    let (cutter, mut unplugged) =
                        (Arc::clone(&cutter), cutter.unplugged.subscribe());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = cutter.pass(client, budget) => {}
                            _ = unplugged.wait_for(|unplugged| *unplugged) => {}
                        }
                    });
                }
            }
        });
        Self { address, cutter, accepting, port_keeper: None }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections to another server; those that are open stay where they are.
    pub fn retarget(&self, server: SocketAddr) {
        *self.cutter.server.lock().unwrap() = server;
    }

    /// Stops cutting.
    pub fn calm_down(&self) {
        self.cutter.calm.store(true, Ordering::Relaxed);
    }

    /// Cuts all connections, and from now on each new one at once.
    pub fn unplug(&self) {
        self.cutter.unplugged.send_replace(true);
    }

    /// Lets connections through again.
    pub fn plug_in(&self) {
        self.cutter.unplugged.send_replace(false);
    }

    /// Cuts all connections, and refuses each new one from now on. The port stays this proxy's. To
    /// accept a connection and close it at once, as [`Self::unplug`] has it, is no way to refuse
    /// many: of those requests hyper's client (1.12) leaves one in some ten thousand without an
    /// answer for good.
    pub async fn refuse(&mut self) {
        self.unplug();
        self.accepting.abort();
        // It ends by the abort, and closes the listener.
        let _ = (&mut self.accepting).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.port_keeper = Some(socket);
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        self.cutter.cuts.load(Ordering::Relaxed)
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

impl Cutter {
    async fn pass(&self, client: TcpStream, budget: u64) {
        let server = *self.server.lock().unwrap();
        let Ok(server) = TcpStream::connect(server).await else { return };
        // The port of a server that is gone may be given to this very connection, which then talks
        // to itself.
        if server.local_addr().ok() == server.peer_addr().ok() {
            return;
        }
        let (mut from_client, to_client) = client.into_split();
        let (from_server, mut to_server) = server.into_split();
        let upward = async move {
            let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            // The server learns that the client has ended; what it still has to say is passed on.
            drop(to_server);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.pass_answer(from_server, to_client, budget) => {}
            () = upward => {}
        }
    }

    async fn pass_answer(
        &self,
        mut from_server: OwnedReadHalf,
        mut to_client: OwnedWriteHalf,
        budget: u64,
    ) {
        let mut left = usize::try_from(budget).unwrap_or(usize::MAX);
        let mut head = (self.spared == Spared::Heads).then(Vec::new);
        let (mut buffer, mut block) = (vec![0; 16 * 1024], Vec::new());
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            let spared = head.as_mut().map_or(0, |head| rest_of_head(head, &buffer[..count]));
            let mut allowed = if self.calm.load(Ordering::Relaxed) {
                count
            } else {
                count.min(left.saturating_add(spared))
            };
            extend_block(&mut block, &buffer[..allowed]);
            while allowed < count && self.spared.covers(&block, buffer[allowed]) {
                extend_block(&mut block, &buffer[allowed..=allowed]);
                allowed += 1;
            }
            if to_client.write_all(&buffer[..allowed]).await.is_err() {
                return;
            }
            if allowed < count {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                return;
            }
            left = left.saturating_sub(count - spared);
        }
    }
}

/// Takes what was passed on of an answer, and keeps what belongs to the last block of events, where
/// that has not ended.
fn extend_block(block: &mut Vec<u8>, passed: &[u8]) {
    block.extend_from_slice(passed);
    if let Some(at) = block.windows(2).rposition(|bytes| bytes == b"\n\n") {
        block.drain(..at + 2);
    }
}

/// Takes what has come of an answer, and tells how many of the new bytes belong to its head.
fn rest_of_head(head: &mut Vec<u8>, new: &[u8]) -> usize {
    const END: &[u8] = b"\r\n\r\n";
    if head.ends_with(END) {
        return 0;
    }
    let before = head.len();
    head.extend_from_slice(new);
    if let Some(at) = head.windows(END.len()).position(|window| window == END) {
        head.truncate(at + END.len());
    }
    head.len() - before
}
