//! The store: a log that makes writes safe, what they changed in memory, and a table on disk that
//! takes the changes over in the background.
//!
//! Invariants: one write at a time; a write is not seen before the log holds it safely; what
//! is in the table is in the log no more, and the other way round nothing is in neither; memory
//! holds two batches of changes at most, one that grows and one that is on its way into the table;
//! the mark says what must be found at the next start.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redb::{Builder, Database, Durability, ReadableDatabase};
use tokio::sync::Notify;

use super::{
    blocks::Blocks,
    failure::{Damage, Failure},
    files::Directory,
    known::KnownRows,
    log::{self, Log, LogPlace, Owner},
    mark::{self, Checkpoint, Mark},
    rows::{self, Batch, Changeset, Draft, ROWS, View},
};
use crate::ports::archive::Compacted;

/// The name of the table's file.
const TABLE: &str = "rejoin.redb";
/// The rows that are the store's own: which store it is, how many checkpoints it has had, and the
/// first segment of the log that is not in the table.
const OWN_ROW: &[u8] = b"!store";
/// Changes that are kept in memory before they go into the table, in bytes: what a start after a
/// crash has to read.
const CHANGES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a write waits for the changes before to be in the table.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// A checkpoint needs this much room on the disk, about, for each byte of changes, and this much in
/// any case.
const ROOM_FACTOR: u64 = 3;
const ROOM_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// How the store is opened.
#[derive(Clone, Debug)]
pub(super) struct StoreOptions {
    /// Whether a write is answered only after it was synced.
    pub(super) syncs_each: bool,
    /// Memory for what was read of the table, in bytes.
    pub(super) cache_bytes: usize,
    /// Names a new store.
    pub(super) new_store_id: u64,
    /// Changes in memory before they go into the table, in bytes.
    pub(super) changes_bytes_max: usize,
}

impl StoreOptions {
    pub(super) const fn new(syncs_each: bool, cache_bytes: usize, new_store_id: u64) -> Self {
        Self { syncs_each, cache_bytes, new_store_id, changes_bytes_max: CHANGES_BYTES_MAX }
    }
}

/// An open store.
pub(super) struct Store {
    directory: Arc<dyn Directory>,
    options: StoreOptions,
    writer: Mutex<Writer>,
    mark: Mutex<Mark>,
    layers: Mutex<Layers>,
    /// Held by whoever moves changes into the table.
    moving: Mutex<()>,
    /// Notified when changes have gone into the table, or failed to.
    settled: Condvar,
    /// Notified when changes wait for the table.
    pub(super) wanted: Notify,
    /// The last checkpoint failed.
    is_behind: AtomicBool,
}

struct Writer {
    log: Log,
    writes: u64,
    /// Rows that were asked for, as the latest write left them.
    known: KnownRows,
}

/// What views are made of.
struct Layers {
    growing: Batch,
    /// Changes on their way into the table, and the first segment of the log behind them.
    leaving: Option<(Batch, u64)>,
    write: u64,
    /// None while it could not be opened again after a failure.
    table: Option<Arc<Database>>,
}

