//! Rejoin on disk: appends beside a bare loop that writes and syncs the same batches, what sweeps
//! cost them, how large the store gets, and how long it takes to open.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rejoin::{
    adapters::{
        backend_kit::{BackendContext, Ports, Retention},
        disk::{Disk, DiskOptions, SyncPolicy},
        system_clock::SystemClock,
    },
    domain::{event::Event, topic::UserId},
    ports::journal::Append,
    testing::{backend_context_with, event_of_bytes},
};
use tokio::{task::JoinSet, time::Instant};

const PUBLISHERS: usize = 64;
const USERS: usize = 10_000;
const EVENT_BYTES: usize = 200;
const MAXLEN: usize = 100;
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS: u32 = 3;
/// What an event takes in the log, about: its keys, its envelope and the rows that change with it.
const LOGGED_BYTES: usize = 500;

pub(crate) async fn measure(folder: Option<PathBuf>, appends: usize) {
    let root = folder.unwrap_or_else(|| PathBuf::from("target/disk-bench"));
    std::fs::create_dir_all(&root).unwrap();
    let folder = tempfile::tempdir_in(&root).unwrap();
    compare_appends(folder.path()).await;
    grow(&folder.path().join("grown"), appends).await;
}

fn open(path: &Path, replay_max_age: Option<Duration>) -> (Disk, Ports) {
    let retention = Retention {
        stream_maxlen: MAXLEN,
        replay_max_age,
        idempotency_window: Duration::from_mins(10),
    };
    let context =
        BackendContext { clock: Arc::new(SystemClock), ..backend_context_with(retention) };
    let options =
        DiskOptions { path: path.to_owned(), sync: SyncPolicy::Always, cache_bytes: 64 << 20 };
    let disk = Disk::open(&options, &context).unwrap();
    let ports = disk.ports();
    (disk, ports)
}

/// The same event for all: to make one is not what is measured.
fn append(user: usize, event: &Arc<Event>) -> Append {
    Append {
        user: UserId::parse(&format!("u{user}")).unwrap(),
        event: Arc::clone(event),
        idempotency_key: None,
    }
}

async fn compare_appends(folder: &Path) {
    let (_disk, ports) = open(&folder.join("appends"), None);
    let (mut bare, mut through_the_port, mut p99) = (0.0, 0.0, Duration::ZERO);
    for _ in 0..ROUNDS {
        bare += bare_writes(&folder.join("bare"));
        let (rate, late) = append_for(&ports, ROUND).await;
        through_the_port += rate;
        p99 = p99.max(late);
    }
    let of = |sum: f64| sum / f64::from(ROUNDS);
    println!(
        "disk: {PUBLISHERS} publishers to {USERS} users, each event acknowledged when it is synced, events/s:"
    );
    println!("  a bare loop, {PUBLISHERS} events a write and sync   {:8.0}", of(bare));
    println!(
        "  appends through the port               {:8.0}  ratio {:.2}, p99 {:.2} ms",
        of(through_the_port),
        through_the_port / bare,
        ms(p99)
    );
    compare_sweeps(folder).await;
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Writes as many bytes as the log takes for a batch, one batch behind the other, and syncs each.
fn bare_writes(path: &Path) -> f64 {
    let (file, batch) = (File::create(path).unwrap(), vec![b'x'; PUBLISHERS * LOGGED_BYTES]);
    let (started, mut batches) = (Instant::now(), 0_u64);
    while started.elapsed() < ROUND {
        file.write_all_at(&batch, batches * batch.len() as u64).unwrap();
        file.sync_data().unwrap();
        batches += 1;
    }
    batches as f64 * PUBLISHERS as f64 / started.elapsed().as_secs_f64()
}

/// Appends for so long; tells the rate, and the time that one append in a hundred exceeds.
async fn append_for(ports: &Ports, how_long: Duration) -> (f64, Duration) {
    let (done, times) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (started, mut publishers) = (Instant::now(), JoinSet::new());
    for publisher in 0..PUBLISHERS {
        let (journal, done, times) =
            (Arc::clone(&ports.journal), Arc::clone(&done), Arc::clone(&times));
        publishers.spawn(async move {
            let (mut user, mut own, event) =
                (publisher * 7_919, Vec::new(), event_of_bytes(EVENT_BYTES));
            while started.elapsed() < how_long {
                let began = Instant::now();
                for appended in journal.append(vec![append(user % USERS, &event)]).await.unwrap() {
                    appended.unwrap();
                }
                own.push(began.elapsed());
                user = user
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407)
                    >> 1;
            }
            done.fetch_add(own.len(), Ordering::Relaxed);
            times.lock().unwrap().extend(own);
        });
    }
    publishers.join_all().await;
    let mut times = times.lock().unwrap();
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    (done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64(), p99)
}

/// The same appends while everything that was there before goes over the age limit.
async fn compare_sweeps(folder: &Path) {
    let path = folder.join("swept");
    let (disk, ports) = open(&path, None);
    let (_, without) = append_for(&ports, 2 * ROUND).await;
    drop((disk, ports));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_disk, ports) = open(&path, Some(Duration::from_secs(1)));
    let sweeper = ports.sweeper.clone().unwrap();
    let sweeping = async {
        let began = Instant::now();
        sweeper.sweep().await.unwrap();
        began.elapsed()
    };
    let ((_, with), swept) = tokio::join!(append_for(&ports, 2 * ROUND), sweeping);
    println!(
        "  p99 without a sweep {:.2} ms, while all that was there before is swept ({:.1} s) {:.2} ms, ratio {:.2}",
        ms(without),
        swept.as_secs_f64(),
        ms(with),
        with.as_secs_f64() / without.as_secs_f64()
    );
}

/// How large the store gets, and how long it takes to open then.
async fn grow(path: &Path, appends: usize) {
    const BATCH: usize = 250;
    let (disk, ports) = open(path, None);
    let (started, event) = (Instant::now(), event_of_bytes(EVENT_BYTES));
    for batch in 0..appends / BATCH {
        let events =
            (0..BATCH).map(|number| append((batch * BATCH + number) % USERS, &event)).collect();
        ports.journal.append(events).await.unwrap();
        if (batch + 1) % (appends / BATCH / 5).max(1) == 0 {
            println!(
                "  {:9} appends, {:.0} MiB on disk, {:.0} s",
                (batch + 1) * BATCH,
                mib(path),
                started.elapsed().as_secs_f64()
            );
        }
    }
    disk.checkpoint().await.unwrap();
    println!(
        "disk: {appends} appends with stream_maxlen = {MAXLEN} to {USERS} users, {:.0} MiB of it live: {:.0} MiB on disk",
        (USERS * MAXLEN * LOGGED_BYTES) as f64 / f64::from(1 << 20),
        mib(path)
    );
    drop((disk, ports));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    let (_disk, ports) = open(path, None);
    ports.journal.length(&UserId::parse("u1").unwrap()).await.unwrap();
    println!("  opened in {:.0} ms", ms(began.elapsed()));
}

fn mib(path: &Path) -> f64 {
    let files = std::fs::read_dir(path).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>() as f64
        / f64::from(1 << 20)
}
