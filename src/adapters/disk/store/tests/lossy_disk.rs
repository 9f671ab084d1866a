//! A disk that loses power: what was not synced is dropped, torn or kept, as a seed decides.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{Arc, Mutex},
};

use crate::adapters::disk::files::{Directory, DiskFile};

/// What of the disk fails besides losing power, or is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The sync with this number among all fails: what it was to make safe is not, though it can
    /// still be read.
    FailedSync(usize),
    /// A program that forgets to sync files whose names begin so.
    ForgottenSync(&'static str),
    /// A program that forgets to sync the directory.
    ForgottenDirectory,
}

/// What remains of unsynced changes when the power goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Remains {
    Nothing,
    All,
    /// Of each change a part or all or nothing.
    Some(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Debug, Default)]
struct Content {
    safe: Vec<u8>,
    /// Since the last sync.
    unsafe_changes: Vec<Change>,
    /// What is read.
    cached: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    /// Which file has which name: as it is, and as it is after a loss of power.
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
    operations: usize,
    syncs: usize,
    /// The next sync of a file fails, as one of [`Fault::FailedSync`].
    fails_next_sync: bool,
    /// Before this operation the power goes.
    power_until: Option<usize>,
    bytes_max: Option<usize>,
}

/// The disk.
#[derive(Clone, Debug)]
pub(super) struct LossyDisk {
    fault: Fault,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct LossyFile {
    disk: LossyDisk,
    name: String,
    file: usize,
}

impl LossyDisk {
    pub(super) fn new(fault: Fault, power_until: Option<usize>) -> Self {
        Self { fault, state: Arc::new(Mutex::new(State { power_until, ..State::default() })) }
    }

    /// How many operations there have been.
    pub(super) fn operations(&self) -> usize {
        self.state.lock().unwrap().operations
    }

    pub(super) fn syncs(&self) -> usize {
        self.state.lock().unwrap().syncs
    }

    pub(super) fn fail_next_sync(&self) {
        self.state.lock().unwrap().fails_next_sync = true;
    }

    pub(super) fn set_bytes_max(&self, bytes_max: Option<usize>) {
        self.state.lock().unwrap().bytes_max = bytes_max;
    }

    /// The bytes of all files.
    pub(super) fn bytes(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.names.values().map(|file| state.files[*file].cached.len()).sum()
    }

    /// The names of all files with their lengths.
    pub(super) fn lengths(&self) -> Vec<(String, usize)> {
        let state = self.state.lock().unwrap();
        state
            .names
            .iter()
            .map(|(name, file)| (name.clone(), state.files[*file].cached.len()))
            .collect()
    }

    /// Changes a byte of a file.
    pub(super) fn flip(&self, name: &str, at: usize, by: u8) {
        let mut state = self.state.lock().unwrap();
        let file = state.names[name];
        let Content { safe, cached, .. } = &mut state.files[file];
        cached[at] ^= by;
        safe.clone_from(cached);
    }

    /// Removes a file, as somebody by hand does.
    pub(super) fn lose(&self, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.names.remove(name);
        state.safe_names.remove(name);
    }

    /// Puts another disk's file in the place of this one's.
    pub(super) fn replace(&self, name: &str, from: &Self) {
        let other = from.state.lock().unwrap();
        let content = other.files[other.names[name]].clone();
        let mut state = self.state.lock().unwrap();
        let file = state.names[name];
        state.files[file] = content;
    }

    /// A copy of all files as they can be read, as after a crash of the process.
    pub(super) fn copy(&self) -> Self {
        self.after_loss_of_power(Remains::All)
    }

