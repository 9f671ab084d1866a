//! What the store asks of a file system: one directory, its files, and when what was written is
//! safe.
//!
//! Invariant: nothing else here touches the file system, so that tests can put a disk of their own
//! under the store, one that forgets whatever was not synced.

use std::{
    fmt::Debug,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory that is the store's own.
pub trait Directory: Debug + Send + Sync {
    /// Opens a file, which has to be there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or those of the file system.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file. It is safe after [`Directory::sync`].
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], or those of the file system.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, which must not be taken. It is safe after [`Directory::sync`].
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files.
    ///
    /// # Errors
    /// Those of the file system.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Waits until files that were made and removed stay so over a loss of power.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync(&self) -> io::Result<()>;

    /// How many bytes may still be written; `None` where that is unknown.
    fn free_bytes(&self) -> Option<u64>;
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "it is never asked for")]
pub trait DiskFile: Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn len(&self) -> io::Result<u64>;

    /// Reads as many bytes as fit.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] where there are not so many, or those of the file system.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all the bytes. They are safe after [`DiskFile::sync`].
    ///
    /// # Errors
    /// Those of the file system; part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or makes it longer by zeros.
    ///
    /// # Errors
    /// Those of the file system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Waits until what was written stays so over a loss of power.
    ///
    /// # Errors
    /// Those of the file system. What had been written since the last sync may be lost, though it
    /// can still be read.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the machine's file system.
#[derive(Debug)]
pub struct RealDirectory {
    path: PathBuf,
    /// Held while the directory is in use.
    _lock: File,
}

/// The file that whoever uses the directory holds a lock on.
const LOCK: &str = "rejoin.lock";

/// Why a directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error("{} is in use by another process: each needs a directory of its own. A server that runs exports its store by itself: GET /api/admin/export", .0.display())]
    InUse(PathBuf),
    /// It is not there and can't be made, or may not be written to.
    #[error("{} can't be used: {}", .path.display(), .source)]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
}

impl RealDirectory {
    /// Takes a directory for this process alone. It is made where it is not there, readable by its
    /// owner only.
    ///
    /// # Errors
    /// It is another process's, or can't be used.
    pub fn take(path: &Path) -> Result<Self, DirectoryError> {
        let unusable = |source| DirectoryError::Unusable { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(DirectoryError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => Err(unusable(source)),
        }
    }
}

impl Directory for RealDirectory {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(self.path.join(name))?,
        ))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // What is no text is not the store's.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> Option<u64> {
        let free = rustix::fs::statvfs(&self.path).ok()?;
        Some(free.f_bavail.saturating_mul(free.f_frsize))
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Whether the file system has no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}
