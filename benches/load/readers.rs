//! Many connections that count what they read.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::Notify,
    task::{LocalSet, spawn_local},
    time::Instant,
};

/// Stands once in each event's payload and nowhere else, so that events are counted however they
/// are cut.
pub(crate) const MARK: u8 = b'~';
/// A payload with the mark.
pub(crate) const PAYLOAD: &str = "\"~xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"";
/// Stands in the first thing that each server says to a connection: the head of the topic.
const GREETING: &[u8] = b"\nid: ";

/// What all readers of a measurement have read.
#[derive(Default)]
pub(crate) struct Tally {
    /// Events, over all connections.
    pub(crate) events: Cell<usize>,
    /// Connections that have read their greeting.
    pub(crate) ready: Cell<usize>,
    awaited: Cell<usize>,
    reached_at: Cell<Option<Instant>>,
    reached: Notify,
}

impl Tally {
    /// Waits until so many events have been read, and tells when that was.
    pub(crate) async fn wait_for(&self, events: usize) -> Instant {
        self.awaited.set(events);
        self.reached_at.set(None);
        self.note(0);
        loop {
            if let Some(at) = self.reached_at.get() {
                return at;
            }
            self.reached.notified().await;
        }
    }

    fn note(&self, events: usize) {
        self.events.set(self.events.get() + events);
        if self.events.get() >= self.awaited.get() && self.reached_at.get().is_none() {
            self.reached_at.set(Some(Instant::now()));
            self.reached.notify_one();
        }
    }
}

/// Opens so many connections, each with this request, and returns when all have been greeted by a
/// block of text.
pub(crate) async fn open(address: SocketAddr, request: &str, connections: usize) -> Rc<Tally> {
    let tally = Rc::new(Tally::default());
    open_more(&tally, address, request, connections).await;
    tally
}

/// Opens so many more that count into the same tally.
pub(crate) async fn open_more(
    tally: &Rc<Tally>,
    address: SocketAddr,
    request: &str,
    connections: usize,
) {
    let greeted = tally.ready.get() + connections;
    for _ in 0..connections {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        spawn_local(read(socket, Rc::clone(tally)));
    }
    while tally.ready.get() < greeted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn read(socket: TcpStream, tally: Rc<Tally>) {
    let mut greeted = false;
    loop {
        socket.readable().await.unwrap();
        // The buffer is not kept while waiting: thousands of readers must not disturb what is
        // measured.
        let mut buffer = [0; 16 * 1024];
        let bytes = match socket.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => &buffer[..count],
            Err(_) => continue,
        };
        if !greeted && bytes.windows(GREETING.len()).any(|window| window == GREETING) {
            greeted = true;
            tally.ready.set(tally.ready.get() + 1);
        }
        tally.note(bytes.iter().filter(|byte| **byte == MARK).count());
    }
}

/// Runs a measurement where readers can be spawned.
pub(crate) async fn with_readers<T>(measurement: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(measurement).await
}
