//! Randomness.

use uuid::Uuid;

/// Gives random numbers: for ids that must be unique among all processes, and to spread what would
/// else happen at once. Not for keys and secrets.
pub trait Entropy: Send + Sync {
    /// Evenly distributed.
    fn next_u64(&self) -> u64;

    /// A random UUID (version 4, RFC 9562).
    fn uuid(&self) -> Uuid {
        let (high, low) = (u128::from(self.next_u64()), u128::from(self.next_u64()));
        uuid::Builder::from_random_bytes((high << 64 | low).to_be_bytes()).into_uuid()
    }
}
