//! The laws of [`rejoin::ports::limits`].

pub(crate) mod budget;
pub(crate) mod leases;
