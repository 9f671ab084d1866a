//! The log of changes: what makes an acknowledged write safe before it has its place in the table.
//!
//! Invariants: a record that was synced is read again whole, or the damage is reported; a record of
//! a write that failed is never taken up again once a later one succeeded, since the segment behind
//! says where the one before it ends; a segment is removed only when the table holds all of it.
//!
//! A segment is a head (which store's it is, its number, where the segment before it ends, whether
//! each record is synced before the next one is written) and records (length, segment, checksum,
//! changes). A file may have been a segment before: behind its last record stand those of that one,
//! which their numbers tell apart. A sync of what is written over old content is about twice as
//! fast as one of a file that grows.

use std::{io, sync::Arc};

use super::{
    failure::{Damage, Failure},
    files::{Directory, DiskFile},
};

const HEAD_MAGIC: &[u8; 8] = b"rejoinL1";
const HEAD_BYTES: usize = 48;
const RECORD_MAGIC: &[u8; 4] = b"rec1";
const RECORD_HEAD_BYTES: usize = 20;
/// The name of a file that was a segment, and may become one again. One that a process left behind
/// is removed: whether its new name was safe is unknown.
const SPARE: &str = "log-spare";

/// The name of a segment's file.
fn name_of(segment: u64) -> String {
    format!("log-{segment:016}")
}

/// The number in the name of a segment's file.
fn number_in(name: &str) -> Option<u64> {
    name.strip_prefix("log-").filter(|digits| digits.len() == 16)?.parse().ok()
}

/// A place in the log: behind it nothing is known to be safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogPlace {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// Whose log it is, and how it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) store_id: u64,
    /// Whether each record is synced before the next one is written.
    pub(super) syncs_each: bool,
}

/// The segment that is written to.
pub(super) struct Log {
    directory: Arc<dyn Directory>,
    owner: Owner,
    file: Arc<dyn DiskFile>,
    end: LogPlace,
    /// Up to there it is synced.
    safe: LogPlace,
    /// A write or a sync failed: what lies behind `end` is not to be taken for records.
    failed: bool,
    /// A sync failed that was to make records safe which were acknowledged before.
    has_lost: bool,
}

impl Log {
    /// Begins a segment behind that place.
    ///
    /// # Errors
    /// Those of the file system. A part of a segment that may be left is no harm to the next try.
    pub(super) fn begin(
        directory: Arc<dyn Directory>,
        owner: Owner,
        behind: LogPlace,
    ) -> io::Result<Self> {
        let segment = behind.segment + 1;
        let name = name_of(segment);
        let there = directory.names()?;
        if there.contains(&name) {
            // It was left by a try that failed, so that nothing was ever written behind its head.
            directory.remove(&name)?;
        }
        let file = if there.iter().any(|other| other == SPARE) {
            directory.rename(SPARE, &name)?;
            directory.open(&name)?
        } else {
            directory.create(&name)?
        };
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(HEAD_MAGIC);
        for number in [owner.store_id, segment, behind.offset, owner.syncs_each.into()] {
            head.extend_from_slice(&number.to_be_bytes());
        }
        let checksum = u64::from(crc32fast::hash(&head));
        head.extend_from_slice(&checksum.to_be_bytes());
        file.write_at(0, &head)?;
        file.sync()?;
        directory.sync()?;
        let end = LogPlace { segment, offset: HEAD_BYTES as u64 };
        Ok(Self { directory, owner, file, end, safe: end, failed: false, has_lost: false })
    }

    /// Behind the last record that is safe.
    pub(super) const fn safe(&self) -> LogPlace {
        self.safe
    }

    /// Whether records that were acknowledged may be gone. Those who have them still add them
    /// again, and say so.
    pub(super) const fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// What was lost is there again, and safe.
    pub(super) const fn repaired(&mut self) {
        self.has_lost = false;
    }

    /// Adds a record. It is safe after [`Self::sync`].
    ///
    /// # Errors
    /// Those of the file system; the record does not count.
    pub(super) fn append(&mut self, changes: &[u8]) -> io::Result<()> {
        if self.failed {
            self.begin_anew()?;
        }
        let record = record(self.end, changes);
        self.file.write_at(self.end.offset, &record).inspect_err(|_| self.failed = true)?;
        self.end.offset += record.len() as u64;
        Ok(())
    }

