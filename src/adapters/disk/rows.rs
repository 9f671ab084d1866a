//! Rows as they are read: the table of rows, and over it what has changed since and is not in the
//! table yet.
//!
//! Invariant: what a [`View`] shows does not change while it is held, whatever is written
//! meanwhile.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::BTreeMap,
    iter::Peekable,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use redb::{ReadOnlyTable, TableDefinition};

use super::{failure::Failure, known::KnownRows};

/// All rows, each with a key that begins with a letter for its kind.
pub(super) const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

/// A key and its value.
pub(super) type Row = (Bytes, Bytes);

/// A key, and the value that was put under it, or `None` where it was removed.
pub(super) type Change = (Bytes, Option<Bytes>);

/// What one changed row costs in memory beside its key and value, about.
const CHANGE_BYTES: usize = 160;
/// A part of a batch takes no more writes when it costs so much, in bytes.
const PART_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a write changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changeset {
    /// Rows that are put (`Some`) or removed (`None`).
    pub(super) rows: BTreeMap<Bytes, Option<Bytes>>,
    /// Rows from one key on, up to another one, that are never read or written again: they may go
    /// at any time.
    pub(super) discarded: Vec<(Bytes, Bytes)>,
}

/// Changes in memory, each with the number of the write that made it. Those of earlier writes stay,
/// for views that were there before.
#[derive(Default)]
pub(super) struct Changes {
    rows: SkipMap<(Bytes, Reverse<u64>), Option<Bytes>>,
    discarded: Mutex<Vec<(Bytes, Bytes)>>,
    bytes: AtomicUsize,
}

impl Changes {
    /// Takes what a write changed.
    pub(super) fn take(&self, write: u64, changes: &Changeset) {
        self.bytes.fetch_add(changes.cost_bytes(), Ordering::Relaxed);
        self.discarded().extend_from_slice(&changes.discarded);
        for (key, value) in &changes.rows {
            self.rows.insert((key.clone(), Reverse(write)), value.clone());
        }
    }

    fn discarded(&self) -> MutexGuard<'_, Vec<(Bytes, Bytes)>> {
        // It is changed in whole steps.
        self.discarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What they cost in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What is under a key since the latest write up to that one, where it was changed at all.
    #[expect(clippy::option_option, reason = "not changed; or changed, and there or not")]
    fn get(&self, key: &[u8], write: u64) -> Option<Option<Bytes>> {
        let key = Bytes::copy_from_slice(key);
        let found = self.rows.range((key.clone(), Reverse(write))..=(key, Reverse(0))).next()?;
        Some(found.value().clone())
    }

    /// The latest changes up to a write, in the order of their keys.
    pub(super) fn range(
        &self,
        bounds: (Bound<Bytes>, Bound<Bytes>),
        write: u64,
    ) -> impl Iterator<Item = Change> {
        let (from, to) = bounds;
        let from = from.map(|key| (key, Reverse(u64::MAX)));
        let to = to.map(|key| (key, Reverse(u64::MAX)));
        let mut last: Option<Bytes> = None;
        self.rows.range((from, to)).filter_map(move |entry| {
            let (key, Reverse(made_by)) = entry.key();
            if *made_by > write || last.as_ref() == Some(key) {
                return None;
            }
            last = Some(key.clone());
            Some((key.clone(), entry.value().clone()))
        })
    }
}

/// Changes that go into the table together, in parts: a small one is faster to look into than a
/// large one.
#[derive(Clone, Default)]
pub(super) struct Batch {
    full: Vec<Arc<Changes>>,
    growing: Arc<Changes>,
}

impl Batch {
    /// The part that takes the next write.
    pub(super) fn growing(&mut self) -> Arc<Changes> {
        if self.growing.bytes() >= PART_BYTES_MAX {
            self.full.push(std::mem::take(&mut self.growing));
        }
        Arc::clone(&self.growing)
    }

    /// All parts, the latest first.
    pub(super) fn parts(&self) -> impl Iterator<Item = Arc<Changes>> {
        std::iter::once(&self.growing).chain(self.full.iter().rev()).map(Arc::clone)
    }

