//! The store on disk, under a clock that the laws move. Several feeds of one store stand for
//! several processes.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rejoin::{
    adapters::{
        backend_kit::BackendContext,
        disk::{
            Disk, DiskOptions, SyncPolicy,
            files::{Directory, DiskFile, RealDirectory},
            trim_slack_entries,
        },
    },
    domain::{message::MESSAGE_EVENTS_MAX, topic::MessageId},
    ports::clock::Clock,
    testing::ManualClock,
};
use tempfile::TempDir;

use crate::contract::backend::{Backend, Fixture, Options, Process};

const EPOCH_MS: u64 = 1_718_900_000_000;

pub(crate) struct DiskFixture;

struct OnDisk {
    clock: Arc<ManualClock>,
    options: Options,
    context: BackendContext,
    is_full: Arc<AtomicBool>,
    store: Mutex<(Disk, TempDir)>,
}

/// A directory on a disk that may be full.
#[derive(Debug)]
struct Bounded {
    inner: RealDirectory,
    is_full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct BoundedFile {
    inner: Arc<dyn DiskFile>,
    is_full: Arc<AtomicBool>,
}

fn room(is_full: &AtomicBool) -> io::Result<()> {
    if is_full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

impl Bounded {
    fn file(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(BoundedFile { inner, is_full: Arc::clone(&self.is_full) })
    }
}

impl Directory for Bounded {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.inner.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        room(&self.is_full)?;
        Ok(self.file(self.inner.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.inner.names()
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn free_bytes(&self) -> Option<u64> {
        if self.is_full.load(Ordering::Relaxed) { Some(0) } else { self.inner.free_bytes() }
    }
}

impl DiskFile for BoundedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        room(&self.is_full)?;
        self.inner.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        room(&self.is_full)?;
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

fn open_in(folder: &TempDir, is_full: &Arc<AtomicBool>, context: &BackendContext) -> Disk {
    let options = DiskOptions {
        path: folder.path().to_owned(),
        sync: SyncPolicy::Always,
        cache_bytes: 8 << 20,
    };
    let directory = Bounded {
        inner: RealDirectory::take(folder.path()).unwrap(),
        is_full: Arc::clone(is_full),
    };
    Disk::open_in(Arc::new(directory), &options, context).unwrap()
}

#[async_trait]
impl Fixture for DiskFixture {
    async fn open(&self, options: Options) -> Box<dyn Backend> {
        let clock = Arc::new(ManualClock::at_ms(EPOCH_MS));
        let context = BackendContext { clock: Arc::clone(&clock) as _, ..options.context() };
        let (folder, is_full) = (TempDir::new().unwrap(), Arc::default());
        let store = Mutex::new((open_in(&folder, &is_full, &context), folder));
        Box::new(OnDisk { clock, options, context, is_full, store })
    }

    fn property_cases(&self) -> u32 {
        30
    }

    fn time_tolerance(&self) -> Duration {
        Duration::ZERO
    }
}

#[async_trait]
impl Backend for OnDisk {
    async fn process(&self) -> Process {
        Process::of(self.store.lock().unwrap().0.ports())
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn trim_slack_entries(&self) -> usize {
        trim_slack_entries(self.options.stream_maxlen)
    }

    async fn step_clock_back(&self, by: Duration) {
        self.clock.set_ms(self.clock.now().minus(by).as_ms());
    }

    async fn set_clock_ms(&self, now_ms: u64) {
        self.clock.set_ms(now_ms);
    }

    /// Time never goes back here.
    fn follows_steps_back(&self) -> bool {
        false
    }

    async fn fill_message(&self, id: &MessageId, room: u64) {
        let next = MESSAGE_EVENTS_MAX - room;
        let continued = self.store.lock().unwrap().0.continue_message_at(id, next);
        continued.await.unwrap();
    }

    async fn wipe(&self) {
        self.pass(Duration::from_millis(1)).await;
        let folder = TempDir::new().unwrap();
        let disk = open_in(&folder, &self.is_full, &self.context);
        *self.store.lock().unwrap() = (disk, folder);
    }

    async fn fill(&self) {
        self.is_full.store(true, Ordering::Relaxed);
    }

    async fn make_room(&self) {
        self.is_full.store(false, Ordering::Relaxed);
    }
}
