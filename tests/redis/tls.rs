//! An authority of one's own, and a Redis that speaks TLS with a certificate of it.

use std::{fs, net::TcpListener, path::PathBuf};

use rejoin_test_support::RedisServer;
use tempfile::TempDir;
use tokio::process::Command;

/// A Redis behind TLS. Its other port is for the test itself.
pub(crate) struct TlsRedis {
    folder: TempDir,
    port: u16,
    _redis: RedisServer,
}

impl TlsRedis {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
            .unwrap();
        for name in ["authority", "stranger"] {
            let (key, certificate) = (path(&format!("{name}.key")), path(&format!("{name}.pem")));
            openssl(&[
                "req",
                "-x509",
                "-days",
                "2",
                "-subj",
                &format!("/CN={name}"),
                "-keyout",
                &key,
                "-out",
                &certificate,
            ])
            .await;
        }
        openssl(&[
            "req",
            "-subj",
            "/CN=redis",
            "-keyout",
            &path("redis.key"),
            "-out",
            &path("redis.csr"),
        ])
        .await;
        let signed = ["x509", "-req", "-days", "2", "-CAcreateserial", "-extfile", &path("names")];
        let by = ["-CA", &path("authority.pem"), "-CAkey", &path("authority.key")];
        let files = ["-in", &path("redis.csr"), "-out", &path("redis.pem")];
        run(&[&signed[..], &by, &files].concat()).await;

        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let certificates = [
            "--tls-cert-file",
            &path("redis.pem"),
            "--tls-key-file",
            &path("redis.key"),
            "--tls-ca-cert-file",
            &path("authority.pem"),
        ];
        let listening = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no"];
        let redis = RedisServer::start_with(&[&certificates[..], &listening].concat()).await;
        Self { folder, port, _redis: redis }
    }

    pub(crate) fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port)
    }

    /// The certificate of the authority that signed the server's.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The certificate of one that did not.
    pub(crate) fn stranger(&self) -> PathBuf {
        self.folder.path().join("stranger.pem")
    }
}

/// Makes a key with a request, or a certificate, for it.
async fn openssl(request: &[&str]) {
    run(&[request, &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]].concat())
        .await;
}

async fn run(arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .await
        .expect("openssl, of Debian's package openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
