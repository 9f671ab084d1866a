//! What is left to chance, decided by a seed.

use std::{ops::Range, sync::Mutex, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

pub(crate) struct Dice(Mutex<StdRng>);

impl Dice {
    pub(crate) fn of(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// Dice that fall independently of these, but by the same seed.
    pub(crate) fn fork(&self) -> Self {
        Self::of(self.seed())
    }

    /// A seed for something else.
    pub(crate) fn seed(&self) -> u64 {
        self.0.lock().unwrap().random()
    }

    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.0.lock().unwrap().random_bool(probability)
    }

    pub(crate) fn number(&self, range: Range<usize>) -> usize {
        self.0.lock().unwrap().random_range(range)
    }

    pub(crate) fn pick<'a, T>(&self, among: &'a [T]) -> &'a T {
        &among[self.number(0..among.len())]
    }

    pub(crate) fn shuffle<T>(&self, all: &mut [T]) {
        all.shuffle(&mut *self.0.lock().unwrap());
    }

    pub(crate) fn ms(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.0.lock().unwrap().random_range(range))
    }
}
