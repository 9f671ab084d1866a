//! A server that answers whatever the test wants, byte by byte.

use std::net::SocketAddr;

use rejoin_test_support::soon;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// The head of an event stream that ends when the connection does.
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 100\n\n";

/// An answer with a body.
pub(crate) fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

pub(crate) struct ScriptedServer {
    listener: TcpListener,
}

/// One connection, whose request has come.
pub(crate) struct Visit {
    socket: TcpStream,
    /// When the request was there.
    pub(crate) at: Instant,
    /// The request's head, and what came along of its body.
    pub(crate) request: String,
}

impl ScriptedServer {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Waits for the next connection and its request.
    pub(crate) async fn visit(&self) -> Visit {
        let (mut socket, _) = soon("a visit", self.listener.accept()).await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            assert!(
                soon("a request", socket.read_buf(&mut request)).await.unwrap() > 0,
                "the client left without a request"
            );
        }
        Visit {
            socket,
            at: Instant::now(),
            request: String::from_utf8(request).unwrap().to_ascii_lowercase(),
        }
    }
}

impl Visit {
    /// Sends these bytes. Tells whether the client took them.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon("the client to read", self.socket.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Sends this again and again, until the client has had enough. Tells how much it took.
    pub(crate) async fn send_forever(&mut self, bytes: &[u8], bytes_max: usize) -> usize {
        let mut taken = 0;
        while taken < bytes_max && self.send(bytes).await {
            taken += bytes.len();
        }
        taken
    }
}
