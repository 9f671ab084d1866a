//! A private PgBouncer, the pooler of Debian's package `pgbouncer`, before a private Postgres.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use tokio::process::{Child, Command};

use crate::{
    ports::reserve_port,
    postgres::{PostgresServer, as_user, fresh_folder},
    soon,
};

/// A pooler. It ends with this value.
pub struct PgBouncer {
    folder: PathBuf,
    port: u16,
    _child: Child,
}

impl PgBouncer {
    /// Starts a pooler before `server` with its defaults, but for its `pool_mode`, and waits until
    /// it listens.
    pub async fn start(server: &PostgresServer, pool_mode: &str) -> Self {
        let (folder, port) = (fresh_folder(), reserve_port());
        let users = folder.join("users.txt");
        fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = {pool_mode}\n",
            server.port(),
            users.display()
        );
        let file = folder.join("pgbouncer.ini");
        fs::write(&file, settings).unwrap();
        let program =
            ["/usr/sbin/pgbouncer"].map(PathBuf::from).into_iter().find(|path| path.exists());
        let mut command =
            Command::from(as_user(&program.unwrap_or_else(|| PathBuf::from("pgbouncer"))));
        let child = command
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let bouncer =
            Self { folder, port, _child: child.expect("pgbouncer, of Debian's package pgbouncer") };
        soon("PgBouncer to listen", bouncer.listens()).await;
        bouncer
    }

    /// The URL of the database `postgres` behind it, for the superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=prefer", self.port)
    }

    async fn listens(&self) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
