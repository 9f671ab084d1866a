//! The file under the table of rows, in blocks with checksums.
//!
//! redb checks its own checksums only where it repairs a file after a crash, and may panic on a
//! page that was altered. Here each block is checked whenever it is read, so that damage is an
//! error at once and never a wrong answer.
//!
//! Invariants: block 0 is redb's header, which has checksums of its own and is written in parts;
//! every other block of the file has its checksum right behind it, so that a write that is torn
//! harms the blocks that it writes and no other; a block of zeros that was never written is whole.

use std::{io, sync::Arc};

use redb::StorageBackend;

use super::files::DiskFile;

const BLOCK: usize = 4_096;
const CHECKSUM: usize = 8;
const STRIDE: usize = BLOCK + CHECKSUM;

/// A file of blocks.
#[derive(Debug)]
pub(super) struct Blocks(pub(super) Arc<dyn DiskFile>);

/// The checksum of a block, which distinguishes it from one that was meant for another place. Never
/// zero.
fn checksum(number: u64, block: &[u8]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(block);
    u64::from(hasher.finalize()) | 1 << 32
}

/// Where a block begins in the file.
const fn place(number: u64) -> u64 {
    if number == 0 { 0 } else { BLOCK as u64 + (number - 1) * STRIDE as u64 }
}

fn damaged(number: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("block {number} is damaged: its checksum is wrong"),
    )
}

/// The number of the block at an offset where one begins.
fn number_of(offset: u64, len: usize) -> io::Result<u64> {
    let whole = offset.is_multiple_of(BLOCK as u64) && len.is_multiple_of(BLOCK);
    if whole {
        Ok(offset / BLOCK as u64)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "only whole blocks are kept"))
    }
}

impl Blocks {
    fn read_blocks(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        let count = out.len() / BLOCK;
        let mut stored = vec![0; count * STRIDE];
        self.0.read_at(place(first), &mut stored)?;
        for ((number, block), stored) in
            (first..).zip(out.chunks_exact_mut(BLOCK)).zip(stored.chunks_exact(STRIDE))
        {
            let (content, sum) = stored.split_at(BLOCK);
            block.copy_from_slice(content);
            let is_new = || stored.iter().all(|byte| *byte == 0);
            if sum != checksum(number, content).to_be_bytes() && !is_new() {
                return Err(damaged(number));
            }
        }
        Ok(())
    }

    fn write_blocks(&self, first: u64, data: &[u8]) -> io::Result<()> {
        let mut stored = Vec::with_capacity(data.len() / BLOCK * STRIDE);
        for (number, block) in (first..).zip(data.chunks_exact(BLOCK)) {
            stored.extend_from_slice(block);
            stored.extend_from_slice(&checksum(number, block).to_be_bytes());
        }
        self.0.write_at(place(first), &stored)
    }

    /// Reads all blocks but the first.
    ///
    /// # Errors
    /// Those of the file system, or the first that is damaged.
    pub(super) fn check(&self) -> io::Result<()> {
        let blocks = StorageBackend::len(self)? / BLOCK as u64;
        let mut content = vec![0; BLOCK];
        (1..blocks).try_for_each(|number| self.read_blocks(number, &mut content))
    }

    /// How much of what is asked for lies in block 0.
    fn in_header(offset: u64, len: usize) -> usize {
        let header = usize::try_from((BLOCK as u64).saturating_sub(offset)).unwrap_or(0);
        header.min(len)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (header, rest) = out.split_at_mut(Self::in_header(offset, out.len()));
        if !header.is_empty() {
            self.0.read_at(offset, header)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let offset = offset + header.len() as u64;
        self.read_blocks(number_of(offset, rest.len())?, rest)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (header, rest) = data.split_at(Self::in_header(offset, data.len()));
        if !header.is_empty() {
            self.0.write_at(offset, header)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let offset = offset + header.len() as u64;
        self.write_blocks(number_of(offset, rest.len())?, rest)
    }
}

impl StorageBackend for Blocks {
    fn len(&self) -> io::Result<u64> {
        let len = self.0.len()?;
        let behind = len.saturating_sub(BLOCK as u64);
        Ok(len.min(BLOCK as u64) + behind / STRIDE as u64 * BLOCK as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let number = number_of(len, 0)?;
        self.0.set_len(place(number))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_at(offset, data)
    }
}
