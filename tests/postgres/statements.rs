//! Every statement, checked by the server against the schema, and looked at how it is done where
//! there is much.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::StreamExt;
use rejoin::{
    adapters::{
        backend_kit::Ports,
        postgres::{self, queries},
    },
    domain::{
        leases::LeaseId,
        message::MessageAppend,
        page::PageLimit,
        position::{EventId, Position},
        topic::{MessageId, Topic, UserId},
    },
    ports::feed::Signal,
    testing::backend_context,
};
use rejoin_test_support::{PostgresServer, soon};
use sqlx::{Connection, Executor, PgConnection, SqlSafeStr};
use uuid::Uuid;

use crate::postgres::given::{SCHEMA, append, event, options, topic};

/// Enough of everything that nobody would read a whole table.
const FILL: &str = "SET search_path TO rejoin;
    INSERT INTO user_topics SELECT 'f' || u, 1, 30, 1, 29, 30, 1, true FROM generate_series(1, 2000) u;
    INSERT INTO user_events SELECT 'f' || u, 1000000 + u, n, 1000000 + u, n - 1, n, 0, 'x', NULL, NULL, '{}'
        FROM generate_series(1, 2000) u, generate_series(1, 30) n;
    INSERT INTO user_topics SELECT 'long' || u, now_ms() + 100000, 1, 1, 1, 5000, 1, true FROM generate_series(1, 3) u;
    INSERT INTO user_events SELECT 'long' || u, now_ms() + n, 1, now_ms() + n - 1, 1, n, 0, 'x', NULL, NULL, '{}'
        FROM generate_series(1, 5000) n, generate_series(1, 3) u;
    INSERT INTO idempotency_keys SELECT 'f' || u, 'k', 1, 1, u FROM generate_series(1, 50000) u;
    INSERT INTO messages SELECT gen_random_uuid(), 'f', 1, 1, false, NULL, NULL, 1, u, u FROM generate_series(1, 50000) u;
    INSERT INTO message_events SELECT message_id, 0, 'x', '{}', now() FROM messages;
    INSERT INTO message_keys SELECT message_id, 'k', 0, producer_seen_ms FROM messages;
    INSERT INTO announcements (announcement_id, announced_ms, user_id) OVERRIDING SYSTEM VALUE
        SELECT -u, u, 'f' FROM generate_series(1, 50000) u;
    INSERT INTO leases SELECT 'f' || u, gen_random_uuid(), u FROM generate_series(1, 50000) u;
    INSERT INTO replay_windows SELECT 'f' || u, '{1}', u FROM generate_series(1, 50000) u;
    INSERT INTO continuations (user_id, ms, n, ends_ms) SELECT 'f' || u, 1, 1, u FROM generate_series(1, 50000) u;
    INSERT INTO user_topics SELECT 'e' || u, 1, 0, 1, 0, 0, u, false FROM generate_series(1, 50000) u;
    ANALYZE;";

