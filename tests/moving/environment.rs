//! What the application that moves already has: a Redis, a Postgres with its tables, and a backend,
//! each on a private port.

use std::process::Stdio;

use rejoin_test_support::{PostgresServer, RedisServer, eventually, reserve_port};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

/// The servers of an application.
pub(crate) struct Environment {
    pub(crate) redis: RedisServer,
    pub(crate) postgres: PostgresServer,
    _backend: Child,
    /// Each port that a page names, and the one that stands for it here.
    ports: Vec<(u16, u16)>,
}

impl Environment {
    /// Starts them. `ports` are the ones that the page names: of Redis, Postgres and the backend,
    /// and of what the page itself starts. The backend signs its tokens with `secret`.
    pub(crate) async fn start(ports: [u16; 3], started_by_the_page: &[u16], secret: &str) -> Self {
        let redis = RedisServer::start().await;
        let postgres = PostgresServer::start().await;
        let port = reserve_port();
        let mut backend = Command::new("/usr/bin/python3");
        backend
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moving/backend.py"))
            .args([&port.to_string(), secret]);
        let backend = backend.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        eventually("the backend listens", async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        let private = [redis.port(), postgres.port(), port];
        let ports = ports
            .into_iter()
            .zip(private)
            .chain(started_by_the_page.iter().map(|named| (*named, reserve_port())))
            .collect();
        Self { redis, postgres, _backend: backend, ports }
    }

    /// A page's text for this environment: the rule is that `:<port>` means the port that stands
    /// for it here.
    pub(crate) fn adapted(&self, text: &str) -> String {
        let mut pieces = text.split(':');
        let first = pieces.next().unwrap_or_default().to_owned();
        std::iter::once(first).chain(pieces.map(|piece| self.after_a_colon(piece))).collect()
    }

    /// What follows a colon, which is put before it again.
    fn after_a_colon(&self, piece: &str) -> String {
        let (digits, rest) =
            piece.split_at(piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len()));
        let private = self.ports.iter().find(|(named, _)| digits == named.to_string());
        private.map_or_else(|| format!(":{piece}"), |(_, private)| format!(":{private}{rest}"))
    }
}
