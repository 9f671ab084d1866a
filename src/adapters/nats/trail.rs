//! Where the entries before an entry stand in their stream, as each entry has it.
//!
//! A subject's entries lie scattered among those of all others, and to look for them one after
//! another costs a scan of what lies between. So each entry is numbered within its subject, and
//! carries the stream's sequences of some entries before it: all since the last number that divides
//! by [`NEAR`], and those with such numbers since the last that divides by [`FAR`]. From a
//! subject's last entry any other is then a few reads by sequence away, however much of others lies
//! between.
//!
//! Invariant: the sequence of the entry right before is always among them, so that what an entry
//! follows is known exactly.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};

/// Each entry carries the sequences of all entries since the last number that divides by this.
pub(super) const NEAR: u64 = 32;
/// And of those whose numbers divide by [`NEAR`] since the last that divides by this.
pub(super) const FAR: u64 = NEAR * NEAR;

/// An entry's number within its subject, and where some entries before it stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trail {
    number: u64,
    /// The numbers that [`carried`] gives, in that order; of the first entry one sequence that
    /// belongs to none: nothing of the subject lies between it and the entry.
    before: Vec<Place>,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At this sequence of the stream.
    At(u64),
    /// At this place of the batch in which both are appended.
    InBatch(u64),
}

/// The header's text is no trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not say what it follows")]
pub(super) struct NoTrail;

/// The numbers whose sequences an entry carries, the greatest first.
fn carried(number: u64) -> impl Iterator<Item = u64> {
    let last_before = |step: u64| number.saturating_sub(1) / step * step;
    let (near, far) = (last_before(NEAR), last_before(FAR));
    let nears = (near..number).rev();
    let fars = (far / NEAR..near / NEAR).rev().map(|block| block * NEAR);
    nears.chain(fars)
}

impl Trail {
    /// Of the first entry of a subject, or of one that can't be linked to those before it; nothing
    /// that is kept lies between `floor` and the entry.
    pub(super) fn begin(floor: u64) -> Self {
        Self { number: 0, before: vec![Place::At(floor)] }
    }

    /// Of the entry after one that stands at `place`.
    pub(super) fn next(&self, place: Place) -> Self {
        let number = self.number + 1;
        // Both go from the greatest number down, and what the next one carries is among what is
        // known.
        let mut known = [(self.number, place)].into_iter().chain(self.places());
        let before = carried(number).map_while(|wanted| {
            known.find(|(before, _)| *before == wanted).map(|(_, place)| place)
        });
        Self { number, before: before.collect() }
    }

    /// The entry's number.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The numbers of entries before, and where they stand.
    fn places(&self) -> impl Iterator<Item = (u64, Place)> {
        // What the first entry has is nobody's.
        carried(self.number).zip(self.before.iter().copied())
    }

    /// The numbers of entries before, and their sequences. Of an entry that is in the stream.
    pub(super) fn sequences(&self) -> impl Iterator<Item = (u64, u64)> {
        self.places().filter_map(|(number, place)| {
            if let Place::At(sequence) = place { Some((number, sequence)) } else { None }
        })
    }

    /// The sequence behind which nothing of the subject lies up to the entry: that of the entry
    /// before. Of an entry that is in the stream.
    pub(super) fn follows(&self) -> u64 {
        match self.before.first() {
            Some(Place::At(sequence)) => *sequence,
            Some(Place::InBatch(_)) | None => 0,
        }
    }

    /// The same once it is known where the batch begins in the stream.
    pub(super) fn settled(&self, batch_begins_at: u64) -> Self {
        let settle = |place: &Place| match place {
            Place::InBatch(index) => Place::At(batch_begins_at + index),
            at @ Place::At(_) => *at,
        };
        Self { number: self.number, before: self.before.iter().map(settle).collect() }
    }

