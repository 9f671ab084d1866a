//! Authentication against real keys of every kind, and against an issuer that rotates them, stalls, lies and dies.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

#[cfg(test)]
mod issuer;
#[cfg(test)]
mod public_keys;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod test_key;
