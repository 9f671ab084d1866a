//! A private nginx, from the documented settings.

use std::net::SocketAddr;

use rejoin_test_support::eventually;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

const DOCUMENTED: &str = include_str!("../../deploy/nginx/rejoin.conf");

/// A running nginx. It ends when it is dropped.
pub(crate) struct Nginx {
    process: Child,
    _folder: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Starts nginx before a server, with the documented settings, changed by the test where it
    /// says so.
    pub(crate) async fn start(server: SocketAddr, change: impl Fn(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let site = replaced(DOCUMENTED, "server 127.0.0.1:8080;", &format!("server {server};"));
        let site = replaced(&site, "listen 80;", &format!("listen {address};"));
        let root = folder.path().display();
        let config = format!(
            "daemon off; pid {root}/pid; error_log {root}/error.log; worker_processes 1; events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c;\n\
             uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;\n{}\n}}\n",
            change(site)
        );
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        // Quit by a signal when dropped: a killed master would leave its worker behind.
        command.kill_on_drop(false);
        let process = command.spawn().unwrap();
        eventually("nginx listens", async || TcpStream::connect(address).await.is_ok()).await;
        Self { process, _folder: folder, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(id) = self.process.id() {
            // A process that is gone already needs no signal.
            let _ = std::process::Command::new("kill").arg("-TERM").arg(id.to_string()).status();
        }
    }
}

pub(crate) fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in the documented settings");
    text.replace(from, to)
}
