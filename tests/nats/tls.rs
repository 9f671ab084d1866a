//! An authority of one's own, and a NATS that speaks TLS with a certificate of it.

use std::{fs, path::PathBuf};

use rejoin_test_support::{NatsConfig, NatsServer};
use tempfile::TempDir;
use tokio::process::Command;

use crate::nats::given::{append, open, options, try_open};

/// Makes an authority, one that signs nothing, and a server's certificate.
async fn certificates() -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
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
    openssl(&["req", "-subj", "/CN=nats", "-keyout", &path("nats.key"), "-out", &path("nats.csr")])
        .await;
    let signed = ["x509", "-req", "-days", "2", "-CAcreateserial", "-extfile", &path("names")];
    let by = ["-CA", &path("authority.pem"), "-CAkey", &path("authority.key")];
    let files = ["-in", &path("nats.csr"), "-out", &path("nats.pem")];
    run(&[&signed[..], &by, &files].concat()).await;
    folder
}

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

#[tokio::test]
async fn a_private_authority_is_trusted_and_no_other() {
    let folder = certificates().await;
    let path = |name: &str| folder.path().join(name);
    let lines =
        format!("tls {{ cert_file: {:?}, key_file: {:?} }}", path("nats.pem"), path("nats.key"));
    let config =
        NatsConfig { lines, tls_ca_file: Some(path("authority.pem")), ..NatsConfig::default() };
    let server = NatsServer::start_with(config).await;
    let with = |authority: Option<PathBuf>| rejoin::adapters::nats::NatsOptions {
        tls_ca_file: authority,
        ..options(server.url())
    };
    let trusted = try_open(&with(Some(path("authority.pem")))).await.unwrap();
    trusted.journal.append(vec![append("u1", 1)]).await.unwrap();
    for authority in [Some(path("stranger.pem")), None] {
        let ports = try_open(&with(authority)).await.unwrap();
        assert!(ports.journal.append(vec![append("u1", 2)]).await.is_err());
    }
    // What asks for TLS is never satisfied by a server that has none.
    let plain = NatsServer::start().await;
    let url = plain.url().replace("nats://", "tls://");
    assert!(open(url).await.journal.append(vec![append("u1", 3)]).await.is_err());
}