impl Layers {
    fn table(&self) -> Result<Arc<Database>, Failure> {
        self.table.clone().ok_or_else(|| redb::StorageError::PreviousIo.into())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is changed in whole steps; a panic was reported.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What opening found that an operator should know.
pub(super) struct Opened {
    pub(super) store: Store,
    /// Bytes at the log's end that are no whole record.
    pub(super) torn_bytes: u64,
    /// There was a store without its mark.
    pub(super) lacked_mark: bool,
}

impl Store {
    /// Opens the store in a directory, or makes one where there is none.
    ///
    /// # Errors
    /// It is damaged, or the file system fails.
    pub(super) fn open(
        directory: Arc<dyn Directory>,
        options: StoreOptions,
    ) -> Result<Opened, Failure> {
        let found = mark::Mark::read(&*directory)?;
        let has_log = !log::segments(&*directory)?.is_empty();
        let has_table = directory.names()?.iter().any(|name| name == TABLE);
        let is_new = matches!(found, mark::Found::Nothing) && !has_log;
        if !has_table && !is_new {
            return Err(Damage::new(format!(
                "{TABLE} is missing, and what is beside it says that it was there"
            ))
            .into());
        }
        let table = open_table(&*directory, &options, is_new)?;
        let held = checkpoint_in(&table)?;
        let (mark, noted, lacked_mark) = match (found, held) {
            (mark::Found::Mark(mut mark, noted), Some(held)) => {
                check(mark.checkpoint(), held)?;
                mark.renew_format()?;
                (mark, noted, false)
            }
            (mark::Found::Nothing | mark::Found::Unreadable, None) if !has_log => {
                let checkpoint =
                    Checkpoint { store_id: options.new_store_id, generation: 0, first_segment: 1 };
                record_checkpoint(&table, checkpoint)?;
                directory.sync()?;
                (Mark::create(&*directory, checkpoint)?, LogPlace::default(), false)
            }
            // It was just made: the start before ended between the two.
            (mark::Found::Nothing | mark::Found::Unreadable, Some(held))
                if held.generation == 0 && !has_log =>
            {
                (Mark::create(&*directory, held)?, LogPlace::default(), false)
            }
            (mark::Found::Nothing, Some(held)) => {
                (Mark::create(&*directory, held)?, LogPlace::default(), true)
            }
            (mark::Found::Unreadable, Some(_)) => {
                return Err(Damage::new(format!("{} is damaged", mark::NAME)).into());
            }
            (_, None) => {
                return Err(Damage::new(format!(
                    "{TABLE} is empty, and what is beside it says that it was not"
                ))
                .into());
            }
        };
        Self::with_log(directory, options, table, mark, noted, lacked_mark)
    }

    fn with_log(
        directory: Arc<dyn Directory>,
        options: StoreOptions,
        table: Database,
        mark: Mark,
        noted: LogPlace,
        lacked_mark: bool,
    ) -> Result<Opened, Failure> {
        let checkpoint = checkpoint_in(&table)?.unwrap_or(mark.checkpoint());
        let Checkpoint { store_id, first_segment, .. } = checkpoint;
        let safe = if noted.segment < first_segment { LogPlace::default() } else { noted };
        let found = log::read(&*directory, store_id, first_segment, safe)?;
        let mut growing = Batch::default();
        let mut writes = 0;
        for record in found.records {
            writes += 1;
            growing.growing().take(
                writes,
                &Changeset::decode(record)
                    .ok_or_else(|| Damage::new("a record of the log can't be read"))?,
            );
        }
        let owner = Owner { store_id, syncs_each: options.syncs_each };
        let log = Log::begin(Arc::clone(&directory), owner, found.end)?;
        log::remove_before(&*directory, first_segment)?;
        let layers = Layers { growing, leaving: None, write: writes, table: Some(Arc::new(table)) };
        let store = Self {
            directory,
            options,
            writer: Mutex::new(Writer { log, writes, known: KnownRows::default() }),
            mark: Mutex::new(mark),
            layers: Mutex::new(layers),
            moving: Mutex::new(()),
            settled: Condvar::new(),
            wanted: Notify::new(),
            is_behind: AtomicBool::new(false),
        };
        Ok(Opened { store, torn_bytes: found.torn_bytes, lacked_mark })
    }

    /// The rows as they are now.
    pub(super) fn view(&self) -> Result<View, Failure> {
        let layers = lock(&self.layers);
        let leaving = layers.leaving.iter().flat_map(|(leaving, _)| leaving.parts());
        let changes = layers.growing.parts().chain(leaving).collect();
        let table = layers.table()?.begin_read()?.open_table(ROWS)?;
        Ok(View { changes, write: layers.write, table })
    }

    /// Reads rows, again where the table had failed and could be opened anew.
    pub(super) fn read<T>(&self, read: impl Fn(&View) -> Result<T, Failure>) -> Result<T, Failure> {
        match self.view().and_then(|view| read(&view)) {
            Err(failure) if failure.is_of_table() => {
                self.open_table_anew()?;
                read(&self.view()?)
            }
            read => read,
        }
    }

    /// Writes what `draft` changes, in one step, and calls `visible` when it can be seen, before
    /// any later write is.
    ///
    /// # Errors
    /// Those of `draft`, which may be called twice, or nothing was written, or only the log's end
    /// is in doubt.
    pub(super) fn write<T>(
        &self,
        draft: impl Fn(&mut Draft) -> Result<T, Failure>,
        visible: impl FnOnce(&T),
    ) -> Result<T, Failure> {
        let mut writer = lock(&self.writer);
        self.make_room(&mut writer)?;
        let known = std::mem::take(&mut writer.known);
        let drafted = |known| -> Result<_, Failure> {
            let mut rows = Draft::new(self.view()?, known);
            let answer = draft(&mut rows)?;
            let (changes, known) = rows.into_parts();
            Ok((answer, changes, known))
        };
        let (answer, changes, mut known) = match drafted(known) {
            Err(failure) if failure.is_of_table() => {
                self.open_table_anew()?;
                drafted(KnownRows::default())?
            }
            drafted => drafted?,
        };
        if !changes.is_empty() {
            self.take(&mut writer, &changes)?;
            known.learn(&changes.rows);
            lock(&self.layers).write = writer.writes;
        }
        writer.known = known;
        visible(&answer);
        Ok(answer)
    }

    /// Waits until all that was written is safe. For stores that don't sync each write.
    ///
    /// # Errors
    /// Those of the file system. All that is not in the table is written anew by the next write.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        self.sync_log(&mut lock(&self.writer))
    }

    fn sync_log(&self, writer: &mut Writer) -> Result<(), Failure> {
        writer.log.sync().map_err(Failure::Unsafe)?;
        if let Err(error) = lock(&self.mark).note(writer.log.safe()) {
            // The note is a second look at what the log says itself.
            tracing::debug!(%error, "the mark could not be written");
        }
        Ok(())
    }

    /// Writes changes into the log, and takes them into memory, where no view shows them yet.
    fn take(&self, writer: &mut Writer, changes: &Changeset) -> Result<(), Failure> {
        if writer.log.has_lost() {
            let growing = lock(&self.layers).growing.clone();
            self.log_again(writer, &growing)?;
        }
        writer.log.append(&changes.encode()).map_err(Failure::of_write)?;
        if self.options.syncs_each {
            self.sync_log(writer)?;
        }
        writer.writes += 1;
        let growing = lock(&self.layers).growing.growing();
        growing.take(writer.writes, changes);
        Ok(())
    }

    /// Logs again what a failed sync may have lost. What of it is not on its way into the table is
    /// among the changes that grow.
    fn log_again(&self, writer: &mut Writer, growing: &Batch) -> Result<(), Failure> {
        writer.log.append(&growing.all().encode()).map_err(Failure::of_write)?;
        self.sync_log(writer)?;
        writer.log.repaired();
        Ok(())
    }

    /// Has the changes in memory leave for the table where they have grown enough, and waits where
    /// those before are not there yet.
    fn make_room(&self, writer: &mut Writer) -> Result<(), Failure> {
        let mut layers = lock(&self.layers);
        if layers.growing.bytes() < self.options.changes_bytes_max {
            return Ok(());
        }
        if layers.leaving.is_some() {
            if layers.growing.bytes() < 2 * self.options.changes_bytes_max {
                return Ok(());
            }
            if self.is_behind.load(Ordering::Relaxed) {
                return Err(if self.has_free_bytes(ROOM_BYTES_MIN) {
                    Failure::Behind
                } else {
                    Failure::Full
                });
            }
            let waited = self
                .settled
                .wait_timeout_while(layers, BEHIND_MAX, |layers| layers.leaving.is_some());
            layers = waited.unwrap_or_else(PoisonError::into_inner).0;
            if layers.leaving.is_some() {
                return Err(Failure::Behind);
            }
        }
        self.let_leave(writer, &mut layers)
    }

    fn let_leave(&self, writer: &mut Writer, layers: &mut Layers) -> Result<(), Failure> {
        if writer.log.has_lost() {
            self.log_again(writer, &layers.growing)?;
        }
        writer.log.begin_anew().map_err(Failure::of_write)?;
        let leaving = std::mem::take(&mut layers.growing);
        layers.leaving = Some((leaving, writer.log.safe().segment));
        self.wanted.notify_one();
        Ok(())
    }

    /// Has all changes leave for the table, whatever their size.
    ///
    /// # Errors
    /// Those of the file system; to try again is harmless.
    pub(super) fn checkpoint_all(&self) -> Result<(), Failure> {
        self.checkpoint()?;
        {
            let mut writer = lock(&self.writer);
            let mut layers = lock(&self.layers);
            if layers.leaving.is_none() && layers.growing.bytes() > 0 {
                self.let_leave(&mut writer, &mut layers)?;
            }
        }
        self.checkpoint()
    }

    /// Writes the changes that are to leave into the table, and removes their part of the log.
    ///
    /// # Errors
    /// Those of the file system; to try again is harmless.
    pub(super) fn checkpoint(&self) -> Result<(), Failure> {
        let _moving = lock(&self.moving);
        let Some((leaving, first_segment)) = lock(&self.layers).leaving.clone() else {
            return Ok(());
        };
        let write = || {
            self.check_room(leaving.bytes())?;
            let table = lock(&self.layers).table()?;
            write_table(&table, &leaving, first_segment)
        };
        let done = write();
        if done.as_ref().is_err_and(Failure::is_of_table) {
            // What it has met lasts until it is opened anew.
            let _ = self.open_table_anew();
        }
        self.is_behind.store(done.is_err(), Ordering::Relaxed);
        let checkpoint = done.inspect_err(|_| self.settled.notify_all())?;
        lock(&self.mark).record(checkpoint)?;
        lock(&self.layers).leaving = None;
        self.settled.notify_all();
        Ok(log::retire_before(&*self.directory, first_segment)?)
    }

    /// A table that runs out of room has to be opened anew: better not to begin.
    fn check_room(&self, changes_bytes: usize) -> Result<(), Failure> {
        let needed = ROOM_BYTES_MIN + ROOM_FACTOR * changes_bytes as u64;
        if self.has_free_bytes(needed) { Ok(()) } else { Err(Failure::Full) }
    }

    /// `true` too where that is unknown.
    fn has_free_bytes(&self, needed: u64) -> bool {
        self.directory.free_bytes().is_none_or(|free| free >= needed)
    }

    /// Opens the table again after it failed: it answers nothing any more until then.
    fn open_table_anew(&self) -> Result<(), Failure> {
        let mut layers = lock(&self.layers);
        layers.table = None;
        layers.table = Some(Arc::new(open_table(&*self.directory, &self.options, false)?));
        Ok(())
    }

    /// Reads each block of the table.
    ///
    /// # Errors
    /// The first that is damaged.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let _moving = lock(&self.moving);
        Ok(Blocks(self.directory.open(TABLE)?).check()?)
    }

