//! NATS JetStream: a stream each for users' events, messages, announcements and limits, with a
//! subject for each user and message.
//!
//! - **Acknowledged** means: stored by the stream's leader, and with several replicas by most of
//!   them. The server hands it to the operating system at once, and syncs it to disk every two
//!   minutes, unless its `sync_interval` says `always`: a killed server loses nothing; a power cut
//!   may cost what was not synced yet on most replicas. Clients can't see that setting, so nobody
//!   is warned of it.
//! - **Ids** are `<when the stream was made, in ms>-<its sequence>`: of a stream that was removed
//!   and made anew they lie behind all before. **Origin** is that time with sequence 0. The
//!   **head** of a topic is its last entry; without one it is the stream's last sequence.
//! - **Prev** stands in a header of each entry, which is stored only if the subject still ends
//!   there. So it is exact.
//! - **Truncation** is exact, but that a notice may come needlessly to a cursor that lies before
//!   the oldest entry of its topic, where what stood in the stream at the cursor is gone: nobody
//!   can tell then whether it was the topic's own.
//! - **Reads** ask the stream's leader where a topic begins and ends, and fetch its entries by
//!   their sequences, which the entries themselves have. Replicas that lag behind are not believed.
//!   No consumer is ever made.
//! - **The feed**: the server republishes what it stores to a subject for each topic, which
//!   processes subscribe to while it has followers. A connection that was lost, a new leader and a
//!   stream that was made anew count as interruptions.
//! - **Idempotency** of users' events is the server's (`Nats-Msg-Id`, for the stream's duplicate
//!   window). The server keeps those ids in memory, and finds them again in the stream when it
//!   restarts: a key whose event was purged is then forgotten. Keys of messages stand in their
//!   records.
//! - Events that are published together are stored together or not at all, up to 1,000 of them; but
//!   for a repeat of some of them, after which those that are new are stored one by one.
//! - **Messages** are records under one subject, each with the whole state and the events that came
//!   with it, each stored only behind the one that it was decided on.
//! - **Times** are the servers': processes correct their clocks by what streams say. Servers'
//!   clocks have to agree with each other.
//! - It needs NATS 2.12 or later with JetStream.
//! - **A restart of a server** costs a delay: calls fail until it, or another leader, is there; the
//!   feed listens anew.

mod announcements;
mod archive;
mod chain;
mod connection;
mod documents;
mod ends;
mod entry;
mod failure;
mod feed;
mod incarnation;
mod journal;
mod limits;
mod messages;
mod record;
mod store;
mod stream_info;
mod streams;
mod subjects;
mod trail;

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::timeout;

use self::{
    announcements::NatsAnnouncements,
    archive::NatsArchive,
    connection::{Address, Connection},
    documents::Documents,
    ends::Ends,
    failure::Failure,
    feed::{Heard, NatsSource},
    incarnation::{Incarnation, ServersClock},
    journal::NatsJournal,
    limits::NatsLimits,
    messages::NatsMessages,
    store::Store,
    streams::{NotReady, StreamOptions, Streams},
    subjects::Subjects,
};
pub use self::{connection::CALL_TIMEOUT, streams::StreamProblem};
use crate::adapters::backend_kit::{
    BackendContext, Ports,
    feed::{DrivenFeed, FeedOptions},
};

/// Most users of whom it is remembered where their topics end, and what their limits are: about a
/// KiB each.
const SUBJECTS_REMEMBERED_MAX: usize = 10_000;
/// Most messages that are remembered, each with its keys of late.
const MESSAGES_REMEMBERED_MAX: usize = 2_000;
/// How long the start waits for streams that are made or changed.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// Where NATS is, and what it is to be used for.
#[derive(Clone)]
pub struct NatsOptions {
    /// `nats://` or `tls://`, with user and password, or a token, where they are needed; several
    /// servers with commas between.
    pub url: String,
    /// File with a user's JWT and key.
    pub credentials_file: Option<PathBuf>,
    /// File with the seed of an nkey.
    pub nkey_file: Option<PathBuf>,
    /// PEM file of the authorities that sign the servers' certificates; those of the system where
    /// there is none. It makes TLS required.
    pub tls_ca_file: Option<PathBuf>,
    /// What the names of streams begin with.
    pub stream_prefix: String,
    /// What all subjects begin with.
    pub subject_prefix: String,
    /// The JetStream domain, where it is not the connection's own.
    pub domain: Option<String>,
    /// On how many servers each stream is kept: 1, 3 or 5.
    pub replicas: usize,
    /// Where streams are kept.
    pub storage: Storage,
}

/// Where streams are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    File,
    /// In memory: a server that restarts has lost what it held.
    Memory,
}

