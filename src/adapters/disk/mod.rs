//! The backend on this machine's disk: nothing else needs to run, and nothing is lost in a restart,
//! a crash or a loss of power.
//!
//! - **Acknowledged** means: written to a log and synced to the disk (`disk.sync = "always"`), so
//!   that a crash of the process or the machine loses nothing. With `"interval"` the log is synced
//!   about every second: a crash of the process loses nothing, one of the machine up to that
//!   second. A sync that fails is an error of every write that waited for it.
//! - **Truncation** is exact. A topic's row keeps its head and its floor for as long as the store
//!   lives, also when all its entries are gone; each entry keeps its `prev`.
//! - **Origin** is the time at which the store was made. The **head** of an empty topic is its last
//!   id or now, whichever is later.
//! - **Idempotency keys** are kept on disk for their window, and survive a restart.
//! - **Messages** are never trimmed: one is whole, or gone.
//! - **What it needs**: a directory of its own on a local file system (`disk.path`), for one
//!   process at a time.
//! - **A full disk**: writes are answered by 503 with the reason, reads go on, and writes succeed
//!   again when there is room.
//! - **Damage** is reported, never passed over: each block of the table and each record of the log
//!   has a checksum, each entry names the one before it, and a mark beside the store says what it
//!   must still hold. A store that holds less is not opened.
//! - **Memory**: what was written last (64 MiB at most, about) and what was read last
//!   (`disk.cache_bytes`). A topic that is not used costs none.
//!
//! One process serves it, so that leases, budgets and the feed are in its memory.

mod archive;
mod blocking;
mod blocks;
mod failure;
pub mod files;
mod journal;
mod keys;
mod known;
mod log;
mod mark;
mod messages;
mod rows;
mod store;
mod stored_message;
mod sweeping;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::sleep;

use self::{
    blocking::with_store,
    failure::Failure,
    files::{Directory, DirectoryError, RealDirectory},
    journal::{DiskJournal, DiskLog, SWEEP_EVERY},
    messages::DiskMessages,
    store::{Store, StoreOptions},
    sweeping::DiskSweep,
};
pub use self::{failure::Damage, journal::trim_slack_entries, mark::FORMAT};
#[cfg(any(test, feature = "testing"))]
use crate::domain::topic::MessageId;
use crate::{
    adapters::backend_kit::{
        BackendContext, Ports, feed::local::LocalFeed, limits::LocalLimits, sweep::Sweeper,
    },
    ports::backend_error::BackendError,
};

/// With `disk.sync = "interval"`, how often the log is synced.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// The pause after a checkpoint that failed.
const CHECKPOINT_RETRY: Duration = Duration::from_secs(1);

/// When an acknowledged write is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before it is acknowledged.
    Always,
    /// Within a second or so.
    Interval,
}

