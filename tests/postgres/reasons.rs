//! Why Postgres can't be used: each mistake has words of its own, which stand in the log, or end
//! the start, at once.

use std::{collections::BTreeSet, fs, net::TcpListener};

use rejoin::{adapters::postgres, testing::backend_context};
use rejoin_test_support::{PgBouncer, PostgresServer};

use crate::postgres::{given::options, log::Log};

/// What the start ends with, or says in its log before it is over.
async fn said_at_the_start(url: &str) -> String {
    let log = Log::begin();
    let started = postgres::open(options(url.to_owned()), &backend_context()).await;
    started.err().map_or_else(|| log.text(), |error| error.to_string())
}

// On one thread, so that the log of the test's thread has all that is said.
#[tokio::test]
async fn each_mistake_is_told_in_words_of_its_own() {
    let server = PostgresServer::start().await;
    let pooler = PgBouncer::start(&server, "session").await;
    let access = server.data().join("pg_hba.conf");
    let rules = format!(
        "host all keyed 127.0.0.1/32 scram-sha-256\n{}",
        fs::read_to_string(&access).unwrap()
    );
    fs::write(&access, rules).unwrap();
    for statement in [
        "SELECT pg_reload_conf()",
        "CREATE ROLE keyed LOGIN PASSWORD 'right'",
        "CREATE ROLE humble LOGIN",
        "CREATE DATABASE closed",
        "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
    ] {
        server.run_sql(statement);
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let of = |role: &str, database: &str| {
        server.url_of(role).replace("/postgres?", &format!("/{database}?"))
    };
    let mistakes = [
        (
            "a wrong password",
            of("keyed:wrong-one", "postgres"),
            "refuses the password of role keyed",
        ),
        ("no such role", of("nobody", "postgres"), "does not let role nobody in"),
        (
            "an unknown host",
            "postgres://keyed:wrong-one@no-such-host.invalid/x".to_owned(),
            "host name no-such-host.invalid can't be resolved",
        ),
        (
            "nobody listens",
            format!("postgres://keyed:wrong-one@127.0.0.1:{free}/x"),
            "connection refused",
        ),
        (
            "no TLS there",
            server.url().replace("sslmode=prefer", "sslmode=require"),
            "check sslmode and sslrootcert",
        ),
        ("no such database", of("postgres", "nowhere"), "there is no database nowhere"),
        (
            "no right to connect",
            of("humble", "closed"),
            "GRANT CONNECT ON DATABASE closed TO humble",
        ),
        (
            "no right to make the schema",
            of("humble", "postgres"),
            "CREATE SCHEMA rejoin AUTHORIZATION",
        ),
        (
            "a parameter of the pooler's",
            format!("{}&options=-c%20geqo=off", pooler.url()),
            "ignore_startup_parameters",
        ),
    ];
    let mut all = BTreeSet::new();
    for (mistake, url, words) in &mistakes {
        let said = said_at_the_start(url).await;
        assert!(said.contains(words), "{mistake}: {said}");
        assert!(!said.contains("wrong-one"), "{mistake}: a password is told in {said}");
        all.insert(said);
    }
    assert_eq!(all.len(), mistakes.len());
}
