//! What backends have in common. `docs/adding-a-backend.md` is the recipe for another one.
//!
//! Invariant: nothing here knows a backend; each backend knows this, and no other backend.

mod context;
pub mod group_commit;
mod ports;
pub mod signal_queue;
pub mod stored_event;
pub mod stored_page;

pub use self::{
    context::{BackendContext, OnTrouble, Retention},
    ports::Ports,
};
