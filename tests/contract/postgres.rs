//! The backend in Postgres: one private server for all laws, with a schema for each; laws that kill
//! it have one of their own.
//!
//! The schema's clock is a function, so laws move time by another function in its place, as they
//! move the clock of the backend in memory. Time goes on by itself as well, which is what the
//! tolerance is for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rejoin::{
    adapters::postgres::{self, PostgresOptions},
    domain::{message::MESSAGE_EVENTS_MAX, topic::MessageId},
};
use rejoin_test_support::PostgresServer;
use tokio::sync::OnceCell;

use crate::contract::backend::{Backend, Fixture, Options, Process};

/// Within this, no call may hang: laws wait for ten seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// As few connections as a process may have: every law has several processes.
const CONNECTIONS: usize = 10;

pub(crate) struct PostgresFixture;

struct OfPostgres {
    server: Arc<PostgresServer>,
    schema: String,
    options: Options,
    ahead_ms: AtomicI64,
    is_clock_set: bool,
}

/// The server of all laws that leave it alive. It ends with the process.
async fn shared_server() -> Arc<PostgresServer> {
    static SERVER: OnceCell<Arc<PostgresServer>> = OnceCell::const_new();
    Arc::clone(SERVER.get_or_init(async || Arc::new(PostgresServer::start().await)).await)
}

fn open(server: Arc<PostgresServer>, options: Options) -> OfPostgres {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let schema = format!("law_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    OfPostgres { server, schema, options, ahead_ms: AtomicI64::new(0), is_clock_set: false }
}

#[async_trait]
impl Fixture for PostgresFixture {
    async fn open(&self, options: Options) -> Box<dyn Backend> {
        Box::new(open(shared_server().await, options))
    }

    async fn open_with_clock(&self, options: Options) -> Box<dyn Backend> {
        Box::new(OfPostgres { is_clock_set: true, ..open(shared_server().await, options) })
    }

    async fn open_to_be_killed(&self, options: Options) -> Box<dyn Backend> {
        Box::new(open(Arc::new(PostgresServer::start().await), options))
    }

    fn property_cases(&self) -> u32 {
        12
    }

    fn time_tolerance(&self) -> Duration {
        Duration::from_millis(900)
    }
}

impl OfPostgres {
    fn move_clock(&self, by_ms: i64) {
        let ahead_ms = self.ahead_ms.fetch_add(by_ms, Ordering::SeqCst) + by_ms;
        self.set_clock(&format!(
            "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint + {ahead_ms}"
        ));
    }

    fn set_clock(&self, now_ms: &str) {
        self.server.run_sql(&format!(
            "CREATE OR REPLACE FUNCTION {}.now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT {now_ms} $$",
            self.schema
        ));
    }
}

#[async_trait]
impl Backend for OfPostgres {
    async fn process(&self) -> Process {
        let options = PostgresOptions {
            url: self.server.url(),
            schema: self.schema.clone(),
            max_connections: CONNECTIONS,
            timeout: CALL_TIMEOUT,
        };
        let process = Process::of(postgres::open(options, &self.options.context()).await.unwrap());
        if self.is_clock_set { process.without_sweep() } else { process }
    }

    async fn pass(&self, time: Duration) {
        self.move_clock(i64::try_from(time.as_millis()).unwrap());
    }

    fn trim_slack_entries(&self) -> usize {
        self.options.stream_maxlen / 10
    }

    async fn set_clock_ms(&self, now_ms: u64) {
        self.set_clock(&now_ms.to_string());
    }

    async fn fill_message(&self, id: &MessageId, room: u64) {
        let next = MESSAGE_EVENTS_MAX - room;
        self.server.run_sql(&format!(
            "UPDATE {}.messages SET next_sequence_no = {next} WHERE message_id = '{id}'",
            self.schema
        ));
    }

    async fn step_clock_back(&self, by: Duration) {
        self.move_clock(-i64::try_from(by.as_millis()).unwrap());
    }

    async fn wipe(&self) {
        self.server.run_sql(&format!("DROP SCHEMA {} CASCADE", self.schema));
    }

    async fn restart(&self) {
        self.server.kill();
        self.server.restart().await;
    }

    async fn stop(&self) {
        self.server.kill();
    }

    async fn start(&self) {
        self.server.restart().await;
    }

    async fn pause(&self) {
        self.server.pause();
    }

    async fn resume(&self) {
        self.server.resume();
    }

    /// Refuses every row, in the words of a server whose disk is full.
    async fn fill(&self) {
        let schema = &self.schema;
        self.server.run_sql(&format!(
            "CREATE FUNCTION {schema}.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
            END $$;
            DO $$ DECLARE of_table text; BEGIN
                FOR of_table IN SELECT tablename FROM pg_tables WHERE schemaname = '{schema}' LOOP
                    EXECUTE format('CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {schema}.%I
                        FOR EACH ROW EXECUTE FUNCTION {schema}.no_room()', of_table);
                END LOOP;
            END $$"
        ));
    }

    async fn lose_topic(&self, user_id: &str) {
        self.server.run_sql(&format!(
            "DELETE FROM {}.user_events WHERE user_id = '{user_id}'",
            self.schema
        ));
    }

    async fn cut_feeds(&self) {
        self.server.run_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rejoin feed'");
    }

    async fn make_room(&self) {
        self.server.run_sql(&format!("DROP FUNCTION {}.no_room() CASCADE", self.schema));
    }
}