    /// The disk when the power is back.
    pub(super) fn after_loss_of_power(&self, remains: Remains) -> Self {
        let state = self.state.lock().unwrap();
        let mut random = if let Remains::Some(seed) = remains {
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
        } else {
            1
        };
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random >> 3
        };
        let mut names = state.safe_names.clone();
        match remains {
            Remains::Nothing => {}
            Remains::All => names.clone_from(&state.names),
            Remains::Some(_) => {
                for (name, file) in &state.names {
                    if next() % 2 == 0 {
                        names.insert(name.clone(), *file);
                    }
                }
                names.retain(|name, _| state.names.contains_key(name) || next() % 2 == 0);
            }
        }
        let files = state.files.iter().map(|file| {
            let mut content = file.safe.clone();
            for change in &file.unsafe_changes {
                let kept = match remains {
                    Remains::Nothing => 0,
                    Remains::All => 3,
                    Remains::Some(_) => next() % 4,
                };
                match change {
                    _ if kept == 0 => {}
                    Change::Length(len) => content.resize(usize::try_from(*len).unwrap(), 0),
                    Change::Write(at, bytes) => {
                        // Torn somewhere, or whole.
                        let len = if kept == 1 {
                            usize::try_from(next()).unwrap() % (bytes.len() + 1)
                        } else {
                            bytes.len()
                        };
                        write(&mut content, *at, &bytes[..len]);
                    }
                }
            }
            Content { safe: content.clone(), unsafe_changes: Vec::new(), cached: content }
        });
        let files = files.collect();
        let state = State { files, safe_names: names.clone(), names, ..State::default() };
        Self { fault: Fault::None, state: Arc::new(Mutex::new(state)) }
    }

    /// Does something, unless the power is gone.
    fn act<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock().unwrap();
        if state.power_until.is_some_and(|last| state.operations >= last) {
            return Err(io::Error::other("the power is gone"));
        }
        state.operations += 1;
        act(&mut state)
    }
}

fn write(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap();
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

impl State {
    fn check_room(&self, more: usize) -> io::Result<()> {
        let bytes: usize = self.names.values().map(|file| self.files[*file].cached.len()).sum();
        if self.bytes_max.is_some_and(|max| bytes + more > max) {
            Err(ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl Directory for LossyDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock().unwrap();
        let file = *state.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(LossyFile { disk: self.clone(), name: name.to_owned(), file }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.act(|state| {
            if state.names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.files.push(Content::default());
            let file = state.files.len() - 1;
            state.names.insert(name.to_owned(), file);
            Ok(file)
        })?;
        Ok(Arc::new(LossyFile { disk: self.clone(), name: name.to_owned(), file }))
    }

    /// After a loss of power it may have the one name, the other, both or none.
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.act(|state| {
            let file = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
            state.names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.act(|state| {
            state.names.remove(name).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
        })
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().unwrap().names.keys().cloned().collect())
    }

    fn sync(&self) -> io::Result<()> {
        self.act(|state| {
            if self.fault != Fault::ForgottenDirectory {
                state.safe_names.clone_from(&state.names);
            }
            Ok(())
        })
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

impl DiskFile for LossyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().unwrap().files[self.file].cached.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state.lock().unwrap();
        let cached = &state.files[self.file].cached;
        let at = usize::try_from(offset).unwrap();
        let found = cached.get(at..at + into.len()).ok_or(ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.act(|state| {
            let len = state.files[self.file].cached.len();
            state
                .check_room((usize::try_from(offset).unwrap() + bytes.len()).saturating_sub(len))?;
            let file = &mut state.files[self.file];
            write(&mut file.cached, offset, bytes);
            file.unsafe_changes.push(Change::Write(offset, bytes.to_vec()));
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.act(|state| {
            let before = state.files[self.file].cached.len();
            state.check_room(usize::try_from(len).unwrap().saturating_sub(before))?;
            let file = &mut state.files[self.file];
            file.cached.resize(usize::try_from(len).unwrap(), 0);
            file.unsafe_changes.push(Change::Length(len));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.act(|state| {
            state.syncs += 1;
            if std::mem::take(&mut state.fails_next_sync) || self.disk.fault == Fault::FailedSync(state.syncs) {
                // They are taken for written, and never are.
                state.files[self.file].unsafe_changes.clear();
                return Err(io::Error::other("the sync failed"));
            }
            if matches!(self.disk.fault, Fault::ForgottenSync(names) if self.name.starts_with(names)) {
                return Ok(());
            }
            // What an earlier sync lost stays lost: only what was written since is safe.
            let file = &mut state.files[self.file];
            for change in std::mem::take(&mut file.unsafe_changes) {
                match change {
                    Change::Length(len) => file.safe.resize(usize::try_from(len).unwrap(), 0),
                    Change::Write(at, bytes) => write(&mut file.safe, at, &bytes),
                }
            }
            Ok(())
        })
    }
}
