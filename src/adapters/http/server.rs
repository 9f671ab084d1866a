//! The listener: connections in, each with a task of its own.
//!
//! Invariant: a peer that vanishes is noticed by the kernel within the write timeout of the first
//! byte that it does not acknowledge.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::Instant,
};

use super::{
    Routes,
    connection::{Arrival, Connections},
    places::Places,
    server_options::ServerOptions,
};
use crate::{
    app::{lifecycle::Lifecycle, signals::Signals},
    ports::clock::Clock,
};

/// Listens. As many connections as the system grants may wait to be accepted: all of a server's
/// clients may come at once.
///
/// # Errors
/// The address can't be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    /// The system takes its own limit where that is lower (Linux: `net.core.somaxconn`).
    const WAITING_MAX: u32 = 65_535;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for the connections of before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_MAX)
}

/// Serves for as long as it is polled. Connections run on the lifecycle's tasks.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    options: ServerOptions,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
    signals: Arc<Signals>,
) {
    let places = Places::new(options.max_connections, signals);
    let connections = Arc::new(Connections { routes, options, lifecycle, clock });
    accept_all(listener, places, connections).await;
}

async fn accept_all(listener: TcpListener, mut places: Places, connections: Arc<Connections>) {
    /// After an error that would come again at once: no file descriptors left, say.
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        let vacancy = places.vacancy().await;
        match listener.accept().await {
            Ok((socket, _)) => {
                let at = Instant::now();
                tune(&socket, connections.options.write_timeout);
                let (place, over_limit) = places.fill(vacancy);
                connections.lifecycle.spawn(Arc::clone(&connections).serve(
                    socket,
                    Arrival { at, over_limit },
                    place,
                ));
            }
            // A connection that broke before it was accepted is its client's trouble.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                places.refused(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
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
