//! The backend that many self-hosters already have: everything is in one schema of a Postgres, for
//! any number of processes.
//!
//! - **Acknowledged** means: committed, as durable as the server's own `synchronous_commit` makes
//!   it: on disk by its default, on the standbys too where it names them. An append that ended in a
//!   timeout, or whose connection was lost, may have been done; one that was refused was not.
//!   Leases, budgets and the sweep don't wait for the disk: a crash of the server may forget their
//!   last half second.
//! - **Origin** is a row that is made with the schema. A schema that was dropped is made anew by
//!   the next call, with a later origin; so is the row where it was deleted; and a trigger renews
//!   it when `user_topics` is truncated. What the server can't know is that it was set back, by a
//!   backup or a failover that lost commits: `renew_origin()` declares it.
//! - **Ids** are made under the lock of the topic's head row, by the server's clock, behind the
//!   head: they never go back, whichever process appends, and an entry is visible before any later
//!   one is made. Counters begin at 1.
//! - **Truncation** is exact. Each entry has its `prev`, so the **floor** is that of the oldest
//!   entry retained, and where none is, the id of the last one that there was, which the head row
//!   keeps for ever (about 150 bytes for each user who was ever written to; a trigger keeps it when
//!   it is deleted by hand, and removes the entries instead). The **head** is the last entry's id;
//!   of a topic that was never written to, the time at which it was first asked for, in a head row
//!   of its own. A topic that stays unwritten is forgotten after a day; the journal remembers the
//!   latest head that was returned for those, so none goes back.
//! - **Bounds**: a tenth more than the most entries of a topic may be kept; they are trimmed by the
//!   appends that bring them over it. Entries over the age limit are not shown, and removed by the
//!   sweep. A message is never trimmed, and goes whole.
//! - **A damaged topic** (rows that a constraint or trigger refuses, numbers out of range, values
//!   that make no sense) fails alone, with
//!   [`crate::ports::backend_error::BackendErrorKind::Damaged`], also where it is written or read
//!   with others.
//! - **Broadcasts** are rows that processes read on from the last one that they heard:
//!   kept for a minute, in at most 16 MiB, beyond which they are refused.
//! - **What it needs**: Postgres 13 or later, a UTF8 database, a direct connection to its primary
//!   (through a pooler only in session mode: it listens, and sets its session; the start sees
//!   whether sessions are kept), and a role that owns the schema, or may make it. No extension.
//! - **When the server restarts**, calls fail within their time, connections come back by
//!   themselves with the next call that needs them, and the feed says
//!   [`crate::ports::feed::Signal::Interrupted`] once it listens again. The same holds for a server
//!   that vanishes without a word: calls have times of their own, and the feed asks every other
//!   second.
//! - **When another server takes over** while connections to the old one live on: every connection
//!   is asked at its opening whether its server takes writes, every reading statement asks again,
//!   and the first one that is answered "no" has all connections of the process opened anew. A
//!   server that takes no writes, a standby or a primary that is set so, counts as away: nothing
//!   tells whether it has what was acknowledged elsewhere.
//!
//! One connection for each purpose, so that none starves another: appends to users' topics, and to
//! messages, each with group commit; listening, and reading what was heard of; the sweep; two for
//! leases and budgets; the rest for reads.
//!
//! **`NOTIFY`** takes a lock of the whole server from the commit's beginning to its end. So a
//! process notifies at most once for each of its transactions, which holds all that came while the
//! one before was in flight, and a notification carries only numbers of topics; events are read
//! from the table, for all topics that have grown at once.

mod append;
mod archive;
mod connection_pool;
mod connector;
mod failure;
mod feed;
mod hint;
mod journal;
mod limits;
mod message_batch;
mod message_key;
mod message_reading;
mod message_removal;
mod message_rows;
mod message_writer;
mod messages;
mod numbers;
mod options;
mod own_objects;
pub mod queries;
mod reading;
mod schema;
mod stored_event;
mod sweeping;
mod unreachable;
mod url;

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use self::{
    append::{AppendBounds, AppendWriter},
    connection_pool::ConnectionPool,
    connector::{Connector, Purpose},
    failure::Failure,
    feed::{PostgresAnnouncements, PostgresSource},
    journal::{PostgresJournal, PostgresLog},
    limits::PostgresLimits,
    message_writer::MessageWriter,
    messages::PostgresMessages,
    options::SchemaName,
    sweeping::PostgresSweep,
};
pub use self::{
    options::{CONNECTIONS_MIN, InvalidSchemaName, PostgresOptions},
    schema::PrepareError,
    sweeping::SWEEP_EVERY,
    url::UnusableUrl,
};
use crate::adapters::backend_kit::{
    BackendContext, Ports, Retention,
    feed::{DrivenFeed, FeedOptions},
    sweep::Sweeper,
};

