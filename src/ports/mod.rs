//! What the domain needs of the outside world: traits, and nothing else.
//!
//! Invariant: a port speaks the domain's words. No type of a driver, a database or HTTP passes
//! through here. Each law in these docs is a function of `tests/contract`, which every adapter must
//! pass.

pub mod archive;
pub mod authenticator;
pub mod backend_error;
pub mod clock;
pub mod entropy;
pub mod feed;
pub mod journal;
pub mod limits;
pub mod messages;
pub mod tasks;
pub mod topic_log;
pub mod traces;
