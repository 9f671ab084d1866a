//! TLS: to a server whose certificate is checked, and to nobody else.

use std::process::Command;

use rejoin::{adapters::postgres, testing::backend_context};
use rejoin_test_support::PostgresServer;

use crate::postgres::given::{appended, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_by_who_signed_its_certificate() {
    let server = PostgresServer::start().await;
    let folder = server.data();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", "server.key", "-out", "server.crt"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    server.adopt("server.key");
    server.set("ssl", "on").await;
    let url = |mode: &str| server.url().replace("sslmode=prefer", mode);
    let certificate = folder.join("server.crt");
    let trusted = url(&format!("sslmode=verify-full&sslrootcert={}", certificate.display()));
    let process = postgres::open(options(trusted), &backend_context()).await.unwrap();
    appended(&process, "u1").await;
    let encrypted =
        server.run_sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'rejoin%'");
    assert_eq!(encrypted.trim(), "t");
    // Nobody whom the system trusts has signed this.
    let options = rejoin::adapters::postgres::PostgresOptions {
        schema: "other".to_owned(),
        ..options(url("sslmode=verify-full"))
    };
    let stranger = postgres::open(options, &backend_context()).await.unwrap();
    let refused = rejoin::ports::topic_log::TopicLog::probe(&*stranger.journal).await;
    assert!(refused.is_err());
}
