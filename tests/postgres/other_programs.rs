//! A schema that another program uses as well: what is that program's stays as it is, and where it
//! has a name that is needed, the start says so.

use std::{fs, path::Path, process::Command};

use rejoin::{
    adapters::postgres::{self, PostgresOptions, PostgresSetupError, PrepareError},
    testing::backend_context,
};
use rejoin_test_support::{PostgresServer, program};
use tokio::task::JoinSet;

use crate::postgres::given::{appended, options};

/// The schemas that fit a pattern, definitions and rows, as text; but for the server's own, whose
/// statistics change by themselves.
fn dump(server: &PostgresServer, schemas: &str) -> String {
    let mut dump = Command::new(program("pg_dump"));
    dump.args([
        "--schema",
        schemas,
        "--exclude-schema",
        "pg_*",
        "--exclude-schema",
        "information_schema",
        "--dbname",
    ]);
    let done = dump.arg(server.url()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // What keeps a dump from being tampered with is another one each time.
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn options_in(server: &PostgresServer, schema: &str) -> PostgresOptions {
    PostgresOptions { schema: schema.to_owned(), ..options(server.url()) }
}

/// Starts, which must fail; gives what it says is in the way. The database must be as it was.
async fn refused(server: &PostgresServer, schema: &str) -> String {
    let before = dump(server, "*");
    let started = postgres::open(options_in(server, schema), &backend_context()).await;
    assert_eq!(dump(server, "*"), before, "the database was changed");
    match started.err() {
        Some(error @ PostgresSetupError::Prepare(PrepareError::Foreign { .. })) => {
            let said = error.to_string();
            assert!(
                said.contains(&format!("the schema {schema} "))
                    && said.contains("set postgres.schema"),
                "{said}"
            );
            let PostgresSetupError::Prepare(PrepareError::Foreign { what, .. }) = error else {
                unreachable!()
            };
            what
        }
        Some(error) => panic!("another error: {error}"),
        None => panic!("it started"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_of_another_program_stops_the_start_and_stays_as_it_is() {
    let server = PostgresServer::start().await;
    server.run_sql("CREATE TABLE public.orders (id int PRIMARY KEY); INSERT INTO public.orders VALUES (1), (2)");
    let objects = [
        // As the application that is moved here has it.
        (
            "CREATE TABLE message_events (message_id uuid, sequence_no int, event_type text, payload jsonb DEFAULT '{}', \
             created_at timestamptz DEFAULT now(), PRIMARY KEY (message_id, sequence_no)); \
             INSERT INTO message_events VALUES (gen_random_uuid(), 0, 'answer', '{\"a\": 1}')",
            "table message_events",
            "DROP TABLE message_events",
        ),
        (
            "CREATE TABLE user_events (id int) PARTITION BY LIST (id)",
            "table user_events",
            "DROP TABLE user_events",
        ),
        ("CREATE VIEW messages AS SELECT * FROM orders", "view messages", "DROP VIEW messages"),
        (
            "CREATE MATERIALIZED VIEW leases AS SELECT * FROM orders",
            "materialized view leases",
            "DROP MATERIALIZED VIEW leases",
        ),
        ("CREATE SEQUENCE turns", "sequence turns", "DROP SEQUENCE turns"),
        (
            "CREATE INDEX leases_by_end ON orders (id)",
            "index leases_by_end",
            "DROP INDEX leases_by_end",
        ),
        (
            "CREATE TYPE announcements AS ENUM ('a')",
            "type announcements",
            "DROP TYPE announcements",
        ),
        ("CREATE TYPE journal AS (a int)", "type journal", "DROP TYPE journal"),
        ("CREATE DOMAIN probes AS int", "type probes", "DROP DOMAIN probes"),
        (
            "CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
            "function now_ms",
            "DROP FUNCTION now_ms",
        ),
        // Beside this one, a call of Rejoin's function without an argument would be ambiguous.
        (
            "CREATE FUNCTION renew_origin(a int DEFAULT 0) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function renew_origin",
            "DROP FUNCTION renew_origin",
        ),
        (
            "CREATE PROCEDURE announce(a text) LANGUAGE sql AS 'SELECT 1'",
            "procedure announce",
            "DROP PROCEDURE announce",
        ),
        (
            "CREATE AGGREGATE keep_head(int) (sfunc = int4pl, stype = int)",
            "aggregate keep_head",
            "DROP AGGREGATE keep_head(int)",
        ),
    ];
    for (create, words, drop) in objects {
        server.run_sql(create);
        assert_eq!(refused(&server, "public").await, words);
        server.run_sql(drop);
    }
    server.run_sql("CREATE TABLE messages (id int); CREATE FUNCTION announce() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    assert_eq!(
        refused(&server, "public").await,
        "function announce, table messages",
        "all are named at once"
    );

    // Beside them, in a schema of its own, all is well, and they are as they were.
    let before = dump(&server, "public");
    appended(
        &postgres::open(options_in(&server, "rejoin"), &backend_context()).await.unwrap(),
        "u1",
    )
    .await;
    assert_eq!(dump(&server, "public"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_programs_table_of_migrations_is_not_taken_for_rejoins() {
    let server = PostgresServer::start().await;
    let tables = [
        "id serial PRIMARY KEY, name text); INSERT INTO migrations (name) VALUES ('0001_initial')",
        "version bigint, applied_at timestamptz); INSERT INTO migrations VALUES (1, now())",
        "version integer, applied_at timestamptz)",
        "version integer, applied_at timestamptz); INSERT INTO migrations VALUES (3, now())",
        "version integer, applied_at timestamptz); INSERT INTO migrations VALUES (0, now())",
        "version integer, applied_at timestamptz); INSERT INTO migrations VALUES (20260101, now())",
        "version integer, applied_at timestamptz, note text); INSERT INTO migrations VALUES (1, now())",
    ];
    for table in tables {
        server.run_sql(&format!("CREATE TABLE public.migrations ({table}"));
        assert_eq!(refused(&server, "public").await, "table migrations", "{table}");
        server.run_sql("DROP TABLE public.migrations");
    }
    server.run_sql("CREATE VIEW public.migrations AS SELECT 7 AS version, now() AS applied_at");
    assert_eq!(refused(&server, "public").await, "view migrations");
    server.run_sql("DROP VIEW public.migrations");

    // Tables of other migration tools have other names, and are left alone.
    server.run_sql(
        "CREATE TABLE public._sqlx_migrations (version bigint PRIMARY KEY, success boolean); \
         INSERT INTO public._sqlx_migrations VALUES (1, false); CREATE TABLE public.alembic_version (version_num text); \
         INSERT INTO public.alembic_version VALUES ('0031')",
    );
    let before = server.run_sql("SELECT * FROM _sqlx_migrations, alembic_version");
    let process = postgres::open(options_in(&server, "public"), &backend_context()).await.unwrap();
    appended(&process, "u1").await;
    assert_eq!(server.run_sql("SELECT * FROM _sqlx_migrations, alembic_version"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_are_all_refused() {
    let server = PostgresServer::start().await;
    server.run_sql("CREATE TABLE message_events (id int)");
    let before = dump(&server, "*");
    let mut starting = JoinSet::new();
    for _ in 0..8 {
        let options = options_in(&server, "public");
        starting.spawn(async move { postgres::open(options, &backend_context()).await });
    }
    for started in starting.join_all().await {
        assert!(matches!(
            started.err(),
            Some(PostgresSetupError::Prepare(PrepareError::Foreign { .. }))
        ));
    }
    assert_eq!(dump(&server, "*"), before);
}

/// The migrations that were released, in order.
fn migrations() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/adapters/postgres/migrations");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_each_earlier_version_is_brought_up_to_date() {
    let server = PostgresServer::start().await;
    let migrations = migrations();
    for version in 1..=migrations.len() {
        let schema = format!("version_{version}");
        server.run_sql(&format!(
            "CREATE SCHEMA {schema}; SET search_path TO {schema}; \
             CREATE TABLE migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()); {} \
             INSERT INTO migrations SELECT generate_series(1, {version})",
            migrations[..version].concat(),
        ));
        let process = postgres::open(options_in(&server, &schema), &backend_context())
            .await
            .unwrap_or_else(|error| panic!("{version}: {error}"));
        appended(&process, "u1").await;
        let versions = server.run_sql(&format!("SELECT count(*) FROM {schema}.migrations"));
        assert_eq!(versions.trim(), migrations.len().to_string());
    }

    // What a later version needs may be taken by then.
    server.run_sql(&format!(
        "CREATE SCHEMA taken; SET search_path TO taken; \
         CREATE TABLE migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()); {} \
         INSERT INTO migrations VALUES (1); CREATE TABLE turns (a int); CREATE VIEW probes AS SELECT 1",
        migrations[0],
    ));
    assert_eq!(refused(&server, "taken").await, "view probes, table turns");
    server.run_sql("DROP VIEW taken.probes; DROP TABLE taken.turns, taken.leases");
    assert_eq!(
        refused(&server, "taken").await,
        "table migrations: it names version 1, but Rejoin's tables leases are missing"
    );
}

/// The names that are looked for are all that there are: what stands in a fresh schema can't be
/// made beside any of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_object_of_a_fresh_schema_is_one_that_is_looked_for() {
    let server = PostgresServer::start().await;
    postgres::open(options_in(&server, "rejoin"), &backend_context()).await.unwrap();
    let names = server.run_sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'rejoin'::regnamespace AND NOT EXISTS (
             SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'i') AND NOT EXISTS (
             SELECT FROM pg_constraint WHERE conindid = pg_class.oid)
         UNION SELECT proname FROM pg_proc WHERE pronamespace = 'rejoin'::regnamespace",
    );
    let names: Vec<&str> = names.split_whitespace().collect();
    assert!(names.len() > 30, "{names:?}");
    server.run_sql("CREATE SCHEMA other");
    for name in names {
        server.run_sql(&format!("CREATE SEQUENCE other.{name}; CREATE PROCEDURE other.{name}() LANGUAGE sql AS 'SELECT 1'"));
        let what = refused(&server, "other").await;
        assert!(what.contains(name), "{name}: {what}");
        server.run_sql(&format!("DROP SEQUENCE other.{name}; DROP PROCEDURE other.{name}"));
    }
}