    /// Moves all changes into the table, and gives back the room in its file that nothing needs any
    /// more. Nothing else can be done meanwhile.
    ///
    /// # Errors
    /// Those of the file system, or it is being read; to try again is harmless.
    pub(super) fn compact(&self) -> Result<Compacted, Failure> {
        self.checkpoint_all()?;
        let bytes_before = self.sizes()?.0;
        let _moving = lock(&self.moving);
        let mut layers = lock(&self.layers);
        let mut table =
            match Arc::try_unwrap(layers.table.take().ok_or(redb::StorageError::PreviousIo)?) {
                Ok(table) => table,
                // Nothing else keeps it for longer than these locks are held.
                Err(shared) => {
                    layers.table = Some(shared);
                    return Err(Failure::Behind);
                }
            };
        let compacted = table.compact();
        layers.table = Some(Arc::new(table));
        compacted?;
        Ok(Compacted { bytes_before, bytes_after: self.directory.open(TABLE)?.len()? })
    }

    /// The sizes of the table and the log, in bytes.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn sizes(&self) -> Result<(u64, u64), Failure> {
        let mut log_bytes = 0;
        for segment in log::segments(&*self.directory)? {
            log_bytes += log::size(&*self.directory, segment)?;
        }
        Ok((self.directory.open(TABLE)?.len()?, log_bytes))
    }

    /// Whether there is room for what may be written next.
    pub(super) fn has_room(&self) -> bool {
        !self.is_behind.load(Ordering::Relaxed) && self.has_free_bytes(ROOM_BYTES_MIN)
    }
}

