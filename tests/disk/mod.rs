//! What the store on disk alone promises: over restarts and crashes of its process.

mod crash;
mod directory;
mod format;
mod journal_command;

use std::{path::Path, sync::Arc};

use rejoin::{
    adapters::{
        backend_kit::BackendContext,
        disk::{
            Disk, DiskOptions, SyncPolicy,
            files::{DirectoryError, RealDirectory},
        },
        system_clock::SystemClock,
    },
    testing::backend_context,
};
use rejoin_test_support::ServerProcess;
use tokio::process::Command;

fn options(path: &Path) -> DiskOptions {
    DiskOptions { path: path.to_owned(), sync: SyncPolicy::Always, cache_bytes: 8 << 20 }
}

/// The real time, as the processes have it.
fn context() -> BackendContext {
    BackendContext { clock: Arc::new(SystemClock), ..backend_context() }
}

/// Waits until nobody has the directory.
async fn released(path: &Path) {
    rejoin_test_support::eventually("the directory to be released", async || {
        !matches!(RealDirectory::take(path), Err(DirectoryError::InUse(_)))
    })
    .await;
}

/// The program, with its store there, which has to be free.
async fn serve(path: &Path, environment: &[(&str, &str)]) -> ServerProcess {
    released(path).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    command.arg("serve").env("REJOIN_DISK__PATH", path).envs(environment.iter().copied());
    ServerProcess::start_by(command).await
}

async fn open(path: &Path) -> Disk {
    released(path).await;
    Disk::open(&options(path), &context()).unwrap()
}
