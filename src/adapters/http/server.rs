//! The listener: connections in, each with a task of its own.
//!
//! Invariant: there are never more connections than allowed; a peer that vanishes is noticed by the kernel within the
//! write timeout of the first byte that it does not acknowledge.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    connection::{Connections, head_text},
    socket_wire::SocketWire,
};
use crate::{
    app::{lifecycle::Lifecycle, streaming::stream},
    ports::clock::Clock,
};

/// The settings of the listener and its connections.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Most connections at once; `None` for any number.
    pub connections_max: Option<usize>,
    /// Within this time the head of a request must have arrived.
    pub request_timeout: Duration,
    /// Most bytes of a request's head.
    pub header_bytes_max: usize,
    /// A client that takes nothing for so long is closed.
    pub write_timeout: Duration,
}

/// Serves until the lifecycle's stop. Connections run on the lifecycle's tasks.
pub async fn serve(listener: TcpListener, router: Router, options: ServerOptions, lifecycle: Lifecycle, clock: Arc<dyn Clock>) {
    let places = Arc::new(Semaphore::new(options.connections_max.unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS)));
    let connections = Arc::new(Connections { router, options, lifecycle, clock });
    let stopped = connections.lifecycle.stopped().clone();
    stopped.run_until_cancelled(accept_all(listener, places, connections)).await;
}

async fn accept_all(listener: TcpListener, places: Arc<Semaphore>, connections: Arc<Connections>) {
    // The semaphore is never closed, so this goes on.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => connections.lifecycle.spawn(Arc::clone(&connections).serve(socket, place)),
            Err(error) => pause_after(&error).await,
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

impl Connections {
    async fn serve(self: Arc<Self>, socket: TcpStream, place: OwnedSemaphorePermit) {
        tune(&socket, self.options.write_timeout);
        match tokio::time::timeout(self.options.request_timeout, speaks_http2(&socket)).await {
            Ok(Ok(true)) => Arc::clone(&self).http2(socket).await,
            Ok(Ok(false)) => {
                if let Some((socket, head, subscription)) = Arc::clone(&self).http1(socket).await {
                    let wire = SocketWire::new(socket, head_text(&head, self.clock.now()), self.options.write_timeout, place);
                    // A task of its own is no larger than the stream needs; this one had to have room for hyper.
                    self.lifecycle.spawn(stream(subscription, wire));
                }
            }
            Ok(Err(_)) | Err(_) => {}
        }
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

/// Looks at the first bytes, without taking them, for HTTP/2's preface (RFC 9113, section 3.4). Three bytes tell: no
/// method of HTTP/1 begins with `PRI`.
async fn speaks_http2(socket: &TcpStream) -> io::Result<bool> {
    const BEGINNING: &[u8] = b"PRI";
    /// A client that sends its first bytes one by one is rare enough to be looked after by the clock.
    const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);
    let mut seen = [0; BEGINNING.len()];
    loop {
        let count = socket.peek(&mut seen).await?;
        if count == 0 || !BEGINNING.starts_with(&seen[..count]) {
            return Ok(false);
        }
        if count == BEGINNING.len() {
            return Ok(true);
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}
