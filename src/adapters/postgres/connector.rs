//! Connections to the server, as all of this adapter's are: with the schema in their path, bounded
//! in time, and never to a server that takes no writes, or whose schema is not what this version
//! needs.
//!
//! Invariant: a connection that is handed out can be used at once, and its server said that it
//! takes writes when the connection was opened; of those that were open when one was lost, none is
//! used again. After a fail-over the address leads to another server, while connections to the old
//! one may live on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row, postgres::PgConnectOptions,
};

use uuid::Uuid;

use super::{
    failure::{Cause, Failure},
    options::SchemaName,
    schema::{self, PrepareError},
    unreachable,
};
use crate::ports::entropy::Entropy;

/// Every statement finds its rows by an index, in the index's order, and stops when it has enough.
/// The planner prefers to gather and sort all that lies behind a cursor where it takes a topic for
/// small, as it does with statistics of yesterday.
const BY_INDEX: &str = "SET enable_seqscan TO off; SET enable_bitmapscan TO off; SET enable_hashjoin TO off; \
    SET enable_mergejoin TO off; SET jit TO off; SET plan_cache_mode TO force_generic_plan;";

/// Whether the server is a standby, and whether it takes no writes. It is asked without a prepared
/// statement, so that it needs nothing of the session.
const ASK_FOR_WRITES: &str =
    "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean";

/// The number that a session gave itself.
const ASK_FOR_SESSION: &str = "SELECT current_setting('rejoin.session', true)";

/// What every session runs first. An abandoned statement ends by itself, and an abandoned
/// transaction lets go of its locks; the functions count on read-committed isolation, whatever the
/// database's default is.
fn session(schema: &SchemaName, purpose: Purpose, number: Uuid) -> String {
    let timeout_ms = purpose.statement_timeout.as_millis();
    let mut settings = format!(
        "SET search_path TO {schema}; SET default_transaction_isolation TO 'read committed'; SET statement_timeout TO {timeout_ms}; \
         SET idle_in_transaction_session_timeout TO {timeout_ms}; SET client_min_messages TO warning; SET rejoin.session TO '{number}'; {BY_INDEX}",
        schema = schema.as_str()
    );
    if !purpose.is_durable {
        settings.push_str("SET synchronous_commit TO off;");
    }
    settings
}

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose {
    /// What the server shows as its name.
    pub(super) name: &'static str,
    /// How long a statement may take.
    pub(super) statement_timeout: Duration,
    /// Whether a commit waits for the disk, as far as the server's settings have it. Where it does
    /// not, a crash of the server may lose the last moments, but never breaks anything.
    pub(super) is_durable: bool,
}

/// Opens connections.
pub(super) struct Connector {
    server: PgConnectOptions,
    schema: SchemaName,
    entropy: Arc<dyn Entropy>,
    prepared: AtomicBool,
    losses: AtomicU64,
}

impl Connector {
    pub(super) fn new(
        server: PgConnectOptions,
        schema: SchemaName,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        // There is no float to read, and poolers refuse a start parameter that they don't know.
        let server = server.disable_statement_logging().extra_float_digits(None);
        Self {
            server,
            schema,
            entropy,
            prepared: AtomicBool::new(false),
            losses: AtomicU64::new(0),
        }
    }

    pub(super) const fn schema(&self) -> &SchemaName {
        &self.schema
    }

    /// The server as the settings name it.
    pub(super) fn server(&self, purpose: Purpose) -> PgConnectOptions {
        self.server.clone().application_name(purpose.name)
    }

    /// Counts the connections that were lost: one that was opened before the latest loss is not
    /// used again.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Opens a connection. The caller bounds the time that it takes.
    pub(super) async fn connect(&self, purpose: Purpose) -> Result<PgConnection, Failure> {
        let mut connection = self.open(purpose).await?;
        self.begin_session(&mut connection, purpose).await?;
        Ok(connection)
    }

    async fn open(&self, purpose: Purpose) -> Result<PgConnection, Failure> {
        self.server(purpose).connect().await.map_err(|error| self.unreachable(error))
    }

    /// What an error says about the way to the server.
    pub(super) fn unreachable(&self, error: sqlx::Error) -> Failure {
        Failure::Unreachable { why: unreachable::why(&self.server, &error), source: error }
    }

    /// Makes a new connection one of ours.
    pub(super) async fn begin_session(
        &self,
        connection: &mut PgConnection,
        purpose: Purpose,
    ) -> Result<(), Failure> {
        let number = self.set_up(connection, purpose).await?;
        self.require_writable(connection).await?;
        if !self.prepared.load(Ordering::Acquire) {
            self.require_session(connection, purpose, number).await?;
            schema::prepare(connection, &self.schema).await?;
            self.prepared.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Sets a session up; gives the number that it has.
    async fn set_up(
        &self,
        connection: &mut PgConnection,
        purpose: Purpose,
    ) -> Result<Uuid, Failure> {
        let number = self.entropy.uuid();
        let settings = session(&self.schema, purpose, number);
        sqlx::raw_sql(AssertSqlSafe(settings))
            .execute(connection)
            .await
            .map_err(|error| self.unreachable(error))?;
        Ok(number)
    }

    /// Sees that a session belongs to its connection alone. Through a pooler that shares them, what
    /// another connection has set since is seen here, or nothing of what this one has set.
    async fn require_session(
        &self,
        connection: &mut PgConnection,
        purpose: Purpose,
        number: Uuid,
    ) -> Result<(), Failure> {
        let mut other = self.open(purpose).await?;
        self.set_up(&mut other, purpose).await?;
        let seen: Option<String> =
            sqlx::raw_sql(ASK_FOR_SESSION).fetch_one(connection).await?.try_get(0)?;
        other.close().await?;
        if seen == Some(number.to_string()) { Ok(()) } else { Err(PrepareError::NoSessions.into()) }
    }

    /// Asks the server whether it takes writes: a standby does not, and neither does a primary that
    /// was replaced and fenced.
    pub(super) async fn require_writable(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(), Failure> {
        let row = sqlx::raw_sql(ASK_FOR_WRITES).fetch_one(connection).await?;
        let (is_standby, is_read_only): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
        if is_standby || is_read_only {
            return Err(Failure::NotWritable {
                server: unreachable::address(&self.server),
                is_standby,
            });
        }
        Ok(())
    }

    /// Learns from a failed call.
    pub(super) fn learn(&self, failure: &Failure) -> Cause {
        let cause = failure.cause();
        match cause {
            Cause::Lost | Cause::ReadOnly => self.lose(),
            Cause::Wiped => {
                self.prepared.store(false, Ordering::Release);
                self.lose();
            }
            Cause::Collision | Cause::Refused => {}
        }
        cause
    }

    /// A connection was lost, answers no more, or leads to a server that takes no writes any more.
    pub(super) fn lose(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }
}