    /// What they cost in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.full.iter().chain([&self.growing]).map(|part| part.bytes()).sum()
    }

    /// All changes, as one write: what is discarded in order, without overlaps.
    pub(super) fn all(&self) -> Changeset {
        let (mut rows, mut sorted) = (BTreeMap::new(), Vec::new());
        for part in self.full.iter().chain([&self.growing]) {
            rows.extend(part.range((Bound::Unbounded, Bound::Unbounded), u64::MAX));
            sorted.extend_from_slice(&part.discarded());
        }
        sorted.sort_unstable();
        let mut discarded: Vec<(Bytes, Bytes)> = Vec::with_capacity(sorted.len());
        for (from, to) in sorted {
            match discarded.last_mut() {
                Some((_, last)) if from <= *last => *last = to.max(last.clone()),
                _ => discarded.push((from, to)),
            }
        }
        Changeset { rows, discarded }
    }
}

/// The rows at one moment.
pub(super) struct View {
    /// The latest changes first.
    pub(super) changes: Vec<Arc<Changes>>,
    /// The last write that is seen.
    pub(super) write: u64,
    pub(super) table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

/// A view with changes that are about to be written.
pub(super) struct Draft {
    view: View,
    /// What is in the view, as far as it was asked for before.
    known: RefCell<KnownRows>,
    changes: Changeset,
}

/// Rows that can be read.
pub(super) trait Rows {
    /// The value under a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure>;

    /// The rows from one key on, up to another one, in order.
    fn range(&self, from: &[u8], to: &[u8]) -> Result<Merged<'_>, Failure>;
}

impl View {
    fn layers(&self, from: &[u8], to: &[u8]) -> Result<Vec<Layer<'_>>, Failure> {
        let bounds = || {
            (
                Bound::Included(Bytes::copy_from_slice(from)),
                Bound::Excluded(Bytes::copy_from_slice(to)),
            )
        };
        let mut layers: Vec<Layer<'_>> = Vec::with_capacity(self.changes.len() + 2);
        for changes in &self.changes {
            layers.push(layer(changes.range(bounds(), self.write).map(Ok)));
        }
        let table = self.table.range::<&[u8]>(from..to)?;
        layers.push(layer(table.map(|row| {
            let (key, value) = row?;
            Ok((Bytes::copy_from_slice(key.value()), Some(Bytes::copy_from_slice(value.value()))))
        })));
        Ok(layers)
    }
}

impl Rows for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        for changes in &self.changes {
            if let Some(changed) = changes.get(key, self.write) {
                return Ok(changed);
            }
        }
        Ok(self.table.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn range(&self, from: &[u8], to: &[u8]) -> Result<Merged<'_>, Failure> {
        Ok(Merged(self.layers(from, to)?))
    }
}

impl Draft {
    pub(super) fn new(view: View, known: KnownRows) -> Self {
        Self { view, known: RefCell::new(known), changes: Changeset::default() }
    }

    pub(super) fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.rows.insert(key.into(), Some(value.into()));
    }

    pub(super) fn remove(&mut self, key: impl Into<Bytes>) {
        self.changes.rows.insert(key.into(), None);
    }

    /// Rows from one key on, up to another one, are never read or written again.
    pub(super) fn discard(&mut self, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        self.changes.discarded.push((from.into(), to.into()));
    }

    pub(super) fn into_parts(self) -> (Changeset, KnownRows) {
        (self.changes, self.known.into_inner())
    }
}

impl Rows for Draft {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        if let Some(changed) = self.changes.rows.get(key) {
            return Ok(changed.clone());
        }
        if let Some(known) = self.known.borrow_mut().get(key) {
            return Ok(known);
        }
        let value = self.view.get(key)?;
        self.known.borrow_mut().remember(Bytes::copy_from_slice(key), value.clone());
        Ok(value)
    }

    fn range(&self, from: &[u8], to: &[u8]) -> Result<Merged<'_>, Failure> {
        let changed =
            self.changes.rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        let mut layers = vec![layer(changed.map(|(key, value)| Ok((key.clone(), value.clone()))))];
        layers.extend(self.view.layers(from, to)?);
        Ok(Merged(layers))
    }
}

