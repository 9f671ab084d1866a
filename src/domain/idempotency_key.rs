//! What a publisher gives with an event so that a retry is recognised.

use std::{fmt, sync::Arc};

/// Makes a repeat recognisable: 1 to 256 bytes of visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// Longest key that a publisher may send, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// The text is no idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters")]
pub struct InvalidIdempotencyKey;

impl IdempotencyKey {
    /// Checks the rules.
    ///
    /// # Errors
    /// [`InvalidIdempotencyKey`].
    pub fn parse(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        if text.is_empty()
            || text.len() > IDEMPOTENCY_KEY_BYTES_MAX
            || !text.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(InvalidIdempotencyKey);
        }
        Ok(Self(text.into()))
    }

    /// The key of one line of an upload that carries one key: a space can't occur in a publisher's
    /// own key.
    #[must_use]
    pub fn of_line(&self, number: u64) -> Self {
        Self(format!("{} {number}", self.0).into())
    }

    /// A key as a backend has kept it: a publisher's own, or that of a line. Nothing, where the
    /// text can't be one.
    pub fn kept(text: &str) -> Option<Self> {
        let is_key = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        is_key.then(|| Self(text.into()))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
