//! The use cases, against ports only.
//!
//! An event goes one way: [`publishing`] validates it and appends it to the journal; the backend's
//! feed signals the [`hub`]; the hub puts it into its topic's ring and wakes the connections; each
//! connection's [`streaming`] task takes it from the ring and writes it.
//!
//! Tasks of a process: one for the hub's feed, one per topic that is being caught up, one that
//! renews leases, and one per connection.

pub mod administration;
pub mod archive;
pub mod availability;
pub mod backlog;
pub mod broadcasting;
pub mod broadcasts;
mod connection_record;
pub mod drain;
mod end_reason;
mod expiry;
pub mod hub;
pub mod lifecycle;
pub mod limits;
pub mod message_subscriptions;
pub mod observed;
pub mod producing;
pub mod publishing;
mod reader;
pub mod refusal;
pub mod signals;
pub mod sources;
pub mod streaming;
pub mod subscription;
pub mod subscriptions;
pub mod supervisor;
mod traces;
mod user_subscriptions;