type Layer<'a> = Peekable<Box<dyn Iterator<Item = Result<Change, Failure>> + 'a>>;

fn layer<'a>(changes: impl Iterator<Item = Result<Change, Failure>> + 'a) -> Layer<'a> {
    (Box::new(changes) as Box<dyn Iterator<Item = Result<Change, Failure>> + 'a>).peekable()
}

/// The rows of several layers, of which an earlier one says more than those behind it.
pub(super) struct Merged<'a>(Vec<Layer<'a>>);

impl Iterator for Merged<'_> {
    type Item = Result<Row, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut first: Option<&Bytes> = None;
            for layer in &mut self.0 {
                match layer.peek() {
                    // It is handed out at once.
                    Some(Err(_)) => return layer.next().and_then(Result::err).map(Err),
                    Some(Ok((key, _))) if first.is_none_or(|first| key < first) => {
                        first = Some(key);
                    }
                    Some(Ok(_)) | None => {}
                }
            }
            let key = first?.clone();
            let mut value = None;
            for layer in &mut self.0 {
                if let Some(Ok((_, changed))) =
                    layer.next_if(|change| change.as_ref().is_ok_and(|(other, _)| *other == key))
                {
                    value.get_or_insert(changed);
                }
            }
            if let Some(value) = value.flatten() {
                return Some(Ok((key, value)));
            }
        }
    }
}

/// What stands before a row that is removed, one that is put, and a range that is discarded.
const REMOVED: u8 = 0;
const PUT: u8 = 1;
const DISCARDED: u8 = 2;

impl Changeset {
    /// What they cost in memory, about.
    fn cost_bytes(&self) -> usize {
        let rows = self
            .rows
            .iter()
            .map(|(key, value)| CHANGE_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len));
        rows.chain(self.discarded.iter().map(|(from, to)| CHANGE_BYTES + from.len() + to.len()))
            .sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.discarded.is_empty()
    }

    /// The changes as a record of the log has them.
    pub(super) fn encode(&self) -> Vec<u8> {
        let len = |key: &Bytes, value: &Bytes| 9 + key.len() + value.len();
        let of_rows = self.rows.iter().map(|(key, value)| len(key, value.as_ref().unwrap_or(key)));
        let of_discarded = self.discarded.iter().map(|(from, to)| len(from, to));
        let mut record = Vec::with_capacity(of_rows.chain(of_discarded).sum());
        let text = |record: &mut Vec<u8>, bytes: &[u8]| {
            // Keys and values are bounded far below 4 GiB.
            record.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            record.extend_from_slice(bytes);
        };
        for (key, value) in &self.rows {
            record.push(if value.is_some() { PUT } else { REMOVED });
            text(&mut record, key);
            if let Some(value) = value {
                text(&mut record, value);
            }
        }
        for (from, to) in &self.discarded {
            record.push(DISCARDED);
            text(&mut record, from);
            text(&mut record, to);
        }
        record
    }

    /// Reads the changes of a record; `None` where it has none.
    pub(super) fn decode(record: Vec<u8>) -> Option<Self> {
        let (mut rest, mut changes) = (Bytes::from(record), Self::default());
        let take = |rest: &mut Bytes, len: usize| (rest.len() >= len).then(|| rest.split_to(len));
        let text = |rest: &mut Bytes| {
            let len = u32::from_be_bytes(take(rest, 4)?[..].try_into().ok()?);
            take(rest, usize::try_from(len).ok()?)
        };
        while !rest.is_empty() {
            let kind = take(&mut rest, 1)?[0];
            let key = text(&mut rest)?;
            match kind {
                REMOVED => drop(changes.rows.insert(key, None)),
                PUT => drop(changes.rows.insert(key, Some(text(&mut rest)?))),
                DISCARDED => changes.discarded.push((key, text(&mut rest)?)),
                _ => return None,
            }
        }
        Some(changes)
    }
}

/// Whether a key is in one of some ranges, which are in order.
pub(super) fn is_in(ranges: &[(Bytes, Bytes)], key: &Bytes) -> bool {
    let behind = ranges.partition_point(|(from, _)| from <= key);
    behind.checked_sub(1).is_some_and(|at| *key < ranges[at].1)
}