fn open_table(
    directory: &dyn Directory,
    options: &StoreOptions,
    is_new: bool,
) -> Result<Database, Failure> {
    let file = match directory.open(TABLE) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_new => {
            directory.create(TABLE)?
        }
        opened => opened?,
    };
    if is_new && !has_begun(&*file)? {
        // What an earlier start left of it.
        file.set_len(0)?;
    } else if file.len()? == 0 {
        return Err(Damage::new(format!(
            "{TABLE} is empty, and what is beside it says that it was not"
        ))
        .into());
    }
    Ok(Builder::new().set_cache_size(options.cache_bytes).create_with_backend(Blocks(file))?)
}

/// Whether a table was ever made in a file: its first bytes are written last.
fn has_begun(file: &dyn super::files::DiskFile) -> Result<bool, Failure> {
    let mut first = [0; 8];
    Ok(file.len()? >= 8 && {
        file.read_at(0, &mut first)?;
        first != [0; 8]
    })
}

fn checkpoint_in(table: &Database) -> Result<Option<Checkpoint>, Failure> {
    let rows = match table.begin_read()?.open_table(ROWS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        opened => opened?,
    };
    let Some(row) = rows.get(OWN_ROW)? else { return Ok(None) };
    let damaged = || Damage::new(format!("the first row of {TABLE} is damaged"));
    let numbers: [u8; 24] = row.value().try_into().map_err(|_| damaged())?;
    let number = |at: usize| numbers[at..at + 8].try_into().map_or(0, u64::from_be_bytes);
    Ok(Some(Checkpoint { store_id: number(0), generation: number(8), first_segment: number(16) }))
}

