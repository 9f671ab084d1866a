//! `postgres.url` as other programs write it.

use std::fs;

use rejoin::{adapters::postgres, testing::backend_context};
use rejoin_test_support::PostgresServer;

use crate::postgres::{given::options, log::Log};

/// All that ends a password, or a URL, where it is not encoded.
const PASSWORD: &str = "p@ss/w:o?r#d% &=ü";
const ENCODED: &str = "p%40ss%2Fw%3Ao%3Fr%23d%25%20%26%3D%C3%BC";

// On one thread, so that the log of the test's thread has all that is said.
#[tokio::test]
async fn other_programs_schemes_and_passwords_reach_the_server_as_they_are_meant() {
    let server = PostgresServer::start().await;
    let access = server.data().join("pg_hba.conf");
    fs::write(
        &access,
        format!(
            "host all odd 127.0.0.1/32 scram-sha-256\n{}",
            fs::read_to_string(&access).unwrap()
        ),
    )
    .unwrap();
    server.run_sql("SELECT pg_reload_conf()");
    server.run_sql(&format!("CREATE ROLE odd LOGIN PASSWORD '{PASSWORD}'"));
    server.run_sql("GRANT CREATE ON DATABASE postgres TO odd");
    let urls = [
        "postgres",
        "postgresql",
        "postgresql+psycopg",
        "postgresql+psycopg2",
        "postgresql+asyncpg",
        "postgres+asyncpg",
    ]
    .map(|scheme| server.url_of(&format!("odd:{ENCODED}")).replacen("postgres", scheme, 1));
    let in_query = server.url_of("odd") + "&password=" + ENCODED;
    for url in urls.into_iter().chain([in_query]) {
        let log = Log::begin();
        let started = postgres::open(options(url.clone()), &backend_context()).await;
        assert!(
            started.is_ok(),
            "{url}: {}",
            started.err().map(|error| error.to_string()).unwrap_or_default()
        );
        assert!(!log.text().contains("can't be used"), "{url}: {}", log.text());
    }
    let refused = postgres::open(options(server.url_of("odd:another")), &backend_context())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("refuses the password of role odd"), "the password counts: {refused}");
}
