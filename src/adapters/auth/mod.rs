//! Authentication: nobody is asked ([`none`]), or a bearer token is checked: a publisher's static key
//! ([`keys`]).
//!
//! Invariant: what is accepted was proven by a key that was configured, or published by the configured issuer. A token
//! never chooses how it is checked: its `alg` and `kid` select among what is allowed, and nothing else of its header is
//! obeyed.

pub mod keys;
pub mod none;

/// Longest token that is looked at, in bytes. Real ones have a few hundred, seldom a few thousand.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
