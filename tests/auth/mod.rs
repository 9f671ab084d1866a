//! Authentication against real keys of every kind, and against an issuer that rotates them, stalls,
//! lies and dies.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod issuer;
mod public_keys;
mod rotation;
mod test_key;
