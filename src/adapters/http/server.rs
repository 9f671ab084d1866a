//! The listener: connections in, each with a task of its own.
//!
//! Invariants: there are never more connections than allowed, but for a few that are told so, or
//! how the server is; a peer that vanishes is noticed by the kernel within the write timeout of the
//! first byte that it does not acknowledge; each time that a limit turns a connection away is
//! counted, and logged once a minute.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    Routes,
    connection::{Arrival, Connections},
};
use crate::{
    app::{
        lifecycle::Lifecycle,
        signals::{ConnectionLimit, Counted, Signals},
    },
    ports::clock::Clock,
};

/// The settings of the listener and its connections.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Most connections at once; `None` for any number.
    pub max_connections: Option<usize>,
    /// Within this time the head of a request must have arrived.
    pub request_timeout: Duration,
    /// A connection may rest for so long behind an answer.
    pub keep_alive: Duration,
    /// Most bytes of a request's head.
    pub max_header_bytes: usize,
    /// A client that takes nothing for so long is closed.
    pub write_timeout: Duration,
}

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

/// How many more connections there may be.
struct Places {
    usual: Arc<Semaphore>,
    usual_max: usize,
    /// For those over the limit, which are answered and closed.
    over_limit: Arc<Semaphore>,
    signals: Arc<Signals>,
    connections_log: SeldomLogged,
    files_log: SeldomLogged,
}

/// A connection's place among those allowed.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// A place for the connection that comes next.
enum Vacancy {
    Usual(OwnedSemaphorePermit),
    OverLimit(OwnedSemaphorePermit),
}

impl Places {
    /// How many connections may be over the limit at once. Further ones wait in the kernel's queue,
    /// not for long.
    const OVER_LIMIT: usize = 32;

    fn new(max_connections: Option<usize>, signals: Arc<Signals>) -> Self {
        let usual_max =
            max_connections.unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self {
            usual: Arc::new(Semaphore::new(usual_max)),
            usual_max,
            over_limit: Arc::new(Semaphore::new(Self::OVER_LIMIT)),
            signals,
            connections_log: SeldomLogged::default(),
            files_log: SeldomLogged::default(),
        }
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

    /// The place of a connection that has come, and whether it is over the limit: another may have
    /// gone since.
    fn fill(&mut self, vacancy: Vacancy) -> (Place, bool) {
        let (permit, over_limit) = match vacancy {
            Vacancy::Usual(permit) => (permit, false),
            Vacancy::OverLimit(over_limit) => match Arc::clone(&self.usual).try_acquire_owned() {
                Ok(permit) => (permit, false),
                Err(_) => (over_limit, true),
            },
        };
        if over_limit {
            self.signals.limit_reached(ConnectionLimit::Connections);
            if self.connections_log.is_due() {
                let max_connections = self.usual_max;
                tracing::warn!(
                    max_connections,
                    "there are as many connections as server.max_connections allows: further ones get 503"
                );
            }
        }
        (Place { _permit: permit, _counted: self.signals.connection_opened() }, over_limit)
    }

    /// The system did not accept a connection.
    fn refused(&mut self, error: &io::Error) {
        let out_of_files = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
        if out_of_files {
            self.signals.limit_reached(ConnectionLimit::Files);
        }
        if self.files_log.is_due() {
            tracing::warn!(%error, out_of_files, "can't accept connections: new clients wait until some of the open ones end");
        }
    }
}

/// Something that is logged when it happens, but at most once a minute.
#[derive(Default)]
struct SeldomLogged(Option<Instant>);

impl SeldomLogged {
    const PAUSE: Duration = Duration::from_mins(1);

    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|logged| logged.elapsed() >= Self::PAUSE);
        if due {
            self.0 = Some(Instant::now());
        }
        due
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