    /// As it stands in the header of the entry at this place of its batch.
    pub(super) fn encode(&self, index: u64) -> String {
        let mut bytes = Vec::with_capacity(4 + self.before.len() * 3);
        push_varint(&mut bytes, self.number);
        let in_batch =
            self.before.iter().take_while(|place| matches!(place, Place::InBatch(_))).count();
        push_varint(&mut bytes, in_batch as u64);
        let mut last = None;
        for place in &self.before {
            match (*place, last) {
                (Place::InBatch(before), _) => push_varint(&mut bytes, index - before),
                (Place::At(sequence), None) => {
                    push_varint(&mut bytes, sequence);
                    last = Some(sequence);
                }
                (Place::At(sequence), Some(after)) => {
                    push_varint(&mut bytes, after - sequence);
                    last = Some(sequence);
                }
            }
        }
        BASE64.encode(bytes)
    }

    /// Of an entry that stands at this sequence.
    pub(super) fn decode(text: &str, sequence: u64) -> Result<Self, NoTrail> {
        let bytes = BASE64.decode(text).map_err(|_| NoTrail)?;
        let mut rest = &bytes[..];
        let number = take_varint(&mut rest)?;
        let mut in_batch = take_varint(&mut rest)?;
        let mut before = Vec::new();
        let mut last = None;
        while !rest.is_empty() {
            let told = take_varint(&mut rest)?;
            let found = match last {
                _ if in_batch > 0 => {
                    in_batch -= 1;
                    sequence.checked_sub(told)
                }
                None => {
                    last = Some(told);
                    last
                }
                Some(after) => {
                    last = after.checked_sub(told);
                    last
                }
            };
            before.push(found.filter(|found| *found < sequence).ok_or(NoTrail)?);
        }
        let is_in_order = before.is_sorted_by(|after, before| after > before);
        let most = if number == 0 { 1 } else { carried(number).count() };
        if before.is_empty() || before.len() > most || !is_in_order {
            return Err(NoTrail);
        }
        Ok(Self { number, before: before.into_iter().map(Place::At).collect() })
    }
}

/// LEB128, as Protocol Buffers have it.
fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low & 0x7f);
        }
        bytes.push(low | 0x80);
    }
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, NoTrail> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(NoTrail)?;
        *bytes = rest;
        let part = u64::from(first & 0x7f);
        number |=
            part.checked_shl(shift).filter(|shifted| shifted >> shift == part).ok_or(NoTrail)?;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(NoTrail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The trails of so many entries, of which each stands 3 behind the one before, appended in
    /// batches of so many.
    fn trails(entries: u64, batch: u64) -> Vec<Trail> {
        let mut written: Vec<Trail> = Vec::new();
        while (written.len() as u64) < entries {
            let begins_at = 10 + 3 * written.len() as u64;
            let mut trail = match written.last() {
                Some(last) => last.next(Place::At(10 + 3 * last.number())),
                None => Trail::begin(7),
            };
            for index in 0..batch {
                let (text, sequence) = (trail.encode(3 * index), begins_at + 3 * index);
                let read = Trail::decode(&text, sequence).unwrap();
                assert_eq!(read, trail.settled(begins_at));
                written.push(read);
                trail = trail.next(Place::InBatch(3 * index));
            }
        }
        written
    }

    #[test]
    fn each_entry_tells_the_one_before_and_from_the_last_every_other_is_near() {
        for batch in [1, 7, 100] {
            let trails = trails(3_000, batch);
            assert_eq!(trails[0].follows(), 7);
            for (number, trail) in (0..).zip(&trails) {
                assert_eq!(trail.number(), number);
                assert!(number == 0 || trail.follows() == 10 + 3 * (number - 1));
                assert!(trail.sequences().all(|(number, sequence)| sequence == 10 + 3 * number));
                assert!(trail.before.len() <= 64);
                let lowest = trail.sequences().last().map_or(0, |(number, _)| number);
                assert!(
                    number == 0 || lowest == (number - 1) / FAR * FAR,
                    "{number} reaches back to {lowest}"
                );
                let nears = trail
                    .sequences()
                    .filter(|(before, _)| *before >= (number - 1) / NEAR * NEAR)
                    .count() as u64;
                assert_eq!(
                    nears,
                    if number == 0 { 0 } else { number - (number - 1) / NEAR * NEAR }
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[A-Za-z0-9+/]{0,60}", sequence: u64) {
            if let Ok(trail) = Trail::decode(&text, sequence) {
                prop_assert!(trail.follows() < sequence);
                prop_assert!(trail.sequences().all(|(number, before)| number < trail.number() && before < sequence));
            }
        }
    }
}