/// A batch of the sweep may take longer than a call: no caller waits for it.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(30);

/// The server can't be a backend as it is.
#[derive(Debug, thiserror::Error)]
pub enum PostgresSetupError {
    /// The URL makes no sense.
    #[error(transparent)]
    Url(#[from] UnusableUrl),
    /// The schema has no proper name.
    #[error(transparent)]
    Schema(#[from] InvalidSchemaName),
    /// It is not what is needed, or its schema can't be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// It does not let us in, and says what has to change first.
    #[error("{0}")]
    Refused(String),
}

/// The ports of one process. The schema is made what it has to be; a server that is away is no
/// error: it may come back, and until then every call says so.
///
/// # Errors
/// [`PostgresSetupError`]: something that does not pass by itself.
pub async fn open(
    options: PostgresOptions,
    context: &BackendContext,
) -> Result<Ports, PostgresSetupError> {
    let server = url::parse(&options.url)?;
    let schema: SchemaName = options.schema.parse()?;
    let channel = schema.channel();
    let connector = Arc::new(Connector::new(server, schema, Arc::clone(&context.entropy)));
    let call_timeout = options.timeout;
    let purpose = |name| Purpose { name, statement_timeout: call_timeout, is_durable: true };
    let pool = |name, max_connections| {
        ConnectionPool::new(&connector, purpose(name), max_connections, call_timeout)
    };
    try_once(&connector, purpose("rejoin start"), call_timeout).await?;

    let Retention { stream_maxlen, replay_max_age, idempotency_window } = context.retention;
    let swept =
        Purpose { name: "rejoin sweep", statement_timeout: SWEEP_TIMEOUT, is_durable: false };
    let sweeps = Arc::new(ConnectionPool::new(&connector, swept, 1, SWEEP_TIMEOUT));
    let sweep = PostgresSweep { pool: Arc::clone(&sweeps), replay_max_age, idempotency_window };
    let log = Arc::new(PostgresLog {
        reads: pool("rejoin reads", options.connections_for_reads()),
        age_ms: numbers::millis_or_endless(replay_max_age),
        on_malformed: Arc::clone(&context.on_malformed),
    });
    let bounds = AppendBounds::new(channel.clone(), stream_maxlen, idempotency_window);
    let events = AppendWriter { pool: pool("rejoin events", 1), bounds };
    let messages = MessageWriter {
        pool: pool("rejoin messages", 1),
        channel: channel.clone(),
        idempotency_window,
    };
    let counted = Purpose { is_durable: false, ..purpose("rejoin limits") };
    let limits = ConnectionPool::new(
        &connector,
        counted,
        PostgresOptions::connections_for_limits(),
        call_timeout,
    );
    let limits = Arc::new(PostgresLimits::new(limits));

    let reads = Arc::new(pool("rejoin feed reads", 1));
    let source =
        PostgresSource::new(&connector, purpose("rejoin feed"), Arc::clone(&reads), call_timeout);
    let announcements = PostgresAnnouncements { log: Arc::clone(&log), reads, channel };
    let feed = FeedOptions {
        task: "postgres feed",
        announcements_task: "postgres announcements",
        call_timeout,
    };
    let feed = DrivenFeed::start(context, feed, source, announcements);
    feed.began().await;
    let journal =
        Arc::new(PostgresJournal::new(Arc::clone(&log), events, call_timeout, &*context.tasks));
    Ok(Ports {
        archive: Arc::clone(&journal) as _,
        journal,
        messages: Arc::new(PostgresMessages::new(
            log,
            messages,
            sweeps,
            call_timeout,
            &*context.tasks,
        )),
        feed: Arc::new(feed),
        leases: Arc::clone(&limits) as _,
        budget: limits,
        sweeper: Some(Arc::new(Sweeper::start(
            context,
            "postgres sweep",
            SWEEP_EVERY,
            Arc::new(sweep),
        ))),
    })
}

/// Returns what is wrong for good; what may pass is left to the calls that come.
async fn try_once(
    connector: &Connector,
    purpose: Purpose,
    call_timeout: Duration,
) -> Result<(), PostgresSetupError> {
    match timeout(call_timeout, connector.connect(purpose)).await {
        Ok(Err(Failure::Unprepared(error))) if !error.may_pass() => Err(error.into()),
        Ok(Err(Failure::Unreachable { why, source })) if unreachable::is_for_good(&source) => {
            Err(PostgresSetupError::Refused(why))
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "postgres can't be used yet");
            Ok(())
        }
        Err(_) => {
            tracing::warn!("postgres does not answer yet");
            Ok(())
        }
        Ok(Ok(_)) => Ok(()),
    }
}
