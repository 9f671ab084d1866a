//! A message as it is stored, without its events.

use super::{
    failure::Failure,
    keys::{self, MessageRow},
    rows::Rows,
};
use crate::domain::{cursor::Bounds, topic::MessageId};

/// A message's row, if it is there.
pub(super) fn message_of(rows: &impl Rows, id: &MessageId) -> Result<Option<MessageRow>, Failure> {
    Ok(rows.get(&keys::message(id))?.map(|row| MessageRow::decode(&row)).transpose()?)
}

/// How far a message reaches.
pub(super) fn message_bounds(rows: &impl Rows, id: &MessageId) -> Result<Bounds, Failure> {
    Ok(message_of(rows, id)?.map_or_else(|| Bounds::of_message(0), |row| row.message.bounds()))
}