    /// Waits until all records are safe.
    ///
    /// # Errors
    /// Those of the file system. The records that were not safe are none any more.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.end == self.safe {
            return Ok(());
        }
        let synced = self.file.sync();
        if synced.is_ok() {
            self.safe = self.end;
        } else {
            self.failed = true;
            self.has_lost |= !self.owner.syncs_each;
            self.end = self.safe;
        }
        synced
    }

    /// Goes on in a new segment, which says where this one ends: so all of it has to be safe first.
    ///
    /// # Errors
    /// Those of the file system; to try again is harmless.
    pub(super) fn begin_anew(&mut self) -> io::Result<()> {
        self.sync()?;
        let begun = Self::begin(Arc::clone(&self.directory), self.owner, self.end)?;
        *self = Self { has_lost: self.has_lost, ..begun };
        Ok(())
    }
}

fn record(at: LogPlace, changes: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD_HEAD_BYTES + changes.len());
    record.extend_from_slice(RECORD_MAGIC);
    // What is written together is bounded far below 4 GiB.
    record.extend_from_slice(&u32::try_from(changes.len()).unwrap_or(u32::MAX).to_be_bytes());
    record.extend_from_slice(&at.segment.to_be_bytes());
    record.extend_from_slice(&checksum(at, changes).to_be_bytes());
    record.extend_from_slice(changes);
    record
}

/// Distinguishes a record from one that stood elsewhere.
fn checksum(at: LogPlace, changes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&at.segment.to_be_bytes());
    hasher.update(&at.offset.to_be_bytes());
    hasher.update(changes);
    hasher.finalize()
}

/// What was found of the log.
pub(super) struct Found {
    /// The changes of each record, in order.
    pub(super) records: Vec<Vec<u8>>,
    /// Behind the last of them.
    pub(super) end: LogPlace,
    /// Bytes at the end that are no whole record: of a write that was cut short, or of one that was
    /// damaged since.
    pub(super) torn_bytes: u64,
}

