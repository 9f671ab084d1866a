//! The laws of [`rejoin::ports::messages::Messages`], by subject.

pub(crate) mod appending;
pub(crate) mod contents;
mod given;
pub(crate) mod producers;
pub(crate) mod reading;
pub(crate) mod removal;