async fn connection(server: &PostgresServer) -> PgConnection {
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::query("SET search_path TO rejoin").execute(&mut connection).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_fits_the_schema() {
    let server = PostgresServer::start().await;
    postgres::open(options(server.url()), &backend_context()).await.unwrap();
    let mut connection = connection(&server).await;
    for (name, statement) in queries::ALL {
        let prepared = connection.prepare(sqlx::AssertSqlSafe(statement).into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_reads_more_than_it_has_to() {
    const EXPLAINED: &str = "
        session_preload_libraries = 'auto_explain'
        auto_explain.log_min_duration = 0
        auto_explain.log_analyze = on
        auto_explain.log_nested_statements = on
        autovacuum = off
    ";
    let server = PostgresServer::start_with(EXPLAINED).await;
    let process = postgres::open(options(server.url()), &backend_context()).await.unwrap();
    server.run_sql(FILL);
    let before = server.log().len();
    // Often enough that the server has settled for general plans.
    for _ in 0..8 {
        use_everything(&process).await;
    }
    // A feed that was deaf looks what was announced meanwhile.
    server.run_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rejoin feed'");
    let interrupted = process
        .feed
        .signals()
        .filter(|signal| std::future::ready(matches!(signal, Signal::Interrupted)));
    soon("the feed to be back", Box::pin(interrupted).next()).await;
    process.sweeper.as_ref().unwrap().sweep().await.unwrap();
    process.messages.sweep(Duration::ZERO, 100).await.unwrap();
    let log = server.log();
    let plans = &log[before..];
    print_scans(plans);
    let tables =
        server.run_sql(&format!("SELECT tablename FROM pg_tables WHERE schemaname = '{SCHEMA}'"));
    // One has a single row, and nobody looks at the other after the start.
    let tables: Vec<&str> =
        tables.lines().filter(|table| !["journal", "migrations"].contains(table)).collect();
    for table in &tables {
        assert!(plans.contains(&format!(" on {table}")), "no statement was seen to use {table}");
    }
    for plan in plans.split("duration: ") {
        for (table, scan) in
            tables.iter().flat_map(|table| ["Seq", "Bitmap Heap"].map(|scan| (table, scan)))
        {
            assert!(
                !plan.contains(&format!("{scan} Scan on {table}")),
                "{table} is not read in the order of an index: {plan}"
            );
        }
        for line in plan.lines().filter(|line| line.contains("Scan using")) {
            let rows = line
                .rsplit_once(" rows=")
                .and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
            assert!(
                rows.is_none_or(|rows| rows <= READ_MAX),
                "more than is needed: {line} in {plan}"
            );
        }
    }
}

/// Shows, with `--nocapture`, by what each statement finds its rows.
fn print_scans(plans: &str) {
    let mut scans: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for plan in plans.split("duration: ").filter(|plan| plan.contains("cost=")) {
        let text = plan.split_once("Query Text: ").map_or("", |(_, text)| text);
        let statement: Vec<&str> =
            text.split("(cost=").next().unwrap_or_default().split_whitespace().take(14).collect();
        let nodes = plan
            .lines()
            .filter_map(|line| line.split_once("  (cost="))
            .map(|(node, _)| node.trim().trim_start_matches("->").trim());
        scans
            .entry(statement.join(" "))
            .or_default()
            .extend(nodes.filter(|node| node.contains(" on ") && node.contains("Scan")));
    }
    for (statement, scans) in scans {
        println!("{statement} ..\n    {}", scans.into_iter().collect::<Vec<_>>().join("; "));
    }
}

/// A batch of the sweep has a thousand rows; as many are trimmed behind those that came.
const READ_MAX: u32 = 1_100;

async fn use_everything(process: &Ports) {
    let (user, limit) =
        (UserId::parse("f7").unwrap(), PageLimit { entries_max: 100, bytes_max: 1 << 20 });
    let (known, unknown, message) =
        (topic("f7"), topic(&Uuid::new_v4().to_string()), MessageId::from(Uuid::new_v4()));
    process.feed.watch(&known).await.unwrap();
    process.feed.watch(&Topic::Message(message.clone())).await.unwrap();
    let key = Uuid::new_v4().to_string();
    process
        .journal
        .append(
            (0..40)
                .map(|n| append(&format!("f{n}"), (n % 2 == 0).then_some(key.as_str())))
                .collect(),
        )
        .await
        .unwrap();
    for topic in [&known, &unknown, &topic("long2")] {
        process.journal.read(topic, Position::Start, limit).await.unwrap();
        process.journal.bounds(topic).await.unwrap();
    }
    process.journal.append((0..100).map(|_| append("long3", None)).collect()).await.unwrap();
    process.journal.purge(topic("f8").user().unwrap()).await.unwrap();
    process.journal.probe().await.unwrap();
    process.messages.open(&message, &user, false).await.unwrap().unwrap();
    let chunk = |sequence_no, key: Option<&str>| MessageAppend {
        event: event(),
        sequence_no,
        idempotency_key: append("f", key).idempotency_key,
    };
    for batch in [
        vec![chunk(Some(0), None), chunk(None, Some(&key))],
        vec![chunk(Some(0), None), chunk(None, Some(&key))],
    ] {
        assert!(
            process
                .messages
                .append(&message, Some(1), batch)
                .await
                .unwrap()
                .iter()
                .all(Result::is_ok)
        );
    }
    process.messages.heartbeat(&message, None).await.unwrap().unwrap();
    process.messages.observe(&message).await.unwrap();
    process.messages.read(&Topic::Message(message.clone()), Position::Start, limit).await.unwrap();
    process.messages.bounds(&Topic::Message(message.clone())).await.unwrap();
    process.messages.delete(&message).await.unwrap();
    process.feed.close_connections(&user).await.unwrap();
    process.feed.broadcast(event()).await.unwrap();
    let lease = LeaseId(Uuid::new_v4());
    process.leases.acquire(&user, lease, 100, Duration::from_secs(9)).await.unwrap();
    process.leases.renew(&[(user.clone(), lease)], Duration::from_secs(9)).await.unwrap();
    process.leases.count(&user).await.unwrap();
    process.leases.release(&[(user.clone(), lease)]).await.unwrap();
    for cursor in [Position::Start, Position::After(EventId::timed(7, 1))] {
        process.budget.allow_continuation(&user, cursor, Duration::from_secs(9)).await.unwrap();
        process.budget.take(&user, cursor, 100, Duration::from_secs(9)).await.unwrap().unwrap();
    }
    process
        .budget
        .take(&user, Position::Start, 100, Duration::from_secs(9))
        .await
        .unwrap()
        .unwrap();
    process.budget.left(&user, 100, Duration::from_secs(9)).await.unwrap();
}
