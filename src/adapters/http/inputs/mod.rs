//! What a request names beside its body: in its path, its query and its headers.
//!
//! Invariant: each input is read and described in one file, so that the API's description says what
//! is read. A handler takes it as an argument, and names it in its `params(..)`. The query of a
//! stream is the exception: it is read by hand ([`EventsQuery`]), since a refusal of it may have to
//! come as a stream, and is described by the stream's kind.

mod backlog_part;
mod caller;
mod choice;
mod events_query;
mod idempotency;
mod message;
mod parameter;
mod producer_epoch;
mod results;
mod user;

pub use self::events_query::CursorParameter;
pub(super) use self::{
    backlog_part::BacklogPart,
    caller::Caller,
    events_query::{ErrorsAs, EventsQuery, Formats, MessageEventsQuery, UserEventsQuery},
    idempotency::Idempotency,
    message::MessagePath,
    parameter::header,
    producer_epoch::ProducerEpoch,
    results::Results,
    user::{NamedUser, UserIdText, UserName, user_in_query},
};