/// The numbers of the segments that are there, in order.
///
/// # Errors
/// Those of the file system.
pub(super) fn segments(directory: &dyn Directory) -> io::Result<Vec<u64>> {
    let mut segments: Vec<u64> =
        directory.names()?.iter().filter_map(|name| number_in(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}

/// A segment's size in bytes; none where it has been removed.
///
/// # Errors
/// Those of the file system.
pub(super) fn size(directory: &dyn Directory, segment: u64) -> io::Result<u64> {
    match directory.open(&name_of(segment)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        opened => opened?.len(),
    }
}

/// Removes the segments before that one, which the table holds, and whatever was spare, at a start.
///
/// # Errors
/// Those of the file system; to try again is harmless.
pub(super) fn remove_before(directory: &dyn Directory, first: u64) -> io::Result<()> {
    for segment in segments(directory)?.into_iter().filter(|segment| *segment < first) {
        directory.remove(&name_of(segment))?;
    }
    match directory.remove(SPARE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes the segments out of use that are before that one, which the table holds. One of them is
/// spare from now on.
///
/// # Errors
/// Those of the file system; to try again is harmless.
pub(super) fn retire_before(directory: &dyn Directory, first: u64) -> io::Result<()> {
    let mut has_spare = directory.names()?.iter().any(|name| name == SPARE);
    for segment in segments(directory)?.into_iter().filter(|segment| *segment < first) {
        if has_spare {
            directory.remove(&name_of(segment))?;
        } else {
            directory.rename(&name_of(segment), SPARE)?;
            has_spare = true;
        }
    }
    Ok(())
}

/// Reads the log from a segment on. It has to reach to `safe`, at least.
///
/// # Errors
/// Something that was safe is missing or damaged.
pub(super) fn read(
    directory: &dyn Directory,
    store_id: u64,
    first: u64,
    safe: LogPlace,
) -> Result<Found, Failure> {
    let mut found = Found {
        records: Vec::new(),
        end: LogPlace { segment: first.saturating_sub(1), offset: 0 },
        torn_bytes: 0,
    };
    let there: Vec<u64> =
        segments(directory)?.into_iter().filter(|segment| *segment >= first).collect();
    for (at, segment) in there.iter().enumerate() {
        let is_last = at + 1 == there.len();
        if *segment != first + at as u64 {
            return Err(Damage::new(format!("{} is missing", name_of(first + at as u64))).into());
        }
        let file = directory.open(&name_of(*segment))?;
        let mut bytes = vec![
            0;
            usize::try_from(file.len()?)
                .map_err(|_| Damage::new("a segment of the log is too long"))?
        ];
        file.read_at(0, &mut bytes)?;
        let Some(head) = head_of(&bytes, store_id, *segment) else {
            // It was about to be made: nothing was acknowledged of it.
            if is_last && safe.segment < *segment && !has_record(&bytes, *segment, 0) {
                break;
            }
            return Err(Damage::new(format!("the head of {} is damaged", name_of(*segment))).into());
        };
        if at > 0 {
            found.cut_to(LogPlace { segment: segment - 1, offset: head.previous_end })?;
        }
        found.take(&bytes, *segment, is_last && head.syncs_each)?;
    }
    if found.end < safe {
        let LogPlace { segment, offset } = safe;
        return Err(Damage::new(format!(
            "the log ends before byte {offset} of {}, which was acknowledged",
            name_of(segment)
        ))
        .into());
    }
    Ok(found)
}

impl Found {
    /// The segment behind says that this one ends there.
    fn cut_to(&mut self, end: LogPlace) -> Result<(), Damage> {
        self.torn_bytes = 0;
        match self.end.cmp(&end) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => {
                Err(Damage::new(format!("a record of {} is damaged", name_of(end.segment))))
            }
            std::cmp::Ordering::Greater => {
                while self.end > end
                    && let Some(last) = self.records.pop()
                {
                    self.end.offset -= (RECORD_HEAD_BYTES + last.len()) as u64;
                }
                if self.end == end {
                    Ok(())
                } else {
                    Err(Damage::new(format!("{} is damaged", name_of(end.segment))))
                }
            }
        }
    }

    /// Takes the records of a segment. `ends_whole` if no whole one may follow one that is not:
    /// each was written after the one before was synced.
    fn take(&mut self, bytes: &[u8], segment: u64, ends_whole: bool) -> Result<(), Damage> {
        let mut offset = HEAD_BYTES;
        while let Some(changes) = record_at(bytes, segment, offset) {
            offset += RECORD_HEAD_BYTES + changes.len();
            self.records.push(changes.to_vec());
        }
        self.end = LogPlace { segment, offset: offset as u64 };
        self.torn_bytes = torn_bytes(bytes, segment, offset);
        if ends_whole && has_record(bytes, segment, offset) {
            return Err(Damage::new(format!(
                "the record at byte {offset} of {} is damaged",
                name_of(segment)
            )));
        }
        Ok(())
    }
}

/// What the head of a segment says.
struct Head {
    previous_end: u64,
    syncs_each: bool,
}

/// The head of a segment; `None` where there is none of this segment.
fn head_of(bytes: &[u8], store_id: u64, segment: u64) -> Option<Head> {
    let head = bytes.get(..HEAD_BYTES)?;
    let number = |at: usize| head[at..at + 8].try_into().map(u64::from_be_bytes).ok();
    let is_whole =
        head.starts_with(HEAD_MAGIC) && number(40)? == u64::from(crc32fast::hash(&head[..40]));
    let is_its_own = is_whole && number(8)? == store_id && number(16)? == segment;
    is_its_own.then_some(Head { previous_end: number(24)?, syncs_each: number(32)? != 0 })
}

/// The changes of the record that stands there, if a whole one of that segment does.
fn record_at(bytes: &[u8], segment: u64, offset: usize) -> Option<&[u8]> {
    let head = bytes.get(offset..offset + RECORD_HEAD_BYTES)?;
    if !head.starts_with(RECORD_MAGIC) || head[8..16] != segment.to_be_bytes() {
        return None;
    }
    let number = |at: usize| head[at..at + 4].try_into().map(u32::from_be_bytes).ok();
    let begins = offset + RECORD_HEAD_BYTES;
    let changes = bytes.get(begins..begins.checked_add(usize::try_from(number(4)?).ok()?)?)?;
    (number(16)? == checksum(LogPlace { segment, offset: offset as u64 }, changes))
        .then_some(changes)
}

/// How many bytes stand there of a record of that segment that is not whole.
fn torn_bytes(bytes: &[u8], segment: u64, offset: usize) -> u64 {
    let rest = bytes.get(offset..).unwrap_or_default();
    let head = rest.get(..RECORD_HEAD_BYTES).unwrap_or(rest);
    let is_cut = head.len() < RECORD_HEAD_BYTES && !head.is_empty();
    let is_its_own = head.get(8..16).is_some_and(|number| *number == segment.to_be_bytes());
    if !is_cut && !is_its_own {
        return 0;
    }
    let len = head.get(4..8).and_then(|len| len.try_into().ok()).map_or(0, u32::from_be_bytes);
    (rest.len() as u64).min(RECORD_HEAD_BYTES as u64 + u64::from(len))
}

/// Whether a whole record stands anywhere from there on.
fn has_record(bytes: &[u8], segment: u64, from: usize) -> bool {
    let rest = bytes.get(from..).unwrap_or_default();
    let begins =
        rest.windows(RECORD_MAGIC.len()).enumerate().filter(|(_, window)| window == RECORD_MAGIC);
    begins.into_iter().any(|(at, _)| record_at(bytes, segment, from + at).is_some())
}
