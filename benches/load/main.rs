//! The load tool: drives a real server, and beside it, in the same run, a bare write loop on the
//! same machine.
//!
//! ```text
//! cargo bench --bench load                        # everything, with the figures of the documentation
//! cargo bench --bench load -- idle --connections 5000
//! cargo bench --bench load -- fanout --connections 1000 --rounds 300
//! cargo bench --bench load -- flood --connections 1000 --seconds 5
//! cargo bench --bench load -- frames
//! cargo bench --bench load -- disk --appends 5000000
//! cargo bench --bench load -- redis --publishes 10000   # needs redis-server and redis-benchmark
//! cargo bench --bench load -- nats --messages 1000000   # needs nats-server, as scripts/install-test-tools installs it
//! cargo bench --bench load -- postgres                  # needs Postgres with pgbench
//! cargo bench --bench load -- postgres-rows --rows 5000000 --old-rows 1000000
//! ```
//!
//! It prints ratios, which mean something, beside absolute times, which depend on the machine and
//! on what else runs.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::naive_bytecount,
    reason = "a tool for the terminal: what goes wrong ends it, and no figure here needs 52 bits"
)]

mod bare;
mod disk;
mod fanout;
mod flood;
mod frames;
mod idle;
mod nats;
mod postgres;
mod publishing;
mod readers;
mod redis;
mod server;

use clap::{Parser, Subcommand};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures a Rejoin server on this machine.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    measurement: Option<Measurement>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Measurement {
    /// Resident memory of a connection that only listens.
    Idle {
        #[arg(long, default_value_t = 5_000)]
        connections: usize,
    },
    /// From one publish until the last of many connections of one user has it.
    Fanout {
        #[arg(long, default_value_t = 1_000)]
        connections: usize,
        #[arg(long, default_value_t = 300)]
        rounds: usize,
    },
    /// Deliveries a second, when events come faster than they can be written one by one.
    Flood {
        #[arg(long, default_value_t = 1_000)]
        connections: usize,
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// What it costs to encode a frame in each format.
    Frames,
    /// Appends to disk beside bare writes and syncs, what sweeps cost them, and how large the store
    /// gets.
    Disk {
        #[arg(long, default_value_t = 5_000_000)]
        appends: usize,
        /// Where to write: a folder on the disk that is to be measured.
        #[arg(long)]
        folder: Option<std::path::PathBuf>,
    },
    /// What publishes and deliveries cost Redis, and how fast appends are beside bare ones.
    Redis {
        #[arg(long, default_value_t = 10_000)]
        publishes: usize,
        #[arg(long, default_value_t = 100)]
        users: usize,
        #[arg(long, default_value_t = 10)]
        subscribers: usize,
    },
    /// Appends to NATS beside bare publishes, what deliveries cost it, and reads among few and many
    /// users.
    Nats {
        #[arg(long, default_value_t = 1_000_000)]
        messages: usize,
    },
    /// Appends to Postgres beside bare inserts.
    Postgres,
    /// Reads from Postgres, and publishes during a sweep, where there are many rows.
    PostgresRows {
        #[arg(long, default_value_t = 5_000_000)]
        rows: usize,
        #[arg(long, default_value_t = 1_000_000)]
        old_rows: usize,
    },
    /// The bare write loop, as a process of its own.
    #[command(hide = true)]
    Bare,
}

fn main() {
    let arguments = Arguments::parse();
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    if matches!(arguments.measurement, Some(Measurement::Bare)) {
        return bare::serve();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match arguments.measurement {
            Some(Measurement::Idle { connections }) => idle::measure(connections).await,
            Some(Measurement::Fanout { connections, rounds }) => {
                fanout::measure(connections, rounds).await;
            }
            Some(Measurement::Flood { connections, seconds }) => {
                flood::measure(connections, seconds).await;
            }
            Some(Measurement::Frames) => frames::measure(),
            Some(Measurement::Disk { appends, folder }) => disk::measure(folder, appends).await,
            Some(Measurement::Redis { publishes, users, subscribers }) => {
                redis::measure(publishes, users, subscribers).await;
            }
            Some(Measurement::Nats { messages }) => nats::measure(messages).await,
            Some(Measurement::Postgres) => postgres::appends::measure().await,
            Some(Measurement::PostgresRows { rows, old_rows }) => {
                postgres::rows::measure(rows, old_rows).await;
            }
            Some(Measurement::Bare) => {}
            None => {
                idle::measure(5_000).await;
                fanout::measure(1_000, 300).await;
                flood::measure(1_000, 5).await;
            }
        }
    });
}
