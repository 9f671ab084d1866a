//! The system's randomness.

use crate::ports::entropy::Entropy;

/// The thread's generator, which the operating system seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}
