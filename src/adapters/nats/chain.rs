//! Which sequences a subject's entries have.
//!
//! Invariant: however many messages of other subjects lie between, it takes a few reads to find any
//! of them. Only where another program's messages have broken the chain is the stream looked
//! through.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    failure::Failure,
    store::{Store, Stored},
    trail::NEAR,
};

/// Where a subject begins and ends, and what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    pub(super) subject: &'a str,
    /// The oldest sequence that there is.
    pub(super) oldest: u64,
    /// The last message.
    pub(super) last: &'a Stored,
}

impl Store {
    /// The sequences behind one, lowest first, at most so many. Nothing, where one that should be
    /// there is gone by now: then all is to be looked at anew.
    pub(super) async fn sequences_after(
        &self,
        span: Span<'_>,
        after: u64,
        max: usize,
    ) -> Result<Option<Vec<u64>>, Failure> {
        let Span { subject, oldest, last } = span;
        let after = after.max(oldest.saturating_sub(1));
        if last.sequence <= after {
            return Ok(Some(Vec::new()));
        }
        let Some(trail) = last.trail() else {
            return self.scan(subject, after, max).await.map(Some);
        };
        let mut known: BTreeMap<u64, u64> = trail.sequences().collect();
        known.insert(trail.number(), last.sequence);
        // Down, until what is wanted lies behind what is known.
        while let Some((&number, &sequence)) = known.first_key_value()
            && sequence > after
        {
            if number == 0 {
                if oldest < sequence {
                    return self.scan(subject, after, max).await.map(Some);
                }
                break;
            }
            if !self.learn(subject, &[sequence], &mut known).await? {
                return Ok(None);
            }
            if known.first_key_value().is_some_and(|(lowest, _)| *lowest == number) {
                return self.scan(subject, after, max).await.map(Some);
            }
        }
        let first = known
            .iter()
            .rev()
            .find(|(_, sequence)| **sequence <= after)
            .or_else(|| known.first_key_value());
        let first = first.map_or(0, |(number, _)| *number);
        let enough = first.saturating_add(max as u64);
        // What lies between two that are known stands in the second.
        let numbers: Vec<(u64, u64)> = known
            .range(first..=enough.saturating_add(NEAR))
            .map(|(number, sequence)| (*number, *sequence))
            .collect();
        let tellers: Vec<u64> = numbers
            .windows(2)
            .filter(|pair| pair[1].0 > pair[0].0 + 1)
            .map(|pair| pair[1].1)
            .collect();
        if !self.learn(subject, &tellers, &mut known).await? {
            return Ok(None);
        }
        let wanted: Vec<(u64, u64)> =
            known.range(first..).map(|(number, sequence)| (*number, *sequence)).collect();
        let wanted: Vec<(u64, u64)> =
            wanted.into_iter().filter(|(_, sequence)| *sequence > after).take(max).collect();
        let is_whole =
            wanted.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1 && pair[1].1 > pair[0].1);
        if is_whole {
            Ok(Some(wanted.into_iter().map(|(_, sequence)| sequence).collect()))
        } else {
            self.scan(subject, after, max).await.map(Some)
        }
    }

    /// Adds what some entries say. `false`, where one of them is gone.
    async fn learn(
        &self,
        subject: &str,
        sequences: &[u64],
        known: &mut BTreeMap<u64, u64>,
    ) -> Result<bool, Failure> {
        if sequences.is_empty() {
            return Ok(true);
        }
        let found = self.messages(subject, sequences, usize::MAX).await?;
        for message in &found.messages {
            known.extend(message.trail().iter().flat_map(super::trail::Trail::sequences));
        }
        Ok(!found.some_are_gone)
    }

    /// Looks through the stream.
    async fn scan(&self, subject: &str, after: u64, max: usize) -> Result<Vec<u64>, Failure> {
        let question = json!({ "seq": after + 1, "next_by_subj": subject, "batch": max });
        Ok(self.several(&question).await?.into_iter().map(|message| message.sequence).collect())
    }
}