/// Where the store is, and how it is kept.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Its directory.
    pub path: PathBuf,
    /// When an acknowledged write is synced.
    pub sync: SyncPolicy,
    /// Memory for what was read, in bytes.
    pub cache_bytes: usize,
}

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its directory can't be used.
    #[error("disk.path: {0}")]
    Directory(#[from] DirectoryError),
    /// What it holds is not what it must hold.
    #[error(
        "the store in {path} is damaged: {source}. Nothing was changed. Restore a backup, or move the directory away to begin with an empty \
         store: every client is then notified that it may have missed something"
    )]
    Damaged {
        /// Its directory.
        path: String,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another version wrote it.
    #[error("the store in {path} can't be opened: {source}. Nothing was changed")]
    OtherFormat {
        /// Its directory.
        path: String,
        /// Which formats.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file system failed, or the table did.
    #[error("the store in {path} can't be opened: {source}")]
    Failed {
        /// Its directory.
        path: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    fn of(path: &str, failure: Failure) -> Self {
        let path = path.to_owned();
        match failure {
            failure if failure.is_damage() => Self::Damaged { path, source: Box::new(failure) },
            Failure::OtherFormat { .. } => Self::OtherFormat { path, source: Box::new(failure) },
            failure => Self::Failed { path, source: Box::new(failure) },
        }
    }
}

/// An open store.
pub struct Disk {
    log: Arc<DiskLog>,
    journal: Arc<DiskJournal>,
    messages: Arc<DiskMessages>,
    limits: Arc<LocalLimits>,
    sweeper: Arc<Sweeper>,
}

impl Disk {
    /// Opens the store, or makes one.
    ///
    /// # Errors
    /// Its directory is another process's or can't be used, or the store is damaged. Nothing is
    /// changed then.
    pub fn open(options: &DiskOptions, context: &BackendContext) -> Result<Self, OpenError> {
        let directory = Arc::new(RealDirectory::take(&options.path)?);
        Self::open_in(directory, options, context)
    }

    /// The same in a directory that was taken.
    ///
    /// # Errors
    /// The store is damaged, or the file system fails.
    pub fn open_in(
        directory: Arc<dyn Directory>,
        options: &DiskOptions,
        context: &BackendContext,
    ) -> Result<Self, OpenError> {
        let path = options.path.display().to_string();
        let of_store = StoreOptions::new(
            options.sync == SyncPolicy::Always,
            options.cache_bytes,
            context.entropy.next_u64(),
        );
        let opened =
            Store::open(directory, of_store).map_err(|failure| OpenError::of(&path, failure))?;
        if opened.torn_bytes > 0 {
            tracing::warn!(
                path,
                bytes = opened.torn_bytes,
                "the log of the store ends in a write that is not whole: the process or the machine stopped before it had acknowledged it. If \
                 neither happened, the file was damaged"
            );
        }
        if opened.lacked_mark {
            tracing::warn!(
                path,
                "the store had no mark beside it, which says what the store must hold; a new one was made"
            );
        }
        let store = Arc::new(opened.store);
        let mut tasks = vec![context.tasks.spawn_vital(
            "disk checkpoints",
            checkpoint_again_and_again(Arc::clone(&store)).boxed(),
        )];
        if options.sync == SyncPolicy::Interval {
            tasks.push(
                context
                    .tasks
                    .spawn_vital("disk syncs", sync_again_and_again(Arc::clone(&store)).boxed()),
            );
        }
        let log = Arc::new(
            DiskLog::new(store, tasks, context).map_err(|failure| OpenError::of(&path, failure))?,
        );
        let sweep = Arc::new(DiskSweep(Arc::clone(&log)));
        Ok(Self {
            journal: Arc::new(DiskJournal::new(Arc::clone(&log), context)),
            messages: Arc::new(DiskMessages::new(Arc::clone(&log), context)),
            limits: Arc::new(LocalLimits::new(Arc::clone(&context.clock))),
            sweeper: Arc::new(Sweeper::start(context, "disk sweep", SWEEP_EVERY, sweep)),
            log,
        })
    }

    /// Its ports, with a feed of their own.
    pub fn ports(&self) -> Ports {
        Ports {
            feed: Arc::new(LocalFeed::new(Arc::clone(&self.log.listeners))),
            messages: Arc::clone(&self.messages) as _,
            journal: Arc::clone(&self.journal) as _,
            archive: Arc::clone(&self.log) as _,
            leases: Arc::clone(&self.limits) as _,
            budget: Arc::clone(&self.limits) as _,
            sweeper: Some(Arc::clone(&self.sweeper)),
        }
    }

    /// Moves all that was written into the table, and waits until it is there.
    ///
    /// # Errors
    /// Those of the disk; to try again is harmless.
    pub async fn checkpoint(&self) -> Result<(), BackendError> {
        with_store(&self.log.store, "write the table", None, Store::checkpoint_all).await
    }

    /// Has a message go on at that number, as if so many events had been appended.
    ///
    /// # Errors
    /// Those of the disk.
    #[cfg(any(test, feature = "testing"))]
    pub fn continue_message_at(
        &self,
        id: &MessageId,
        next_sequence_no: u64,
    ) -> impl Future<Output = Result<(), BackendError>> + Send + 'static {
        let (log, id) = (Arc::clone(&self.log), id.clone());
        async move { messages::continue_at(&log, &id, next_sequence_no).await }
    }
}

/// Moves what was written into the table, whenever there is enough of it.
async fn checkpoint_again_and_again(store: Arc<Store>) {
    let mut is_behind = false;
    loop {
        store.wanted.notified().await;
        while let Err(error) = with_store(&store, "write the table", None, Store::checkpoint).await
        {
            if !is_behind {
                let source =
                    std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, source, "what was written can't be moved into the table; it stays in the log");
            }
            is_behind = true;
            sleep(CHECKPOINT_RETRY).await;
        }
        if std::mem::take(&mut is_behind) {
            tracing::info!("what was written is in the table");
        }
    }
}

async fn sync_again_and_again(store: Arc<Store>) {
    loop {
        sleep(SYNC_EVERY).await;
        if let Err(error) = with_store(&store, "sync the log", None, Store::sync).await {
            tracing::error!(%error, "the log could not be synced; what is not safe yet is written again by the next write");
        }
    }
}
