//! The listener: connections in, each with a task of its own.
//!
//! Invariant: there are never more connections than allowed, but for a few that are told so, or how the server is; a peer
//! that vanishes is noticed by the kernel within the write timeout of the first byte that it does not acknowledge.

use std::{io, sync::Arc, time::Duration};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    Routes,
    connection::{Arrival, Connections},
};
use crate::{app::lifecycle::Lifecycle, ports::clock::Clock};

/// The settings of the listener and its connections.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Most connections at once; `None` for any number.
    pub connections_max: Option<usize>,
    /// Within this time the head of a request must have arrived.
    pub request_timeout: Duration,
    /// A connection may rest for so long behind an answer.
    pub keep_alive: Duration,
    /// Most bytes of a request's head.
    pub header_bytes_max: usize,
    /// A client that takes nothing for so long is closed.
    pub write_timeout: Duration,
}

/// Serves until the lifecycle's stop. Connections run on the lifecycle's tasks.
pub async fn serve(listener: TcpListener, routes: Routes, options: ServerOptions, lifecycle: Lifecycle, clock: Arc<dyn Clock>) {
    let places = Places::new(options.connections_max);
    let connections = Arc::new(Connections { routes, options, lifecycle, clock });
    let stopped = connections.lifecycle.stopped().clone();
    stopped.run_until_cancelled(accept_all(listener, places, connections)).await;
}

async fn accept_all(listener: TcpListener, places: Places, connections: Arc<Connections>) {
    loop {
        let vacancy = places.vacancy().await;
        match listener.accept().await {
            Ok((socket, _)) => {
                let at = Instant::now();
                tune(&socket, connections.options.write_timeout);
                let (place, over_limit) = places.fill(vacancy);
                connections.lifecycle.spawn(Arc::clone(&connections).serve(socket, Arrival { at, over_limit }, place));
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// How many more connections there may be.
struct Places {
    usual: Arc<Semaphore>,
    /// For those over the limit, which are answered and closed.
    over_limit: Arc<Semaphore>,
}

/// A place for the connection that comes next.
enum Vacancy {
    Usual(OwnedSemaphorePermit),
    OverLimit(OwnedSemaphorePermit),
}

impl Places {
    /// How many connections may be over the limit at once. Further ones wait in the kernel's queue, not for long.
    const OVER_LIMIT: usize = 32;

    fn new(connections_max: Option<usize>) -> Self {
        let usual = connections_max.unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self { usual: Arc::new(Semaphore::new(usual)), over_limit: Arc::new(Semaphore::new(Self::OVER_LIMIT)) }
    }

    async fn vacancy(&self) -> Vacancy {
        let (usual, over_limit) = (Arc::clone(&self.usual), Arc::clone(&self.over_limit));
        tokio::select! {
            biased;
            // Neither semaphore is ever closed.
            Ok(place) = usual.acquire_owned() => Vacancy::Usual(place),
            Ok(place) = over_limit.acquire_owned() => Vacancy::OverLimit(place),
            else => std::future::pending().await,
        }
    }

    /// The place of a connection that has come, and whether it is over the limit: another may have gone since.
    fn fill(&self, vacancy: Vacancy) -> (OwnedSemaphorePermit, bool) {
        match vacancy {
            Vacancy::Usual(place) => (place, false),
            Vacancy::OverLimit(over_limit) => match Arc::clone(&self.usual).try_acquire_owned() {
                Ok(place) => (place, false),
                Err(_) => (over_limit, true),
            },
        }
    }
}

/// A connection that broke before it was taken is its client's trouble. Anything else (no file descriptors left, say)
/// would come again at once.
async fn pause_after(error: &io::Error) {
    const PAUSE: Duration = Duration::from_millis(100);
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused) {
        tracing::warn!(%error, "can't accept connections");
        tokio::time::sleep(PAUSE).await;
    }
}

fn tune(socket: &TcpStream, write_timeout: Duration) {
    /// What the kernel holds for one connection that its peer has not even been sent.
    const UNSENT_BYTES_MAX: u32 = 64 * 1024;
    let socket = SockRef::from(socket);
    // All of these only make things better; a system that lacks one still serves.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_user_timeout(Some(write_timeout));
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}
