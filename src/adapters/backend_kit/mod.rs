//! What backends have in common. `docs/adding-a-backend.md` is the recipe for another one.
//!
//! Invariant: nothing here knows a backend; each backend knows this, and no other backend.

mod context;
pub mod feed;
pub mod group_commit;
pub mod limits;
pub mod permits;
mod ports;
pub mod reconnect;
pub mod stored_event;
pub mod stored_page;
pub mod sweep;

pub use self::{
    context::{BackendContext, OnTrouble, Retention},
    ports::Ports,
};