/// Whether a table holds what its mark says.
fn check(mark: Checkpoint, held: Checkpoint) -> Result<(), Damage> {
    if mark.store_id != held.store_id {
        return Err(Damage::new(format!("{TABLE} and {} are of different stores", mark::NAME)));
    }
    if mark.generation > held.generation || mark.first_segment > held.first_segment {
        let what = format!(
            "{TABLE} is older than its mark: it has had {} checkpoints of {}",
            held.generation, mark.generation
        );
        return Err(Damage::new(what));
    }
    Ok(())
}

fn put_checkpoint(
    rows: &mut redb::Table<'_, &[u8], &[u8]>,
    checkpoint: Checkpoint,
) -> Result<(), Failure> {
    let Checkpoint { store_id, generation, first_segment } = checkpoint;
    let row: Vec<u8> = [store_id, generation, first_segment]
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect();
    rows.insert(OWN_ROW, row.as_slice())?;
    Ok(())
}

/// Writes a table in one step that is safe when this returns: in two phases, so that a sync that
/// fails leaves the state before, and with all that an opening after a crash needs, so that it
/// reads little.
fn commit(
    table: &Database,
    write: impl FnOnce(&mut redb::Table<'_, &[u8], &[u8]>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut transaction = table.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    write(&mut transaction.open_table(ROWS)?)?;
    Ok(transaction.commit()?)
}

fn record_checkpoint(table: &Database, checkpoint: Checkpoint) -> Result<(), Failure> {
    commit(table, |rows| put_checkpoint(rows, checkpoint))
}

/// Writes changes into the table, which then holds all of the log before that segment.
fn write_table(
    table: &Database,
    changes: &Batch,
    first_segment: u64,
) -> Result<Checkpoint, Failure> {
    let held = checkpoint_in(table)?
        .ok_or_else(|| Damage::new(format!("{TABLE} has lost its first row")))?;
    let checkpoint = Checkpoint { generation: held.generation + 1, first_segment, ..held };
    commit(table, |rows| {
        let Changeset { rows: all, discarded } = changes.all();
        for (key, value) in &all {
            match value {
                Some(value) if !rows::is_in(&discarded, key) => {
                    drop(rows.insert(&key[..], &value[..])?);
                }
                Some(_) => {}
                None => drop(rows.remove(&key[..])?),
            }
        }
        for (from, to) in &discarded {
            rows.retain_in(&from[..]..&to[..], |_, _| false)?;
        }
        put_checkpoint(rows, checkpoint)
    })?;
    Ok(checkpoint)
}

#[cfg(test)]
mod tests;
