//! The pages in `docs/moving`, word for word: what an operator does who moves an application here, with what that application
//! already has.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says so by panicking")]

#[cfg(test)]
mod dashtam;
#[cfg(test)]
mod docsgpt;
#[cfg(test)]
mod page;
#[cfg(test)]
mod surroundings;
#[cfg(test)]
mod walk;
