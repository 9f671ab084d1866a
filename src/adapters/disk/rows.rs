//! Rows as they are read: the table of rows, and over it what has changed since and is not in the table yet.
//!
//! Invariant: what a [`View`] shows does not change while it is held, whatever is written meanwhile.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    iter::Peekable,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use redb::{ReadOnlyTable, TableDefinition};

use super::failure::Failure;

/// All rows, each with a key that begins with a letter for its kind.
pub(super) const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

/// A key and its value.
pub(super) type Row = (Bytes, Bytes);

/// A key, and the value that was put under it, or `None` where it was removed.
pub(super) type Change = (Bytes, Option<Bytes>);

/// What one changed row costs in memory beside its key and value, about.
const CHANGE_BYTES: usize = 160;

/// Changes in memory, each with the number of the write that made it. Those of earlier writes stay, for views that were there before.
#[derive(Default)]
pub(super) struct Changes {
    rows: SkipMap<(Bytes, Reverse<u64>), Option<Bytes>>,
    bytes: AtomicUsize,
}

impl Changes {
    /// Takes what a write changed.
    pub(super) fn take(&self, write: u64, changes: impl IntoIterator<Item = Change>) {
        for (key, value) in changes {
            let bytes = CHANGE_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.rows.insert((key, Reverse(write)), value);
        }
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
    pub(super) fn range(&self, bounds: (Bound<Bytes>, Bound<Bytes>), write: u64) -> impl Iterator<Item = Change> {
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
    changes: BTreeMap<Bytes, Option<Bytes>>,
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
        let bounds = || (Bound::Included(Bytes::copy_from_slice(from)), Bound::Excluded(Bytes::copy_from_slice(to)));
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
    pub(super) fn new(view: View) -> Self {
        Self { view, changes: BTreeMap::new() }
    }

    pub(super) fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.insert(key.into(), Some(value.into()));
    }

    pub(super) fn remove(&mut self, key: impl Into<Bytes>) {
        self.changes.insert(key.into(), None);
    }

    pub(super) fn into_changes(self) -> BTreeMap<Bytes, Option<Bytes>> {
        self.changes
    }
}

impl Rows for Draft {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        match self.changes.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => self.view.get(key),
        }
    }

    fn range(&self, from: &[u8], to: &[u8]) -> Result<Merged<'_>, Failure> {
        let changed = self.changes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
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
                    Some(Ok((key, _))) if first.is_none_or(|first| key < first) => first = Some(key),
                    Some(Ok(_)) | None => {}
                }
            }
            let key = first?.clone();
            let mut value = None;
            for layer in &mut self.0 {
                if let Some(Ok((_, changed))) = layer.next_if(|change| change.as_ref().is_ok_and(|(other, _)| *other == key)) {
                    value.get_or_insert(changed);
                }
            }
            if let Some(value) = value.flatten() {
                return Some(Ok((key, value)));
            }
        }
    }
}

/// Writes changes as a record of the log has them.
pub(super) fn encode<'a>(changes: impl IntoIterator<Item = (&'a Bytes, &'a Option<Bytes>)>) -> Vec<u8> {
    let mut record = Vec::new();
    let text = |record: &mut Vec<u8>, bytes: &[u8]| {
        // Keys and values are bounded far below 4 GiB.
        record.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        record.extend_from_slice(bytes);
    };
    for (key, value) in changes {
        record.push(value.is_some().into());
        text(&mut record, key);
        if let Some(value) = value {
            text(&mut record, value);
        }
    }
    record
}

/// Reads the changes of a record, in order; `None` where it has none.
pub(super) fn decode(record: Vec<u8>) -> Option<Vec<Change>> {
    let (mut rest, mut changes) = (Bytes::from(record), Vec::new());
    let take = |rest: &mut Bytes, len: usize| (rest.len() >= len).then(|| rest.split_to(len));
    let text = |rest: &mut Bytes| {
        let len = u32::from_be_bytes(take(rest, 4)?[..].try_into().ok()?);
        take(rest, usize::try_from(len).ok()?)
    };
    while !rest.is_empty() {
        let is_put = take(&mut rest, 1)?[0] != 0;
        let key = text(&mut rest)?;
        let value = if is_put { Some(text(&mut rest)?) } else { None };
        changes.push((key, value));
    }
    Some(changes)
}
