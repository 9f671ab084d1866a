//! Authentication against real keys of every kind, and against an issuer that rotates them, stalls, lies and dies.

#[cfg(test)]
mod issuer;
#[cfg(test)]
mod public_keys;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod test_key;
