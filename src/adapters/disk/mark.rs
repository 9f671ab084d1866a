//! The mark beside the store: what the store must still hold.
//!
//! A store that was lost, cut or replaced by an older copy can look whole, or like a new one. The
//! mark tells.
//!
//! Invariants: the mark is never ahead of what is safe; of the two places in which it is kept one
//! is always whole; what is only noted (how far the log is safe) may be lost with the power, and
//! says less then, but nothing wrong.

use std::{io, sync::Arc};

use super::{
    failure::Failure,
    files::{Directory, DiskFile},
    log::LogPlace,
};

/// The name of its file.
pub(super) const NAME: &str = "rejoin.mark";
/// The version of all files of the store. Since 2 an event may carry a text, any event may be a
/// message's last, and a message's id may be any text. A store of an earlier version is opened, and
/// has this one from then on.
pub const FORMAT: u64 = 2;

const MAGIC: &[u8; 8] = b"rejoinM1";
/// Places lie this far apart, so that a write to one does not touch another.
const PLACE_BYTES: u64 = 4_096;
const NUMBERS: usize = 5;
const SLOT_BYTES: usize = 8 + 8 * NUMBERS + 8;

/// What a checkpoint leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Distinguishes this store from all others.
    pub(super) store_id: u64,
    /// How many checkpoints there have been.
    pub(super) generation: u64,
    /// The first segment of the log that the table does not hold.
    pub(super) first_segment: u64,
}

/// What there is of a mark.
pub(super) enum Found {
    Nothing,
    /// There is none yet, if the store is new: its making was cut short. Else it is damaged.
    Unreadable,
    /// The mark, and how far the log is safe.
    Mark(Mark, LogPlace),
}

/// The mark of an open store.
pub(super) struct Mark {
    file: Arc<dyn DiskFile>,
    checkpoint: Checkpoint,
    serial: u64,
    /// The version that it names.
    format: u64,
}

impl Mark {
    /// Makes the mark of a new store, whose table is safe by now.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn create(directory: &dyn Directory, checkpoint: Checkpoint) -> io::Result<Self> {
        let file = match directory.create(NAME) {
            // A try to make it was cut short.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => directory.open(NAME)?,
            created => created?,
        };
        file.set_len(4 * PLACE_BYTES)?;
        let mut mark = Self { file, checkpoint, serial: 0, format: FORMAT };
        mark.record(checkpoint)?;
        directory.sync()?;
        Ok(mark)
    }

    /// Reads the mark, where there is one. Also returns how far the log is safe, as far as it
    /// knows.
    ///
    /// # Errors
    /// It is of a newer format, or the file system fails.
    pub(super) fn read(directory: &dyn Directory) -> Result<Found, Failure> {
        let file = match directory.open(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            opened => opened?,
        };
        let mut slots = [None; 4];
        for (place, slot) in (0..).zip(&mut slots) {
            let mut bytes = [0; SLOT_BYTES];
            match file.read_at(place * PLACE_BYTES, &mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                read => read?,
            }
            *slot = numbers_of(&bytes);
        }
        let [checkpoints @ .., noted, noted_too] = slots;
        let Some([serial, format, store_id, generation, first_segment]) =
            checkpoints.into_iter().flatten().max()
        else {
            return Ok(Found::Unreadable);
        };
        if format > FORMAT {
            return Err(Failure::OtherFormat { found: format, known: FORMAT });
        }
        let checkpoint = Checkpoint { store_id, generation, first_segment };
        let noted = [noted, noted_too]
            .into_iter()
            .flatten()
            .filter(|[_, _, noted_id, ..]| *noted_id == store_id);
        let noted = noted.max();
        let safe = noted.map_or_else(LogPlace::default, |[_, _, _, segment, offset]| LogPlace {
            segment,
            offset,
        });
        let serial = serial.max(noted.map_or(0, |[serial, ..]| serial));
        Ok(Found::Mark(Self { file, checkpoint, serial, format }, safe))
    }

    /// What the table has to hold.
    pub(super) const fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    /// Has the mark name the present version, before anything is written that an earlier one would
    /// not understand.
    ///
    /// # Errors
    /// Those of the file system; to try again is harmless.
    pub(super) fn renew_format(&mut self) -> io::Result<()> {
        if self.format == FORMAT { Ok(()) } else { self.record(self.checkpoint) }
    }

    /// The table holds this much, safely; so does the mark afterwards.
    ///
    /// # Errors
    /// Those of the file system; to try again is harmless.
    pub(super) fn record(&mut self, checkpoint: Checkpoint) -> io::Result<()> {
        self.serial += 1;
        let Checkpoint { store_id, generation, first_segment } = checkpoint;
        // Of the two that are there the older one.
        let place = generation % 2;
        self.file.write_at(
            place * PLACE_BYTES,
            &slot([self.serial, FORMAT, store_id, generation, first_segment]),
        )?;
        self.file.sync()?;
        (self.checkpoint, self.format) = (checkpoint, FORMAT);
        Ok(())
    }

    /// Notes how far the log is safe. It is not synced: the note outlives this process, not a loss
    /// of power.
    ///
    /// # Errors
    /// Those of the file system; to try again is harmless.
    pub(super) fn note(&mut self, safe: LogPlace) -> io::Result<()> {
        self.serial += 1;
        let LogPlace { segment, offset } = safe;
        let place = 2 + self.serial % 2;
        self.file.write_at(
            place * PLACE_BYTES,
            &slot([self.serial, FORMAT, self.checkpoint.store_id, segment, offset]),
        )
    }
}

fn slot(numbers: [u64; NUMBERS]) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend_from_slice(MAGIC);
    for number in numbers {
        slot.extend_from_slice(&number.to_be_bytes());
    }
    let checksum = u64::from(crc32fast::hash(&slot));
    slot.extend_from_slice(&checksum.to_be_bytes());
    slot
}

fn numbers_of(slot: &[u8; SLOT_BYTES]) -> Option<[u64; NUMBERS]> {
    let (content, checksum) = slot.split_at(SLOT_BYTES - 8);
    let is_whole =
        content.starts_with(MAGIC) && checksum == u64::from(crc32fast::hash(content)).to_be_bytes();
    let mut numbers = [0; NUMBERS];
    for (number, bytes) in numbers.iter_mut().zip(content[8..].chunks_exact(8)) {
        *number = u64::from_be_bytes(bytes.try_into().ok()?);
    }
    is_whole.then_some(numbers)
}