/// Why NATS can't be used as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum NatsSetupError {
    /// The URL makes no sense.
    #[error(
        "nats.url is not usable: write nats://user:password@host:4222, or tls:// for TLS; of several servers with commas between"
    )]
    Url(#[source] io::Error),
    /// A file can't be read.
    #[error("can't read {setting} {path}")]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The underlying IO error.
        #[source]
        source: io::Error,
    },
    /// The credentials make no sense.
    #[error("nats.credentials_file has no user's JWT and key, as `nsc generate creds` writes them")]
    Credentials(#[source] io::Error),
    /// The client can't be made.
    #[error("can't connect to NATS with these settings")]
    Connect(#[source] async_nats::ConnectError),
    /// A stream, or the server, can't be used.
    #[error(transparent)]
    Stream(#[from] StreamProblem),
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("stream_prefix", &self.stream_prefix)
            .finish_non_exhaustive()
    }
}

/// Opens the ports. Where no server can be reached, they come to life when one is there.
///
/// # Errors
/// The settings make no sense; a server is too old; or a stream of ours is not as it must be.
pub async fn open(options: NatsOptions, context: &BackendContext) -> Result<Ports, NatsSetupError> {
    let address = Address::of(&options)?;
    let connection = Connection::lasting(&address, Arc::clone(&context.entropy)).await?;
    let subjects =
        Arc::new(Subjects::new(options.stream_prefix.clone(), options.subject_prefix.clone()));
    let retention = context.retention;
    let streams = Arc::new(Streams::new(
        &subjects,
        StreamOptions { replicas: options.replicas, storage: options.storage, retention },
    ));
    let clock = Arc::new(ServersClock::new(Arc::clone(&context.clock)));
    let store = |(name, _): (String, String)| {
        let incarnation = Arc::new(Incarnation::new(Arc::clone(&clock)));
        Arc::new(Store {
            connection: connection.clone(),
            name,
            incarnation,
            streams: Arc::clone(&streams),
        })
    };
    let stores =
        [subjects.events(), subjects.messages(), subjects.announcements(), subjects.limits()]
            .map(store);
    let is_there = make_ready(&connection, &streams, &stores).await?;
    warn_of(&options);
    let [events, messages, announcements, limits] = stores;
    let heard = |store: &Arc<Store>, (_, taken): (String, String)| Heard {
        name: store.name.clone(),
        nothing: taken.replace('*', "=nothing"),
        incarnation: Arc::clone(&store.incarnation),
    };
    let announcement = subjects.announcements().1;
    let source = NatsSource {
        address,
        streams,
        registry: Arc::clone(&context.registry),
        heard: [heard(&events, subjects.events()), heard(&messages, subjects.messages())],
        announcements: subjects.live(&announcement),
        subjects: Arc::clone(&subjects),
    };
    let log = NatsAnnouncements {
        store: announcements,
        subject: announcement,
        registry: Arc::clone(&context.registry),
    };
    let feed_options = FeedOptions {
        task: "nats feed",
        announcements_task: "nats announcements",
        call_timeout: CALL_TIMEOUT,
    };
    let feed = DrivenFeed::start(context, feed_options, source, log);
    if is_there {
        // What is announced from now on is heard.
        feed.began().await;
    }
    let documents =
        Arc::new(Documents { store: limits, remembered: Ends::at_most(SUBJECTS_REMEMBERED_MAX) });
    let limits = Arc::new(NatsLimits {
        documents: Arc::clone(&documents),
        subjects: Arc::clone(&subjects),
        clock: Arc::clone(&clock),
    });
    let messages = NatsMessages {
        store: messages,
        subjects: Arc::clone(&subjects),
        remembered: Ends::at_most(MESSAGES_REMEMBERED_MAX),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&context.entropy),
        registry: Arc::clone(&context.registry),
        retention,
        on_malformed: Arc::clone(&context.on_malformed),
    };
    let journal = NatsJournal {
        store: events,
        subjects,
        documents,
        ends: Ends::at_most(SUBJECTS_REMEMBERED_MAX),
        clock,
        entropy: Arc::clone(&context.entropy),
        registry: Arc::clone(&context.registry),
        retention,
        on_malformed: Arc::clone(&context.on_malformed),
    };
    let (journal, messages) = (Arc::new(journal), Arc::new(messages));
    let archive = NatsArchive {
        journal: Arc::clone(&journal),
        events: Arc::clone(&journal.store),
        messages: Arc::clone(&messages.store),
        subjects: Arc::clone(&journal.subjects),
    };
    Ok(Ports {
        archive: Arc::new(archive),
        journal,
        messages,
        feed: Arc::new(feed),
        leases: Arc::clone(&limits) as _,
        budget: limits,
        sweeper: None,
    })
}

/// Has the streams made or checked, where a server can be reached. Where none can (`false`), the
/// feed does it as soon as there is one.
async fn make_ready(
    connection: &Connection,
    streams: &Streams,
    stores: &[Arc<Store>],
) -> Result<bool, StreamProblem> {
    if !connection.is_there_soon().await {
        let reason = connection.reason().unwrap_or_else(|| "no server answers".to_owned());
        tracing::warn!("NATS can't be reached yet: {reason}");
        return Ok(false);
    }
    let ready = async {
        streams.make_ready(connection).await?;
        for store in stores {
            store.info().await?;
        }
        Ok(())
    };
    match timeout(READY_TIMEOUT, ready).await.unwrap_or(Err(NotReady::Failure(Failure::Silent))) {
        Err(NotReady::Problem(problem)) => Err(problem),
        Err(NotReady::Failure(failure)) => {
            tracing::warn!("can't use NATS: {failure}");
            Ok(false)
        }
        Ok(()) => {
            let max_payload = connection.max_payload();
            tracing::info!(
                max_payload,
                "events larger than max_payload of the NATS server are refused"
            );
            Ok(true)
        }
    }
}

fn warn_of(options: &NatsOptions) {
    if options.storage == Storage::Memory {
        tracing::warn!("nats.storage is \"memory\": what a server held is lost when it restarts");
    }
}
